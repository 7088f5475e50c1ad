"""A loss of the dye: the stain is blurred as the microscope blurs, and that is compared with the target.

The target is ``offset + dye * PSF + noise``. Squared error of a stain against it teaches the blur as well; that of the
*blurred* stain teaches the dye, without haze and as tall as it is.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spotlight.losses.blurred import SharpLossSettings
from spotlight.losses.pixels import LossTerms
from spotlight.losses.settings import SpotlightLossSettings
from spotlight.losses.spotlight import spotlight_loss

FOREGROUND = SpotlightLossSettings(weight=0.25, background=0.25)
"""Those of the default protocol."""


class Blur:
    """Convolution with a point spread function, by FFT in float32.

    Along Z there is nothing beyond the ends of an image. In the plane it is periodic, so that a margin of half a point
    spread function is wrong there; `inner` leaves it out.

    Parameters
    ----------
    psf : (Z, Y, X) float32
        Of odd sizes.
    """

    def __init__(self, psf: NDArray[np.float32]) -> None:
        self.psf = psf
        self.half = tuple(side // 2 for side in psf.shape)
        self._transfers: dict[tuple[torch.device, tuple[int, ...]], Tensor] = {}

    def __call__(self, image: Tensor) -> Tensor:
        """Convolve (..., Z, Y, X), each of Y and X at least as long as the point spread function."""
        planes, rows, columns = image.shape[-3:]
        size = (planes + self.half[0], rows, columns)
        key = image.device, size
        if key not in self._transfers:
            room = torch.zeros(tuple(max(n, k) for n, k in zip(size, self.psf.shape, strict=True)))
            room[tuple(slice(side) for side in self.psf.shape)] = torch.from_numpy(self.psf)
            room = room.roll([-half for half in self.half], (0, 1, 2))
            if room.shape != size:  # a stack of fewer planes than the point spread function: what never meets it goes
                room = torch.cat((room[:planes], room[room.shape[0] - self.half[0] :]))
            self._transfers = {key: torch.fft.rfftn(room).to(image.device)} | dict(list(self._transfers.items())[:3])
        spectrum = torch.fft.rfftn(image, size, (-3, -2, -1)) * self._transfers[key]
        blurred: Tensor = torch.fft.irfftn(spectrum, size, (-3, -2, -1))
        return blurred[..., :planes, :, :]

    def inner(self, image: Tensor, whole_depth: bool) -> Tensor:
        """Leave out what depends on what is beyond the image."""
        z, y, x = self.half
        depth = slice(None) if whole_depth else slice(z, image.shape[-3] - z)
        return image[..., depth, y : image.shape[-2] - y, x : image.shape[-1] - x]


def sharp_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    threshold: Tensor | float,
    blur: Blur,
    settings: SharpLossSettings,
) -> LossTerms:
    """Compare a stain with a target that is blurred: squared error after the blur, and priors.

    ::

        B = Ŷ * PSF      loss = (1 - φ) mean (B - Y)² + φ Spotlight(B, Y) + τ mean |∇Ŷ|

    Means are over voxels whose blurred value depends on nothing beyond the patch. Spotlight's loss compares B with the
    mask of the target, which is as blurred as B.

    Parameters
    ----------
    prediction : (N, 1, Z, Y, X) Tensor
        The dye, in standard deviations of the target, at least 0.
    target : (N, 1, Z, Y, X) Tensor
        Its offset is at 0.
    mask, threshold
        See `spotlight_loss`; used where φ > 0.
    blur : Blur
        The point spread function.
    settings : SharpLossSettings
        φ (`foreground`), τ (`variation`) and `whole_depth`.

    Returns
    -------
    LossTerms
        With the parts "blurred_mse" and, where they have a weight, "foreground" and "variation".
    """
    with torch.autocast(prediction.device.type, enabled=False):
        dye = prediction.float()
        seen, wanted = (blur.inner(image, settings.whole_depth) for image in (blur(dye), target.float()))
        error = (seen - wanted).square().mean()
        total, parts = (1 - settings.foreground) * error, {"blurred_mse": error.detach()}
        if settings.foreground > 0:
            inside = blur.inner(mask, settings.whole_depth)
            shape = spotlight_loss(seen, wanted, inside, threshold, FOREGROUND).total
            total = total + settings.foreground * shape
            parts["foreground"] = shape.detach()
        if settings.variation > 0:
            rough = torch.stack([dye.diff(dim=axis).abs().mean() for axis in (-3, -2, -1)]).sum()
            total = total + settings.variation * rough
            parts["variation"] = rough.detach()
    return LossTerms(total, parts)
