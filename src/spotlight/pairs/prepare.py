"""Preparing pairs for training: foreground, normalisation and resampling, in the published order."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from spotlight.foreground import Foreground, ForegroundSettings, find_foreground
from spotlight.images import resample
from spotlight.images.normalise import Grid, grid_shape, mean_and_std, normalise, prepare_input, valid_voxels
from spotlight.pairs.manifest import Pair
from spotlight.settings import Settings


class PreparationSettings(Settings):
    """How stacks become the network's input and target."""

    grid: Grid = Field(
        0.29,
        description="Edge of the cubic voxels in µm to which stacks are resampled (Ounkomol et al. 2018: 0.29), "
        "or 'native' to leave them on their own grid.",
    )
    target_center: Literal["threshold", "mean"] = Field(
        "threshold",
        description="What is subtracted from a target before division by its standard deviation: its foreground "
        "threshold (Spotlight) or its mean (F-net). The loss takes its threshold from here.",
    )
    mask_median_px: int = Field(
        1,
        ge=1,
        description="Median window on the network's grid over the target before it is compared with the threshold. 1 "
        "is the paper's mask; noise makes that mask ragged, and a ragged mask biases the masked error upwards.",
    )
    foreground: ForegroundSettings = Field(ForegroundSettings(), description="How the threshold is chosen.")


@dataclass(frozen=True)
class PreparedPair:
    """A pair on the network's grid.

    Attributes
    ----------
    name : str
        The pair's name.
    input, target : (Z, Y, X) or (Y, X) float32
        Normalised.
    mask : bool
        Foreground of the target, same shape.
    threshold : float
        The foreground threshold in the target's normalised units: 0 where the target is centred on it.
    foreground : Foreground
        The threshold in the target's own units, and what is to be said about it.
    intensity_range : (float, float)
        Least and greatest target value before normalisation.
    voxel_size : tuple of float or None
        Of the stack as it was, in µm.
    channels : (str, str)
        Names of input and target channel, empty where the files have none.
    """

    name: str
    input: NDArray[np.float32]
    target: NDArray[np.float32]
    mask: NDArray[np.bool_]
    threshold: float
    foreground: Foreground
    intensity_range: tuple[float, float]
    voxel_size: tuple[float, ...] | None
    channels: tuple[str, str]


def prepare_pair(pair: Pair, settings: PreparationSettings) -> PreparedPair:
    """Read, check, normalise and resample one pair.

    Threshold, mean and standard deviation come from the whole target at native resolution; the mask is where the
    resampled target reaches the threshold, or the pair's own foreground file.

    Raises
    ------
    SpotlightError
        If the files do not match, or a stack is constant or holds NaN.
    """
    image, target = pair.read_both()
    own = pair.read_foreground(target)
    foreground = find_foreground(
        target.data, settings.foreground, None if own is None else own.data > 0, name=target.source
    )
    mean, std = mean_and_std(target.data, valid_voxels(target.data), name=target.source)
    center = foreground.threshold if settings.target_center == "threshold" else mean
    shape = grid_shape(target, settings.grid)
    normalised = resample(normalise(target.data, center, std), shape)
    threshold = (foreground.threshold - center) / std
    if own is not None:
        mask = resample((own.data > 0).astype(np.uint8), shape, order=0) > 0
    elif settings.mask_median_px > 1:
        mask = ndimage.median_filter(normalised, settings.mask_median_px) >= threshold
    else:
        mask = normalised >= threshold
    return PreparedPair(
        name=pair.name,
        input=prepare_input(image, settings.grid, shape),
        target=normalised,
        mask=mask,
        threshold=threshold,
        foreground=foreground,
        intensity_range=(float(target.data.min()), float(target.data.max())),
        voxel_size=image.voxel_size,
        channels=((*image.channels, "")[0], (*target.channels, "")[0]),
    )
