"""How a correlation over frequencies is made into a resolution, and the curve that comes of it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from spotlight.metrics.shells import Window
from spotlight.settings import Settings


class ResolutionSettings(Settings):
    """How a correlation over frequencies is made into a resolution.

    The defaults are those of Kalinin et al. 2025 (arXiv:2507.05383, A.3: zero padding, bins of 5) and of the library
    they name, miplib (Koho et al., Nat. Commun. 10, 3103, 2019), except for `subtract_mean`.

    Examples
    --------
    >>> from spotlight.metrics import ONE_IMAGE, TWO_IMAGES, ResolutionSettings
    >>> ResolutionSettings() == ONE_IMAGE, TWO_IMAGES.window
    (True, 'hann')
    >>> narrow = ResolutionSettings(bin_px=1)  # shells of one step of the frequency axis
    """

    bin_px: PositiveInt = Field(5, description="Width of a shell in steps of the frequency axis; 5 in the paper.")
    angle_deg: float = Field(15.0, gt=0, le=45, description="Width of the XY and of the Z sector in degrees; miplib.")
    sectors: Literal["wedge", "cone"] = Field(
        "wedge",
        description="'wedge' opens to both sides of the Y and of the Z axis in the ZY plane and takes in all of X, "
        "as miplib; 'cone' is a cone about the Z axis and what is within the same angle of the XY plane, as cubic.",
    )
    exclude_deg: float = Field(
        0.1, ge=0, description="Half-angle about the Z axis that is left out of its sector; the paper's software."
    )
    threshold: float = Field(1 / 7, gt=0, lt=1, description="Correlation at which the resolution is read; miplib.")
    zero_padding: bool = Field(True, description="Pad with zeros to a cube of the longest side in µm; the paper.")
    window: Window = Field(
        "hamming",
        description="How images fade out towards their borders. 'hamming' keeps 43 % at the borders of a stack, as "
        "miplib, so that what is cut there leaks into all frequencies; 'hann' keeps nothing.",
    )
    subtract_mean: bool = Field(
        True,
        description="Subtract the mean first. The paper's software did not: the border of a padded image is then "
        "an edge that the halves have in common, and correlates at all frequencies.",
    )
    calibrate: bool = Field(
        True,
        description="Correct the resolution of one image for the shift between its halves, by the curve of Koho et al. "
        "2019 for the threshold 1/7; otherwise their pixels count as those of the image.",
    )
    sharp: bool = Field(
        False,
        description="Of two images, read the resolution from narrow shells within those of bin_px, freed of the "
        "window's blur. Wide shells alone read it too fine by about a shell, the paper's way; see docs/metrics.md.",
    )


ONE_IMAGE = ResolutionSettings()
"""The paper's."""

TWO_IMAGES = ResolutionSettings(sectors="cone", exclude_deg=0, zero_padding=False, window="hann", sharp=True)
"""For target and stain: no padding and cones, as cubic, a window that leaves no borders, and the sharp reading."""


@dataclass(frozen=True, eq=False)
class ResolutionCurve:
    """A correlation over frequencies, and the resolution that is read from it.

    Attributes
    ----------
    frequency : (n,) ndarray
        Centres of the shells in cycles/µm; for one image those of its halves, which have voxels of twice the size.
    correlation : (n,) ndarray
        -1 to 1; of several planes their mean.
    threshold : float
        Correlation at which the resolution is read.
    resolution : float
        In µm; of several planes the mean over those that have one. NaN where there is none.
    reason : str
        Why there is none, or of how many planes it is missing; empty if it is complete.
    each : (planes,) ndarray
        Resolution of every plane; of a shell correlation, the one resolution.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from spotlight.metrics import fourier_shell_of_two
    >>> rng = np.random.default_rng(0)
    >>> target, noise = rng.normal(size=(2, 32, 64, 64))
    >>> curve = fourier_shell_of_two(target, gaussian_filter(target, 2) + 0.02 * noise, (0.1, 0.1, 0.1))["xy"]
    >>> below = curve.frequency < 1 / curve.resolution
    >>> bool(curve.correlation[below].min() > curve.threshold), curve.reason
    (True, '')
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    threshold: float
    resolution: float
    reason: str
    each: NDArray[np.float64]
