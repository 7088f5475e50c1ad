"""Pairs without a second microscope: sharp stacks, and what blur and few photons would have made of them."""

import zlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, model_validator
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.scaling import EXTREMES, percentiles
from spotlight.settings import Settings


class DegradeSettings(Settings):
    """What is done to sharp stacks, so that a network can learn to undo it.

    Examples
    --------
    >>> from spotlight.tasks import DegradeSettings
    >>> DegradeSettings(blur_um=(0.6, 0.2, 0.2), photons=50).in_words()
    'a Gaussian blur of 0.6 x 0.2 x 0.2 µm (standard deviations) and the noise of 50 photons at the 99th percentile'
    """

    blur_um: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = Field(
        (0.0, 0.0, 0.0), description="Standard deviations in µm of a Gaussian blur along Z, Y and X."
    )
    photons: float | None = Field(
        None,
        gt=0,
        description="Photons per voxel at the brightness of the 99th percentile, above that of the 1st; they are drawn "
        "from a Poisson distribution. None: no noise is added.",
    )

    @model_validator(mode="after")
    def _does_something(self) -> "DegradeSettings":
        if not any(self.blur_um) and self.photons is None:
            raise ValueError("neither blur_um nor photons degrades anything. Give one of them, or leave degrade out")
        return self

    def in_words(self) -> str:
        """Say what is done, for people."""
        blur = "a Gaussian blur of " + " x ".join(f"{sigma:g}" for sigma in self.blur_um) + " µm (standard deviations)"
        noise = f"the noise of {self.photons:g} photons at the 99th percentile" if self.photons else ""
        return " and ".join(filter(None, [blur if any(self.blur_um) else "", noise]))


def degrade(stack: Stack, settings: DegradeSettings, seed: int | str = 0) -> Stack:
    """Blur a stack, and add the noise of few photons.

    ::

        b = sharp * Gaussian,    d = low + (high - low) / N * Poisson(N max(0, b - low) / (high - low))

    with the 1st and 99th percentile of b as low and high, and N photons. Where b is below low, d is low.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX; the blur needs its voxel size.
    settings : DegradeSettings
        How much.
    seed : int or str
        Of the noise; a name gives each stack noise of its own, and always the same.

    Returns
    -------
    Stack
        float32, with all else of the stack.

    Raises
    ------
    SpotlightError
        If the stack is constant where noise is asked for, or its voxel size is unknown where blur is.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.tasks import DegradeSettings, degrade
    >>> point = np.zeros((9, 9), np.float32)
    >>> point[4, 4] = 1
    >>> blurred = degrade(Stack(point, "YX", (0.5, 0.5)), DegradeSettings(blur_um=(0, 0.5, 0.5)))
    >>> round(float(blurred.data.sum()), 3), round(float(blurred.data[4, 4]), 3)
    (1.0, 0.159)
    """
    values: NDArray[np.float32] = stack.data.astype(np.float32)
    if any(settings.blur_um):
        edges = stack.require_voxel_size()
        sigmas = [sigma / edge for sigma, edge in zip(settings.blur_um[-len(edges) :], edges, strict=True)]
        values = ndimage.gaussian_filter(values, sigmas, mode="nearest")
    if settings.photons is not None:
        low, high = percentiles(values, EXTREMES)
        if not high > low:
            raise SpotlightError(
                f"{stack.source}: 98 % of its values are {low:g}: it has no signal whose photons could be counted. "
                "Leave the stack out."
            )
        rng = np.random.default_rng(zlib.crc32(seed.encode()) if isinstance(seed, str) else seed)
        gain = (high - low) / settings.photons
        values = (low + gain * rng.poisson(np.maximum(0, values - low) / gain)).astype(np.float32)
    return replace(stack, array=values, origin=f"Degraded: {stack.origin}")
