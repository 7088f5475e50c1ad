"""A judge for real two-dimensional stains that was set up on the fluorescence alone and is the same for all methods.

There are no curated labels. Nuclei are found in a stain by one plain segmenter: a Gaussian of 2 pixels, Otsu, a
distance watershed. The truth comes from the fluorescence by another rule, a local threshold, so that neither a stain
nor the fluorescence is judged by its own segmentation. On the fluorescence itself the segmenter scores 0.967 and 0.975
(AP at 0.5) in the two positions of `phase_nuclei_2d`: that is the ceiling. Its areas are 0.85 of the truth's there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation
from skimage.feature import peak_local_max

from spotlight.metrics import score_instances

SMOOTH, SEED_DISTANCE, LEAST_SIZE = 3.0, 14, 300
"""Of the distance map, between seeds, and of a nucleus; in pixels. Nuclei are about 45 pixels wide."""

AROUND = 15
"""Pixels around true nuclei within which the correlation around nuclei is taken."""


def find_nuclei(image: NDArray[Any]) -> NDArray[np.int32]:
    """Labels by the frozen segmenter."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), 2)
    if np.ptp(smooth) == 0:
        return np.zeros(image.shape, np.int32)
    return _split(ndimage.binary_fill_holes(smooth > filters.threshold_otsu(smooth)))


def true_nuclei(fluorescence: NDArray[Any]) -> NDArray[np.int32]:
    """Labels of the fluorescence: brighter than the neighbourhood of 201 pixels, and than the background's noise."""
    smooth = ndimage.gaussian_filter(fluorescence.astype(np.float32), 1)
    middle = np.median(smooth)
    noise = 1.4826 * np.median(np.abs(smooth - middle))
    local = filters.threshold_local(smooth, 201, method="gaussian")
    mask = ndimage.binary_fill_holes((smooth > local) & (smooth > middle + 8 * noise))
    return _split(morphology.opening(mask, morphology.disk(4)).astype(bool))


def _split(mask: NDArray[Any]) -> NDArray[np.int32]:
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), SMOOTH)
    peaks = peak_local_max(distance, min_distance=SEED_DISTANCE, labels=measure.label(mask), exclude_border=False)
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = segmentation.watershed(-distance, seeds, mask=mask)
    small = np.bincount(labels.ravel()) < LEAST_SIZE
    labels[small[labels]] = 0
    return np.asarray(segmentation.relabel_sequential(labels)[0], np.int32)


def quarters(image: NDArray[Any]) -> list[NDArray[Any]]:
    """The four quarters of a field, each large enough to judge by (about 60 nuclei)."""
    return [part for half in np.array_split(image, 2) for part in np.array_split(half, 2, axis=1)]


def judge(
    stain: NDArray[Any],
    fluorescence: NDArray[Any],
    truth: NDArray[Any],
    parts: Callable[[NDArray[Any]], list[NDArray[Any]]] = quarters,
) -> list[dict[str, float]]:
    """Scores of a stain in each part of a field; nuclei are found in the whole field."""
    near = ndimage.distance_transform_edt(truth == 0) <= AROUND
    rows = []
    for found, true, there, a, b in zip(
        *(parts(image) for image in (find_nuclei(stain), truth, near, stain, fluorescence)), strict=True
    ):
        instances = score_instances(true, found)
        rows.append(
            {
                "pcc": correlation(a, b),
                "pcc_around": correlation(a[there], b[there]),
                "ap50": instances.average_precision[0.5],
                "ap75": instances.average_precision[0.75],
                "found": instances.predicted_count / max(1, instances.true_count),
                "area": float((found > 0).sum() / max(1, (true > 0).sum())),
            }
        )
    return rows


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Of two images; 0 for a flat stain, NaN for a part without nuclei."""
    if a.size == 0:
        return float("nan")
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if np.ptp(a) > 0 else 0.0


def cells(mosaic: NDArray[Any], edge: int) -> NDArray[np.float64]:
    """Cut a mosaic into its square cells: (n, edge, edge)."""
    rows, columns = (length // edge for length in mosaic.shape)
    return mosaic.reshape(rows, edge, columns, edge).transpose(0, 2, 1, 3).reshape(-1, edge, edge).astype(np.float64)


def content(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total intensity of each cell above the median of its border."""
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    return np.asarray((images - np.median(border, 1)[:, None, None]).sum((1, 2)))


def chance_of_order(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Share of pairs in which the second is greater: the area under the ROC curve; 0.5 tells nothing apart."""
    return float(np.mean(high[:, None] > low) + 0.5 * np.mean(high[:, None] == low))
