"""`segment`: preparation, the segmenter of the settings, clean-up, and what speaks against the result."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import Stack, as_stack
from spotlight.images.frames import each_frame
from spotlight.images.units import format_size
from spotlight.plain_yaml import load_yaml
from spotlight.quoting import quoted
from spotlight.segmentation.cleaning import clean_labels, renumber, resize_labels
from spotlight.segmentation.contrast import find_contrast
from spotlight.segmentation.preparation import prepare, shrink, working_grid
from spotlight.segmentation.scale import scale_by_image
from spotlight.segmentation.settings import SEGMENTERS, InstanceSettings
from spotlight.segmentation.watershed import SegmentationSettings

log = logging.getLogger("spotlight")

STATE_IT = (
    "State the size with --voxel-size, voxel_size= or a voxel_size column, or give settings in pixels (unit: px)."
)
NO_SCALE = (
    "no voxel size is stated, and nothing in the image stands out that would show how large nuclei are: "
    f"none was looked for. {STATE_IT}"
)
FEW_FAINT = 0.1
"""Share of bodies that may be left out as noise without a warning."""


def read_settings(path: str | Path) -> InstanceSettings:
    """Read segmentation settings from a YAML file, of the method that its key `method` names.

    Parameters
    ----------
    path : path
        The file. Without the key `method`, it is the watershed.

    Returns
    -------
    InstanceSettings
        Of the class that belongs to the method.

    Raises
    ------
    SpotlightError
        If the file cannot be read, names an unknown method, or a setting is wrong.

    Examples
    --------
    >>> from pathlib import Path
    >>> from spotlight.segmentation import read_settings
    >>> Path("own.yaml").write_text("otsu_factor: 0.8")
    16
    >>> read_settings("own.yaml").otsu_factor
    0.8
    """
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise SpotlightError(f"{path}: must hold settings of a segmentation by name. Received: {quoted(values)}.")
    method = str(values.get(SEGMENTERS.tag, SEGMENTERS.default))
    try:
        segmenter = SEGMENTERS.find(method)
    except SpotlightError as error:
        raise SpotlightError(f"{path}: {error}") from error
    return segmenter.parse(values, str(path))


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found in a stack, and what speaks against it.

    Attributes
    ----------
    labels : Stack
        int32 labels 1 to n on the grid of the stack, 0 for background.
    contrast : (n,) ndarray
        How far every instance rises above the background, see `spotlight.segmentation.contrast.find_contrast`.
    faint : int
        Bodies that were left out because they rise no further than noise does.
    settings : InstanceSettings
        With which it was found.
    scale : tuple of float or None
        Edges of a voxel in µm that were assumed, as the stack states none.
    doubts : tuple of str
        Sentences.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.segmentation import find_instances
    >>> z, y, x = np.ogrid[:16, :40, :40]
    >>> body = (z - 8) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 49
    >>> image = np.random.default_rng(0).normal(100, 3, body.shape) + 400 * body
    >>> found = find_instances(Stack(image.astype(np.float32), "ZYX", (0.5, 0.5, 0.5)))
    >>> len(found.contrast), bool(found.contrast[0] > found.settings.least_contrast), found.faint, found.doubts
    (1, True, 0, ())
    """

    labels: Stack
    contrast: NDArray[np.float64]
    faint: int
    settings: InstanceSettings
    scale: tuple[float, ...] | None
    doubts: tuple[str, ...]

    def to_yaml(self, made_from: str | None = None) -> str:
        """Write all but the labels and the contrast as YAML, with a fingerprint of what they were made from."""
        record = {
            "image": self.labels.source,
            "voxel_size": None if self.labels.voxel_size is None else [float(v) for v in self.labels.voxel_size],
            "assumed_voxel_size": None if self.scale is None else [float(f"{v:.4g}") for v in self.scale],
            "nuclei": len(self.contrast),
            "left_out_as_noise": self.faint,
            "doubts": list(self.doubts),
            "settings": self.settings.model_dump(mode="json"),
        }
        record |= {} if made_from is None else {"made_from": made_from}
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)


def segment(
    stack: Stack | NDArray[Any],
    settings: InstanceSettings | None = None,
    *,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> Stack:
    """Find instances in a fluorescence stack or a stain; what speaks against them is logged.

    Parameters
    ----------
    stack : Stack or ndarray
        Axes ZYX or YX, one channel; see `find_instances`. Of a time-lapse, axes TZYX or TYX, each frame is segmented by
        itself.
    settings : InstanceSettings
        The method and every parameter of it; the watershed's defaults if left out.
    axes, voxel_size : optional
        What an array does not state; see `spotlight.images.as_stack`.

    Returns
    -------
    Stack
        int32 labels 1 to n on the grid of `stack`, 0 for background; all 0 if nothing was found. Numbers of different
        frames mean nothing to each other; see `spotlight.tracking`.

    Raises
    ------
    SpotlightError
        As `find_instances`; also if the voxel size of an array is not stated.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> z, y, x = np.ogrid[:16, :40, :40]
    >>> body = (z - 8) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 49
    >>> image = np.random.default_rng(0).normal(100, 3, body.shape) + 400 * body
    >>> labels = spotlight.segment(image, voxel_size=(0.5, 0.5, 0.5))
    >>> int(labels.data.max())
    1
    """
    stack = as_stack(stack, axes, voxel_size)
    frames = []
    for frame in each_frame(stack):
        found = find_instances(frame, settings)
        frames.append(found.labels)
        for doubt in found.doubts:
            log.warning("%s: %s", frame.source, doubt)
    first = replace(frames[0], source=stack.source)
    if "T" not in stack.axes:
        return first
    array = np.stack([frame.data for frame in frames])
    return replace(first, array=array, axes=f"T{first.axes}", frame_interval=stack.frame_interval)


def find_instances(
    stack: Stack,
    settings: InstanceSettings | None = None,
    scale: tuple[float, ...] | None = None,
) -> Segmentation:
    """Find instances in a fluorescence stack or a stain, and say what speaks against them.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX, one channel. Without a voxel size, and unless the settings are in pixels, its nuclei are taken
        to be as large as the settings expect them; that is among the doubts.
    settings : InstanceSettings
        The method and every parameter of it; the watershed's defaults if left out.
    scale : tuple of float, optional
        Edges in µm to assume for a stack without a voxel size: those of another image of the same field.

    Returns
    -------
    Segmentation
        Labels on the grid of `stack`, with their contrast and doubts.

    Raises
    ------
    SpotlightError
        If a value is NaN or infinite, or Cellpose or its weights are absent.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.segmentation import SegmentationSettings, find_instances
    >>> z, y, x = np.ogrid[:16, :40, :64]
    >>> bodies = sum((z - 8) ** 2 + (y - 20) ** 2 + (x - at) ** 2 < 49 for at in (18, 46))
    >>> image = np.random.default_rng(0).normal(100, 3, bodies.shape) + 400 * bodies
    >>> stack = Stack(image.astype(np.float32), "ZYX", (0.5, 0.5, 0.5))
    >>> len(find_instances(stack).contrast)
    2
    >>> find_instances(stack, SegmentationSettings(max_size=100.0)).doubts[0].split(":")[0]
    'none of 2 bodies was kept'
    """
    settings = settings or SegmentationSettings()
    stack = stack.timepoint().channel(None)
    stack.require_finite()
    assumed = settings.unit == "um" and stack.voxel_size is None
    given = scale is not None
    scale = (scale or scale_by_image(stack.data.astype(np.float32), settings)) if assumed else None
    if assumed and scale is None:
        nothing = Stack(np.zeros(stack.shape, np.int32), stack.axes, None, ("labels",), stack.source, labels=True)
        return Segmentation(nothing, np.zeros(0), 0, settings, None, (NO_SCALE,))
    shape, spacing = working_grid(stack, settings, scale)
    image = prepare(stack, shape, settings, contrast=settings.equalised)
    bodies = _checked(settings.segment(image, spacing), image, settings)
    clean = clean_labels(bodies, spacing, settings)
    contrast = np.zeros(0)
    if clean.any():
        contrast = find_contrast(shrink(stack.data.astype(np.float32), shape), clean, bodies == 0, spacing)
    clear = contrast >= settings.least_contrast
    clean = np.concatenate([[False], clear])[clean] * clean
    labels = resize_labels(clean, stack.shape)
    kept = np.unique(labels)
    doubts = (
        *_doubt_scale(None if given else scale),
        *_doubt_sizes(stack, bodies, spacing, settings),
        *_doubt_contrast(contrast, settings.least_contrast),
    )
    return Segmentation(
        Stack(renumber(labels), stack.axes, stack.voxel_size, ("labels",), stack.source, labels=True),
        contrast[kept[kept > 0] - 1],
        int(np.count_nonzero(~clear)),
        settings,
        scale,
        doubts,
    )


def _doubt_scale(scale: tuple[float, ...] | None) -> list[str]:
    """Say what was assumed of a stack without a voxel size."""
    if scale is None:
        return []
    return [
        f"no voxel size is stated. Nuclei are taken to be as large as the settings expect them, as if voxels had "
        f"{' x '.join(f'{v:.3g}' for v in scale)} µm; measurements are in pixels. {STATE_IT}"
    ]


def _checked(bodies: Any, image: NDArray[np.float32], settings: InstanceSettings) -> NDArray[np.int32]:
    """Refuse what a segmenter may not return."""
    try:
        found = np.asarray(bodies)
    except ValueError:  # several arrays of different shapes
        found = np.asarray(bodies, object)
    if found.shape != image.shape or found.dtype.kind not in "iu" or found.min(initial=0) < 0:
        raise SpotlightError(
            f"the segmenter {settings.method!r} must return whole numbers of 0 or more of shape {image.shape}. "
            f"Received: {type(bodies).__name__}, {found.dtype} of shape {found.shape}. Correct its method `segment`."
        )
    return found.astype(np.int32, copy=False)


def _doubt_contrast(contrast: NDArray[np.float64], least: float) -> list[str]:
    """Say so if more than a few bodies were left out as noise."""
    faint = int(np.count_nonzero(contrast < least))
    if faint <= FEW_FAINT * contrast.size:
        return []
    what = "nothing stands out from the background: all" if faint == contrast.size else f"{faint} of"
    return [
        f"{what} {contrast.size} bodies that a threshold gives rise above it by less than {least:g} standard "
        "deviations, as bodies of noise do, and were left out (least_contrast). Look at the image and its channel."
    ]


def _doubt_sizes(
    stack: Stack, labels: NDArray[np.int32], spacing: tuple[float, ...], settings: InstanceSettings
) -> list[str]:
    """Say so if no body has the size of a nucleus, as with a voxel size that is wrong by a factor."""
    sizes = np.bincount(labels.ravel())[1:] * float(np.prod(spacing))
    sizes = sizes[sizes > 0]
    if not sizes.size or not stack.voxel_size or np.any((sizes >= settings.min_size) & (sizes <= settings.max_size)):
        return []
    return [
        f"none of {sizes.size} bodies was kept: their median size is {np.median(sizes):.3g} "
        f"{'µm³' if len(spacing) == 3 else 'µm²'}, and only {settings.min_size:g} to {settings.max_size:g} are kept "
        f"(min_size, max_size). Check the voxel size ({format_size(stack.voxel_size)}) and these settings."
    ]
