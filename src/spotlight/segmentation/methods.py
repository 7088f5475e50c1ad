"""`segment`: one way in for all methods, chosen by the type of the settings."""

import logging
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Tag

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.units import format_size
from spotlight.plain_yaml import load_yaml
from spotlight.segmentation.cellpose import CellposeSettings, find_cells
from spotlight.segmentation.cleaning import clean_labels, renumber, resize_labels
from spotlight.segmentation.preparation import prepare, working_grid
from spotlight.segmentation.settings import InstanceSettings
from spotlight.segmentation.watershed import SegmentationSettings, find_mask, split_touching

log = logging.getLogger("spotlight")

METHODS: dict[str, type[SegmentationSettings] | type[CellposeSettings]] = {
    "watershed": SegmentationSettings,
    "cellpose": CellposeSettings,
}


def _method(settings: Any) -> str:
    if isinstance(settings, dict):
        return str(settings.get("method", "watershed"))
    return str(getattr(settings, "method", "watershed"))


MethodSettings = Annotated[
    Annotated[SegmentationSettings, Tag("watershed")] | Annotated[CellposeSettings, Tag("cellpose")],
    Discriminator(_method),
]
"""Settings of any method, told apart by their `method`, which is 'watershed' where a file does not say."""


def read_settings(path: str | Path) -> SegmentationSettings | CellposeSettings:
    """Read segmentation settings from a YAML file, of the method that its key `method` names.

    Raises
    ------
    SpotlightError
        If the file cannot be read, names an unknown method, or a setting is wrong.
    """
    values = load_yaml(path)
    method = _method(values)
    if method not in METHODS:
        raise SpotlightError(f"{path}: unknown method {method!r}. Known: {', '.join(METHODS)}.")
    return METHODS[method].parse(values, str(path))


def segment(stack: Stack, settings: SegmentationSettings | CellposeSettings | None = None) -> Stack:
    """Find instances in a fluorescence stack or a stain.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX, one channel. The voxel size must be known unless ``settings.voxel_um`` is None, in which case
        all lengths are taken in pixels if it is not.
    settings : SegmentationSettings or CellposeSettings
        The method and every parameter of it; the watershed's defaults if left out.

    Returns
    -------
    Stack
        int32 labels 1 to n on the grid of `stack`, 0 for background; all 0 if nothing was found.

    Raises
    ------
    SpotlightError
        If a value is NaN or infinite, the voxel size is needed and unknown, or Cellpose or its weights are absent.
    """
    settings = settings or SegmentationSettings()
    stack = stack.timepoint().channel(None)
    stack.require_finite()
    shape, spacing = working_grid(stack, settings.voxel_um)
    if isinstance(settings, CellposeSettings):
        labels = find_cells(prepare(stack, shape, settings), spacing, settings)
    else:
        image = prepare(stack, shape, settings, contrast=settings.value is None)
        labels = split_touching(find_mask(image, spacing, settings), spacing, settings)
    clean = clean_labels(labels, spacing, settings)
    _doubt_sizes(stack, labels, spacing, settings)
    labels = renumber(resize_labels(clean, stack.shape))
    return Stack(labels, stack.axes, stack.voxel_size, ("labels",), stack.source, labels=True)


def _doubt_sizes(
    stack: Stack, labels: NDArray[np.int32], spacing: tuple[float, ...], settings: InstanceSettings
) -> None:
    """Say so if no body has the size of a nucleus, as with a voxel size that is wrong by a factor."""
    sizes = np.bincount(labels.ravel())[1:] * float(np.prod(spacing))
    sizes = sizes[sizes > 0]
    if sizes.size and stack.voxel_size and not np.any((sizes >= settings.min_size) & (sizes <= settings.max_size)):
        log.warning(
            "%s: none of %d bodies was kept: their median size is %.3g %s, and only %g to %g are kept (min_size, "
            "max_size). Check the voxel size (%s) and these settings.",
            stack.source,
            sizes.size,
            np.median(sizes),
            "µm³" if len(spacing) == 3 else "µm²",
            settings.min_size,
            settings.max_size,
            format_size(stack.voxel_size),
        )
