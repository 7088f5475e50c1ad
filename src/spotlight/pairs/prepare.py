"""Preparing pairs for training: foreground, normalisation and resampling, in the published order."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spotlight.foreground import Foreground, ForegroundSettings, find_foreground, nearest_component
from spotlight.images.median import median
from spotlight.images.normalise import (
    Grid,
    grid_shape,
    input_statistics,
    mean_and_std,
    normalise,
    prepare_input,
    zeros_are_padding,
)
from spotlight.images.resample import resample_slabs
from spotlight.images.slabs import Allocate, in_memory, slabs, values_of
from spotlight.pairs.pair import Pair
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
    cells: bool = Field(
        False, description="Also find the nearest nucleus of every voxel. Losses that count nuclei switch it on."
    )


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
    statistics : (float, float)
        Mean and standard deviation of the input before normalisation.
    cells : int32 or None
        Number of the nearest connected component of the mask, same shape, 0 where there is none; if asked for.
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
    statistics: tuple[float, float]
    cells: NDArray[np.int32] | None = None


def prepare_pair(pair: Pair, settings: PreparationSettings, allocate: Allocate = in_memory) -> PreparedPair:
    """Read, check, normalise and resample one pair, slab by slab where it is large.

    Threshold, mean and standard deviation come from the whole target at native resolution; the mask is where the
    resampled target reaches the threshold, or the pair's own foreground file.

    Parameters
    ----------
    pair : Pair
        The files.
    settings : PreparationSettings
        What is done with them.
    allocate : callable
        Makes the arrays "input", "target", "mask" and "cells"; on the way others, whose names begin with "_".

    Raises
    ------
    SpotlightError
        If the files do not match, or a stack is constant or holds NaN.
    """
    image, target = pair.read_both()
    own = pair.read_foreground(target)
    values = target.values
    foreground = find_foreground(
        values, settings.foreground, None if own is None else own.values, name=target.source, allocate=allocate
    )
    mean, std = mean_and_std(values, zeros_are_padding(values), name=target.source)
    center = foreground.threshold if settings.target_center == "threshold" else mean
    shape = grid_shape(target, settings.grid)
    normalised = resample_slabs(values, shape, "target", lambda part: normalise(part, center, std), allocate)
    threshold = (foreground.threshold - center) / std
    if own is not None:
        mask = resample_slabs(own.values, shape, "mask", lambda part: part > 0, allocate, order=0)
    else:
        mask = allocate("mask", shape, np.bool_)
        window = settings.mask_median_px
        for slab in slabs(shape, window):
            part = normalised[slab.outer]
            smooth = median(part, window)
            mask[slab.inner] = smooth[slab.crop] >= threshold
    statistics = input_statistics(image)
    cells = None
    if settings.cells:
        cells = allocate("cells", shape, np.int32)
        cells[:] = nearest_component(np.asarray(mask))
    extent = [(part.min(), part.max()) for part in values_of(values)]
    return PreparedPair(
        name=pair.name,
        input=prepare_input(image, settings.grid, shape, allocate, statistics),
        target=normalised,
        mask=mask,
        threshold=threshold,
        foreground=foreground,
        intensity_range=(float(min(low for low, _ in extent)), float(max(high for _, high in extent))),
        voxel_size=image.voxel_size,
        channels=((*image.channels, "")[0], pair.target_name or (*target.channels, "")[0]),
        statistics=statistics,
        cells=cells,
    )
