"""A loss of the dye: the stain is blurred as the microscope blurs, and that is compared with the target.

The target is ``offset + dye * PSF + noise``. Squared error of a stain against it teaches the blur as well; that of the
*blurred* stain teaches the dye, without haze and as tall as it is.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from spotlight.losses.blurred import SharpLossSettings
from spotlight.losses.pixels import LossTerms
from spotlight.losses.settings import SpotlightLossSettings
from spotlight.losses.spotlight import spotlight_loss

FOREGROUND = SpotlightLossSettings(weight=0.5, background=0.5, margin=0.5, average="voxels")
"""Those of the default protocol; squared error, with which that settles, is the other part of this loss."""


class Blur:
    """Convolution with a point spread function, by FFT in float32.

    In the plane an image goes on beyond its edges as its mirror image. What is beyond is not known there; to leave out
    what depends on it would leave the network free along the edges, and its stains had bright frames.

    Parameters
    ----------
    psf : (Z, Y, X) float32
        Of odd sizes.
    whole_depth : bool
        Whether there is nothing beyond the ends along Z; otherwise it is as in the plane.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Blur, SharpLossSettings
    >>> psf = SharpLossSettings(sigma_um=(0.6, 0.29, 0.29)).psf()
    >>> point = torch.zeros(1, 1, 17, 17, 17)
    >>> point[..., 8, 8, 8] = 1
    >>> blurred = Blur(psf)(point)
    >>> psf.shape, round(blurred.sum().item(), 3), round(blurred.max().item(), 3)
    ((19, 9, 9), 1.0, 0.031)
    """

    def __init__(self, psf: NDArray[np.float32], whole_depth: bool = True) -> None:
        self.psf, self.whole_depth = psf, whole_depth
        self.half = tuple(side // 2 for side in psf.shape)
        self._transfers: dict[tuple[torch.device, tuple[int, ...]], Tensor] = {}

    def __call__(self, image: Tensor) -> Tensor:
        """Convolve (N, C, Z, Y, X), each of Y and X, and of Z without `whole_depth`, longer than half a `psf`."""
        (z, y, x), planes = self.half, image.shape[-3]
        mirrored = functional.pad(image, (x, x, y, y, 0, 0) if self.whole_depth else (x, x, y, y, z, z), "reflect")
        size = (planes + z, *mirrored.shape[-2:]) if self.whole_depth else tuple(mirrored.shape[-3:])
        spectrum = torch.fft.rfftn(mirrored, size, (-3, -2, -1)) * self._transfer(image.device, size)
        blurred: Tensor = torch.fft.irfftn(spectrum, size, (-3, -2, -1))
        first = 0 if self.whole_depth else z
        return blurred[..., first : first + planes, y : size[1] - y, x : size[2] - x]

    def _transfer(self, device: torch.device, size: tuple[int, ...]) -> Tensor:
        key = device, size
        if key not in self._transfers:
            room = torch.zeros(tuple(max(n, k) for n, k in zip(size, self.psf.shape, strict=True)))
            room[tuple(slice(side) for side in self.psf.shape)] = torch.from_numpy(self.psf)
            room = room.roll([-half for half in self.half], (0, 1, 2))
            if room.shape != size:  # a stack of fewer planes than the point spread function: what never meets it goes
                planes = size[0] - self.half[0]
                room = torch.cat((room[:planes], room[room.shape[0] - self.half[0] :]))
            self._transfers = {key: torch.fft.rfftn(room).to(device)} | dict(list(self._transfers.items())[:3])
        return self._transfers[key]


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

    Spotlight's loss compares B with the mask of the target, which is as blurred as B.

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
        φ (`foreground`) and τ (`variation`).

    Returns
    -------
    LossTerms
        With the parts "blurred_mse" and, where they have a weight, "foreground" and "variation".

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Blur, SharpLossSettings, sharp_loss
    >>> settings = SharpLossSettings(sigma_um=(0.29, 0.29, 0.29))
    >>> blur = Blur(settings.psf())
    >>> dye = torch.zeros(1, 1, 9, 9, 9)
    >>> dye[..., 4, 4, 4] = 200
    >>> target = blur(dye)  # what the microscope sees
    >>> round(sharp_loss(dye, target, target > 1, 1.0, blur, settings).total.item(), 3)
    0.0
    >>> round(sharp_loss(target, target, target > 1, 1.0, blur, settings).total.item(), 3)  # blurred twice
    0.328
    """
    with torch.autocast(prediction.device.type, enabled=False):
        dye = prediction.float()
        seen, wanted = blur(dye), target.float()
        error = (seen - wanted).square().mean()
        total, parts = (1 - settings.foreground) * error, {"blurred_mse": error.detach()}
        if settings.foreground > 0:
            shape = spotlight_loss(seen, wanted, mask, threshold, FOREGROUND).total
            total = total + settings.foreground * shape
            parts["foreground"] = shape.detach()
        if settings.variation > 0:
            rough = torch.stack([dye.diff(dim=axis).abs().mean() for axis in (-3, -2, -1)]).sum()
            total = total + settings.variation * rough
            parts["variation"] = rough.detach()
    return LossTerms(total, parts)
