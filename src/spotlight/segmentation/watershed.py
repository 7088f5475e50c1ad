"""Instance labels from a stain: threshold, distance watershed, clean-up. Settings are in µm.

The steps follow the evaluation of Kalinin et al. (2025), section A.3: CellProfiler's 3d_monolayer tutorial with
contrast-limited adaptive histogram equalisation, at half resolution, then removal of nuclei at the edges, of holes
and of implausible sizes.
"""

import math
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage
from skimage import exposure, feature, filters, measure, morphology, segmentation, transform

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.settings import Settings


class SegmentationSettings(Settings):
    """How instances are found. Lengths are in µm, volumes in µm³ (areas in µm² for two-dimensional stacks).

    The defaults suit nuclei of cultured human cells; sources are the settings that the author of Spotlight states for
    this task (500 and 7500 voxels of 0.58 µm).
    """

    voxel_um: float | None = Field(0.58, gt=0, description="Working grid, isotropic; None works on the stack's own.")
    clahe_clip: float = Field(0.015, ge=0, description="Clip limit of the histogram equalisation; 0 leaves it out.")
    median_px: int = Field(3, ge=1, description="Median window on the working grid; 1 is none.")
    threshold: Literal["otsu", "fixed"] = Field("otsu", description="Otsu of the prepared stack, or a value.")
    value: float | None = Field(
        None, description="For 'fixed': in the stack's own intensity; leaves out the equalisation."
    )
    seed_distance_um: float = Field(2.9, gt=0, description="Least distance between the centres of two nuclei.")
    seed_smoothing_um: float = Field(0.6, ge=0, description="Gaussian that smooths the distance map before its peaks.")
    min_size: float = Field(98.0, ge=0, description="Smaller instances are removed.")
    max_size: float = Field(1463.0, gt=0, description="Larger instances are removed.")
    max_hole: float = Field(
        10.0, ge=0, description="Holes up to this size are filled, in the mask and in every instance."
    )
    clear_border: bool = Field(True, description="Remove what touches the Y or X border of the stack.")

    @model_validator(mode="after")
    def _value_goes_with_fixed(self) -> Self:
        if (self.threshold == "fixed") != (self.value is not None):
            raise ValueError("threshold 'fixed' needs a value, and only it takes one")
        return self


def segment(stack: Stack, settings: SegmentationSettings | None = None) -> Stack:
    """Find instances in a fluorescence stack or a stain.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX, one channel. The voxel size must be known unless ``settings.voxel_um`` is None, in which case
        all lengths are taken in pixels if it is not.
    settings : SegmentationSettings
        Every parameter of the pipeline.

    Returns
    -------
    Stack
        int32 labels 1 to n on the grid of `stack`, 0 for background; all 0 if nothing was found.
    """
    settings = settings or SegmentationSettings()
    stack = stack.timepoint().channel(None)
    stack.require_finite()
    if settings.voxel_um is None:
        native = stack.voxel_size or (1.0,) * len(stack.axes)
        shape = stack.shape
    else:
        native = stack.require_voxel_size()
        shape = tuple(max(1, round(n * v / settings.voxel_um)) for n, v in zip(stack.shape, native, strict=True))
    spacing = tuple(n * v / m for n, v, m in zip(stack.shape, native, shape, strict=True))
    mask = _threshold(stack, shape, settings)
    # Before the split: the distance map of a body with a hole has a ring of peaks.
    mask = morphology.remove_small_holes(mask, max_size=int(settings.max_hole / float(np.prod(spacing))))
    labels = split_touching(mask, spacing, settings)
    labels = clean_labels(labels, spacing, settings)
    return Stack(
        resize_labels(labels, stack.shape), stack.axes, stack.voxel_size, ("labels",), stack.source, labels=True
    )


def resize_labels(labels: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Bring labels to another grid over the same field with smooth outlines.

    Each label's mask is interpolated linearly, and a voxel takes the label with the greatest value of at least one
    half; taking the nearest voxel instead would leave steps that distort surface and sphericity.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int32
    shape : tuple of int
        Of the result, whose outer voxel edges coincide with those of `labels`.
    """
    if labels.shape == tuple(shape):
        return labels
    scale = [new / old for new, old in zip(shape, labels.shape, strict=True)]
    result = np.zeros(shape, np.int32)
    best = np.full(shape, np.nextafter(np.float32(0.5), np.float32(0)), np.float32)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        target = tuple(
            slice(max(0, math.floor((b.start - 1) * s)), min(n, math.ceil((b.stop + 1) * s)))
            for b, s, n in zip(box, scale, shape, strict=True)
        )
        source = tuple(slice(max(0, b.start - 2), b.stop + 2) for b in box)
        places = [
            (np.arange(t.start, t.stop) + 0.5) / s - 0.5 - o.start
            for t, s, o in zip(target, scale, source, strict=True)
        ]
        mask = (labels[source] == number).astype(np.float32)
        value = ndimage.map_coordinates(mask, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
        wins = value > best[target]
        result[target][wins] = number
        best[target][wins] = value[wins]
    return result


def _threshold(stack: Stack, shape: tuple[int, ...], settings: SegmentationSettings) -> NDArray[np.bool_]:
    image = stack.data.astype(np.float32)
    low, high = np.percentile(image, [0.1, 99.9])
    if settings.value is None:
        if low == high:
            return np.zeros(shape, bool)
        image = np.clip((image - low) / (high - low), 0, 1)
        tiles = tuple(n // d for n, d in zip(image.shape, (2, 3, 5)[-image.ndim :], strict=True))
        if settings.clahe_clip > 0 and min(tiles) >= 2:  # smaller tiles have no histogram to equalise
            image = exposure.equalize_adapthist(image, tiles, clip_limit=settings.clahe_clip).astype(np.float32)
    if image.shape != shape:
        image = transform.resize(image, shape, order=3, mode="edge", anti_aliasing=True).astype(np.float32)
    if settings.median_px > 1:
        image = ndimage.median_filter(image, settings.median_px)
    if settings.value is not None:
        return np.asarray(image >= settings.value)
    return np.asarray(image > filters.threshold_otsu(image))


def split_touching(
    mask: NDArray[np.bool_], spacing: tuple[float, ...], settings: SegmentationSettings
) -> NDArray[np.int32]:
    """Split a mask into instances by a watershed from the peaks of its distance map.

    Parameters
    ----------
    mask : (Z, Y, X) or (Y, X) bool
    spacing : tuple of float
        Voxel edges in µm.
    settings : SegmentationSettings
        `seed_distance_um` and `seed_smoothing_um` are used.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    distance = ndimage.distance_transform_edt(mask, sampling=spacing)
    smooth = ndimage.gaussian_filter(distance, [settings.seed_smoothing_um / s for s in spacing])
    radius = [max(1, round(settings.seed_distance_um / s)) for s in spacing]
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in radius)]
    footprint = sum((g / r) ** 2 for g, r in zip(grid, radius, strict=True)) <= 1
    peaks = feature.peak_local_max(smooth, footprint=footprint, labels=measure.label(mask), exclude_border=False)
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(segmentation.watershed(-smooth, seeds, mask=mask), np.int32)


def clean_labels(
    labels: NDArray[np.int32], spacing: tuple[float, ...], settings: SegmentationSettings
) -> NDArray[np.int32]:
    """Remove labels at the Y and X borders and of implausible size, fill their holes, and number them 1 to n."""
    voxel = float(np.prod(spacing))
    sizes = np.bincount(labels.ravel()) * voxel
    keep = (sizes >= settings.min_size) & (sizes <= settings.max_size)
    if settings.clear_border:
        for edge in (labels[..., 0, :], labels[..., -1, :], labels[..., 0], labels[..., -1]):
            keep[np.unique(edge)] = False
    keep[0] = False
    clean = np.where(keep[labels], labels, 0)
    hole = int(settings.max_hole / voxel)
    if hole > 0:
        for number, box in enumerate(ndimage.find_objects(clean), start=1):
            if box is None:
                continue
            body = clean[box] == number
            # Only what is enclosed is a hole: the corners of a box around a round body are not.
            holes = measure.label(ndimage.binary_fill_holes(body) & (clean[box] == 0), connectivity=1)
            small = np.bincount(holes.ravel()) <= hole
            small[0] = False
            clean[box][small[holes]] = number
    return np.asarray(segmentation.relabel_sequential(clean)[0], np.int32)


def clean_truth(labels: Stack, settings: SegmentationSettings | None = None) -> Stack:
    """Bring given labels to what a segmentation could find: the same border, size and hole rules on their own grid."""
    settings = settings or SegmentationSettings()
    if not np.issubdtype(labels.data.dtype, np.integer):
        whole = np.rint(labels.data)
        if not np.array_equal(whole, labels.data):
            raise SpotlightError(f"{labels.source}: labels must be whole numbers; found fractions.")
    data = labels.data.astype(np.int64)
    if data.min() < 0:
        raise SpotlightError(f"{labels.source}: labels must not be negative; found {data.min()}.")
    spacing = labels.voxel_size or (1.0,) * len(labels.axes)
    compact = segmentation.relabel_sequential(data)[0].astype(np.int32)
    clean = clean_labels(compact, spacing, settings)
    return Stack(clean, labels.axes, labels.voxel_size, ("labels",), labels.source, labels=True)
