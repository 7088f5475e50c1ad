"""Instance labels from a threshold and a watershed on the distance map.

The steps follow the evaluation of Kalinin et al. (2025), section A.3: CellProfiler's 3d_monolayer tutorial with
contrast-limited adaptive histogram equalisation, at half resolution, then removal of nuclei at the edges, of holes
and of implausible sizes.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

from spotlight.segmentation.settings import SEGMENTERS, InstanceSettings, rounded


@SEGMENTERS.register
class SegmentationSettings(InstanceSettings):
    """Segmentation by threshold and watershed. Lengths are in µm.

    Examples
    --------
    >>> from spotlight.segmentation import SegmentationSettings
    >>> SegmentationSettings(seed_distance_um=4.0).method
    'watershed'
    """

    unsaid: ClassVar[Mapping[str, Any]] = {"clahe_clip": 0.015, "own_threshold": 0.0}

    method: Literal["watershed"] = "watershed"
    threshold: Literal["otsu", "fixed"] = Field("otsu", description="Otsu of the prepared stack, or a value.")
    otsu_factor: float = Field(
        1.0, gt=0, description="Times Otsu's threshold; below 1 nuclei are larger. CellProfiler's correction factor."
    )
    value: float | None = Field(
        None, description="For 'fixed': in the stack's own intensity; leaves out the equalisation."
    )
    seed_distance_um: float = Field(
        2.9,
        gt=0,
        description="Least distance between the centres of two nuclei: 5 voxels of 0.58 µm, as CellProfiler's window "
        "of 10.",
    )
    clahe_clip: float = Field(
        0.0,
        ge=0,
        description="Clip limit of the histogram equalisation; 0 leaves it out. The paper's 0.015 turns the haze of "
        "stains, and noise, into structure.",
    )
    seed_smoothing_um: float = Field(0.6, ge=0, description="Gaussian that smooths the distance map before its peaks.")
    smoothing_um: float = Field(
        0.0, ge=0, description="Gaussian that smooths the image before the threshold; keeps more of it than a median."
    )
    own_threshold: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Threshold of each body by itself, from the background (0) to its brightness (1, the 75th "
        "percentile). 0.5 is its half height, where a blurred edge has its true place. 0 and 'fixed' leave it out.",
    )

    @model_validator(mode="after")
    def _value_goes_with_fixed(self) -> Self:
        if (self.threshold == "fixed") != (self.value is not None):
            raise ValueError("threshold 'fixed' needs a value, and only it takes one")
        return self

    def segment(self, image: NDArray[np.float32], spacing: tuple[float, ...]) -> NDArray[np.int32]:
        """See `InstanceSettings.segment`."""
        if self.smoothing_um > 0:
            image = ndimage.gaussian_filter(image, [self.smoothing_um / s for s in spacing])
        mask = find_mask(image, spacing, self)
        labels = split_touching(mask, spacing, self)
        return labels if self.value is not None else trim_bodies(labels, image, self.own_threshold)

    @property
    def equalised(self) -> bool:
        """A fixed value is one of the stack's own intensities."""
        return self.value is None

    def candidates(self, diameter: float) -> Mapping[str, tuple[Any, ...]]:
        """See `InstanceSettings.candidates`; a fixed threshold leaves out what only matters for Otsu's.

        The grid comes last, since trials on a finer one take longest.
        """
        contrast = {
            "clahe_clip": (0.0, 0.005, 0.015, 0.03),
            "otsu_factor": (0.3, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3),
            "own_threshold": (0.0, 0.4, 0.5, 0.6),
        }
        grid = {} if self.unit == "px" or self.voxel_um is None else {"voxel_um": (self.voxel_um, self.voxel_um / 2)}
        return {
            **(contrast if self.value is None else {}),
            "seed_distance_um": tuple(rounded(share * diameter) for share in (0.2, 0.3, 0.4, 0.55)),
            "seed_smoothing_um": tuple(rounded(share * diameter) for share in (0.03, 0.06, 0.1, 0.15)),
            "smoothing_um": (0.0, *(rounded(share * diameter) for share in (0.03, 0.05))),
            "median_px": (1, 3, 5),
            **grid,
        }

    def sized(self, diameter: float) -> Self:
        """See `InstanceSettings.sized`; in µm, the distances of the seeds stay where tuning is to begin."""
        if self.unit == "um":
            return self
        return self.model_copy(
            update={"seed_distance_um": rounded(0.3 * diameter), "seed_smoothing_um": rounded(0.06 * diameter)}
        )


def find_mask(
    image: NDArray[np.float32], spacing: tuple[float, ...], settings: SegmentationSettings
) -> NDArray[np.bool_]:
    """Threshold a prepared image and fill small holes.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) float32
        From `spotlight.segmentation.preparation.prepare`.
    spacing : tuple of float
        Voxel edges in µm.
    settings : SegmentationSettings
        `threshold`, `value` and `max_hole` are used.
    """
    mask = (
        image > settings.otsu_factor * filters.threshold_otsu(image)
        if settings.value is None
        else image >= settings.value
    )
    # Before the split: the distance map of a body with a hole has a ring of peaks.
    return np.asarray(morphology.remove_small_holes(mask, max_size=int(settings.max_hole / float(np.prod(spacing)))))


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

    Returns
    -------
    int32 ndarray
        Labels from 1, 0 for background.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.segmentation import SegmentationSettings, split_touching
    >>> y, x = np.mgrid[:40, :70]
    >>> mask = (np.hypot(y - 20, x - 20) < 14) | (np.hypot(y - 20, x - 46) < 14)
    >>> int(split_touching(mask, (0.3, 0.3), SegmentationSettings()).max())
    2
    """
    distance = ndimage.distance_transform_edt(mask, sampling=spacing)
    smooth = ndimage.gaussian_filter(distance, [settings.seed_smoothing_um / s for s in spacing])
    peaks = find_peaks(smooth, mask, [max(1, round(settings.seed_distance_um / s)) for s in spacing])
    seeds = np.zeros(mask.shape, np.int32)
    seeds[peaks] = np.arange(1, len(peaks[0]) + 1)
    return np.asarray(segmentation.watershed(-smooth, seeds, mask=mask), np.int32)


def trim_bodies(labels: NDArray[np.int32], image: NDArray[np.float32], share: float) -> NDArray[np.int32]:
    """Leave of every body what is brighter than a threshold of its own.

    ::

        threshold = b + share (q - b)      b: median outside all bodies,  q: 75th percentile of the body

    One threshold for all draws bright bodies out, most of all along the axis, where blur is widest; the edge of a
    blurred body that is larger than the blur is at half of its height.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int32
        1 to n, 0 outside.
    image : (Z, Y, X) or (Y, X) float32
    share : float
        From 0 (everything is kept) to 1.
    """
    count = int(labels.max(initial=0))
    if share == 0 or count == 0 or labels.all():
        return labels
    background = float(np.median(image[labels == 0]))
    numbers = np.arange(1, count + 1)
    bright = ndimage.labeled_comprehension(image, labels, numbers, lambda v: np.percentile(v, 75), float, background)
    least = np.concatenate([[np.inf], background + share * (bright - background)])
    return np.where(image > least[labels], labels, 0).astype(np.int32)


def find_peaks(height: NDArray[np.float64], mask: NDArray[np.bool_], radius: list[int]) -> tuple[NDArray[np.intp], ...]:
    """Voxels of a mask above which nothing rises in an ellipsoid around them that belongs to the same body.

    These are the peaks of ``skimage.feature.peak_local_max`` with that footprint and the bodies as its labels, but for
    ties, of which the first in memory is taken: a body of an even number of voxels has two equally high middles.
    """
    height = np.pad(height, [(r, r) for r in radius])
    bodies = np.pad(measure.label(mask), [(r, r) for r in radius])
    cross = ndimage.generate_binary_structure(mask.ndim, 1)
    inside = np.where(bodies > 0, height, -np.inf)
    # Only what tops its neighbours is compared with the whole ellipsoid, one offset after the other.
    places = np.flatnonzero((bodies > 0) & (inside == ndimage.maximum_filter(inside, footprint=cross)))
    steps = np.array([int(np.prod(height.shape[axis + 1 :])) for axis in range(mask.ndim)])
    height, bodies = height.ravel(), bodies.ravel()
    for offset in product(*(range(-r, r + 1) for r in radius)):
        if 0 < sum((o / r) ** 2 for o, r in zip(offset, radius, strict=True)) <= 1:
            step = int(np.dot(offset, steps))
            others = places + step
            higher = np.greater_equal if step < 0 else np.greater  # of equals, the first in memory stays
            places = places[~((bodies[others] == bodies[places]) & higher(height[others], height[places]))]
    places = places[np.argsort(-height[places], kind="stable")]
    found = np.unravel_index(places, tuple(n + 2 * r for n, r in zip(mask.shape, radius, strict=True)))
    return tuple(where - r for where, r in zip(found, radius, strict=True))
