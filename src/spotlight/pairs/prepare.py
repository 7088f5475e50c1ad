"""Preparing pairs for training: foreground, normalisation and resampling, in the order of the publication."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.foreground import Foreground, find_foreground, nearest_component
from spotlight.images import Stack
from spotlight.images.median import median
from spotlight.images.normalise import (
    SAMPLED,
    Scale,
    grid_shape,
    mean_and_std,
    normalise,
    prepare_channels,
    prepare_input,
    sample_nonzero,
    zeros_are_padding,
)
from spotlight.images.resample import resample_slabs
from spotlight.images.scaling import UINT16, input_scale, require_uint16
from spotlight.images.slabs import Allocate, Array, in_memory, slabs, values_of
from spotlight.pairs.pair import Pair
from spotlight.pairs.prepared import PreparationSettings, PreparedPair


def prepare_pair(pair: Pair, settings: PreparationSettings, allocate: Allocate = in_memory) -> PreparedPair:
    """Read, check, normalise and resample one pair; large stacks are processed slab by slab.

    Threshold, mean and standard deviation are those of the whole target at native resolution. The mask is where the
    resampled target reaches the threshold, or the pair's own foreground file.

    Parameters
    ----------
    pair : Pair
        The files.
    settings : PreparationSettings
        How they are prepared.
    allocate : callable
        Creates the arrays "input", "target", "mask" and "cells", and temporary ones whose names begin with "_".

    Returns
    -------
    PreparedPair
        Input, target and mask on the network's grid.

    Raises
    ------
    SpotlightError
        If the files do not match, or a stack is constant or holds NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.pairs import PreparationSettings, prepare_pair, read_pairs
    >>> light = 500 + 20 * np.random.default_rng(0).random((12, 24, 24), np.float32)
    >>> dna = np.full((12, 24, 24), 100, np.float32)
    >>> dna[4:8, 8:16, 8:16] = 400
    >>> (pair,) = read_pairs([tuple(Stack(image, "ZYX", (0.29, 0.29, 0.29)) for image in (light, dna))])
    >>> prepared = prepare_pair(pair, PreparationSettings(target_center="threshold"))
    >>> round(float(prepared.input.std()), 2), prepared.threshold
    (1.0, 0.0)
    >>> int(prepared.mask.sum()) == 4 * 8 * 8
    True
    """
    inputs, target = pair.read_pair(settings.planes)
    own = pair.read_foreground(target)
    values = target.values
    foreground = find_foreground(
        values, settings.foreground, None if own is None else own.values, name=target.source, allocate=allocate
    )
    if settings.scaling == "uint16":
        for stack in (*inputs, target):
            require_uint16(stack)
        center, std = UINT16.center, UINT16.width
    else:
        mean, std = mean_and_std(values, zeros_are_padding(values), name=target.source)
        center = {
            "threshold": lambda: foreground.threshold,
            "mean": lambda: mean,
            "offset": lambda: find_offset(values),
        }[settings.target_center]()
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
    cells = None
    if settings.cells:
        cells = allocate("cells", shape, np.int32)
        cells[:] = nearest_component(np.asarray(mask))
    extent = [(part.min(), part.max()) for part in values_of(values)]
    return with_input(
        pair,
        inputs,
        settings,
        allocate,
        target=normalised,
        mask=mask,
        threshold=threshold,
        foreground=foreground,
        intensity_range=(float(min(low for low, _ in extent)), float(max(high for _, high in extent))),
        own_channel=(*target.channels, "")[0],
        cells=cells,
        percentiles=_percentiles(normalised, settings.percentiles),
    )


def on_grid(
    stack: Stack,
    settings: PreparationSettings,
    name: str,
    convert: Callable[[NDArray[Any]], NDArray[Any]],
    allocate: Allocate,
    order: Literal[0, 3] = 3,
) -> NDArray[Any]:
    """Convert the values of a stack, and resample them to the network's grid; see `resample_slabs`.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX.
    settings : PreparationSettings
        `grid` is used.
    name : str
        Of the result, for `allocate`.
    convert : callable
        Applied to the values before they are resampled; its result's type is that of the result.
    allocate : callable
        Makes the array.
    order : 0 or 3
        Spline order: 3 for images, 0 (nearest voxel) for masks and labels.

    Returns
    -------
    (Z, Y, X) or (Y, X) ndarray
        On the network's grid.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.images.slabs import in_memory
    >>> from spotlight.pairs import PreparationSettings
    >>> from spotlight.tasks import on_grid
    >>> stack = Stack(np.full((10, 20, 20), 700, np.uint16), "ZYX", (0.58, 0.29, 0.29))
    >>> settings = PreparationSettings(grid=0.58)
    >>> target = on_grid(stack, settings, "target", lambda part: np.float32(part / 1000), in_memory)
    >>> target.shape, round(float(target.mean()), 2)
    ((10, 10, 10), 0.7)
    """
    return resample_slabs(stack.values, grid_shape(stack, settings.grid), name, convert, allocate, order)


def with_input(
    pair: Pair,
    inputs: list[Stack],
    settings: PreparationSettings,
    allocate: Allocate,
    *,
    target: NDArray[np.float32],
    mask: NDArray[np.bool_] | None = None,
    foreground: Foreground | None = None,
    threshold: float = 0.0,
    intensity_range: tuple[float, float] = (0.0, 1.0),
    own_channel: str = "",
    cells: NDArray[np.int32] | None = None,
    percentiles: tuple[float, float] | None = None,
) -> PreparedPair:
    """Prepare the input of a pair whose truth is prepared; see `PreparedPair` for the parameters.

    Without a mask, it is everywhere.

    Parameters
    ----------
    pair : Pair
        Where all is from.
    inputs : list of Stack
        The input, as its channels or as its planes.
    settings : PreparationSettings
        How it is prepared.
    allocate : callable
        Creates the array "input", and "mask" where none is given.
    target, mask, foreground, threshold, intensity_range, own_channel, cells, percentiles
        See `PreparedPair`.

    Returns
    -------
    PreparedPair
        Ready to be learnt from.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.images.slabs import in_memory
    >>> from spotlight.pairs import PreparationSettings, read_pairs
    >>> from spotlight.tasks import with_input
    >>> light, dna = np.random.default_rng(0).random((2, 8, 16, 16), np.float32)
    >>> (pair,) = read_pairs([tuple(Stack(image, "ZYX", (0.29, 0.29, 0.29)) for image in (light, dna))])
    >>> bright = np.float32(dna > 0.9)  # the truth of a task of one's own
    >>> prepared = with_input(pair, pair.read_channels(), PreparationSettings(), in_memory, target=bright)
    >>> round(float(prepared.input.std()), 2), bool(prepared.mask.all())
    (1.0, True)
    """
    if mask is None:
        mask = allocate("mask", target.shape, np.bool_)
        mask[:] = True
    if foreground is None:
        foreground = Foreground(threshold, float(np.mean(mask)), ())
    statistics = [input_scale(one, "mean/std") for one in inputs]
    alike = statistics if settings.planes == "one" else statistics[:1]
    further = [] if settings.planes == "one" else list(zip(inputs, statistics, strict=True))[1:]
    return PreparedPair(
        name=pair.name,
        input=_prepared_input(inputs, settings, target.shape, allocate, statistics),
        target=target,
        mask=mask,
        threshold=threshold,
        foreground=foreground,
        intensity_range=intensity_range,
        voxel_size=inputs[0].voxel_size,
        channels=((*inputs[0].channels, "")[0], pair.target_name or own_channel),
        statistics=(float(np.mean([one.center for one in alike])), float(np.mean([one.width for one in alike]))),
        cells=cells,
        percentiles=percentiles,
        modality=pair.modality,
        own_channel=own_channel,
        further_inputs=tuple(((*one.channels, "")[0], mean, std) for one, (mean, std, _) in further),
    )


def find_offset(target: Array) -> float:
    """Estimate what a target shows where there is no dye: camera offset, and light of medium and optics.

    It is the first percentile after a Gaussian of two voxels, which leaves a twentieth of the noise. Where all of a
    stack is hazy, the least haze is counted as offset. Padding, exact zeros beside an image, does not count.
    """
    padded = zeros_are_padding(target)
    lowest = []
    for slab in slabs(target.shape, 9):
        part = np.asarray(target[slab.outer]).astype(np.float32)
        smooth = ndimage.gaussian_filter(part, 2.0)[slab.crop]
        near = ndimage.binary_dilation(part == 0, iterations=8)[slab.crop] if padded else np.zeros(smooth.shape, bool)
        lowest.append(smooth[~near][:: max(1, target.size // SAMPLED)])
    found = np.concatenate(lowest)
    return float(np.percentile(found if found.size else sample_nonzero(target), 1))


def _prepared_input(
    inputs: list[Stack],
    settings: PreparationSettings,
    shape: tuple[int, ...],
    allocate: Allocate,
    statistics: list[Scale],
) -> NDArray[np.float32]:
    known = settings.scaling == "mean/std"
    scales = statistics if known else [input_scale(one, settings.scaling) for one in inputs]
    if settings.planes == "together":
        return prepare_channels(inputs, settings.grid, scales, shape, allocate)
    result = allocate("input", (len(inputs), *shape), np.float32)
    for number, (plane, found) in enumerate(zip(inputs, scales, strict=True)):
        result[number] = prepare_input(plane, settings.grid, found, shape)
    return result


def _percentiles(target: NDArray[np.float32], percentiles: tuple[float, float] | None) -> tuple[float, float] | None:
    if percentiles is None:
        return None
    low, high = np.percentile(target, percentiles)
    return float(low), float(high)
