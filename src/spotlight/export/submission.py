"""The layouts of challenges: a folder per organelle of Light My Cells, and a folder per patch of SELMA3D."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.metrics.selma3d import selma3d_group
from spotlight.pairs.importers import STAINS
from spotlight.prediction.finishing import SPREAD, VIRTUAL

log = logging.getLogger("spotlight")

SELMA3D_SLUG = "isolated-biological-structure"
"""Of the output of every algorithm, whatever the structure."""


def write_submission(stain: Stack, name: str, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write a stain as the Light My Cells challenge requires it: ``FOLDER/Nucleus/NAME.ome.tiff`` and so on.

    Values are rounded, clipped and stored as uint16; the share of clipped values is logged. Every file contains the
    pixel size and the description of the stain; the name of its channel is the organelle.

    Parameters
    ----------
    stain : Stack
        With axes CYX, or YX for one organelle, in the intensities of the targets. Channels are named after the
        challenge's targets, such as ``Nucleus`` or ``Nucleus (virtual)``; channels of a stain's spread are left out.
    name : str
        Name of the files: that of the input plane.
    folder : path
        Where the folders of the organelles are created.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    list of Path
        The files, in the order of the channels.

    Raises
    ------
    SpotlightError
        If the stain has other axes or channels or values that are not finite, or a file already exists.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.export import write_submission
    >>> from spotlight.images import Stack
    >>> stain = Stack(np.zeros((2, 16, 16), np.float32), "CYX", (0.1, 0.1), ("Nucleus", "Actin"))
    >>> [path.as_posix() for path in write_submission(stain, "image_12_BF_z3", "submission")]
    ['submission/Nucleus/image_12_BF_z3.ome.tiff', 'submission/Actin/image_12_BF_z3.ome.tiff']
    """
    if stain.axes not in ("CYX", "YX"):
        raise SpotlightError(
            f"{stain.source}: Light My Cells accepts planes with axes CYX or YX. Received: {stain.axes} {stain.shape}. "
            "Stain single planes of transmitted light."
        )
    places = {
        which: Path(folder) / _organelle(channel, stain.source) / f"{name}.ome.tiff"
        for which, channel in enumerate(stain.channels)
        if not channel.endswith(SPREAD)
    }
    if not places or len(set(places.values())) < len(places):
        raise SpotlightError(
            f"{stain.source}: needs one channel per organelle, named {', '.join(STAINS)}. Received: "
            f"{', '.join(stain.channels) or 'no names'}."
        )
    there = [path for path in places.values() if path.exists() and not overwrite]
    if there:
        raise SpotlightError(f"{there[0]}: already exists. Choose another folder, or overwrite (--overwrite).")
    stain.require_finite()
    for which, path in places.items():
        plane = stain.channel(which)
        data = np.rint(plane.data)
        if data.min() == data.max():
            log.warning(
                "%s: %s is %g everywhere after rounding. Stains must be in intensities, not in normalised units.",
                stain.source,
                path.parent.name,
                data.flat[0],
            )
        source = f"{stain.source}, {path.parent.name}"
        replace(plane, channels=(path.parent.name,), colors=(), source=source).save(path, "uint16")
    return list(places.values())


def write_selma3d(labels: Stack, name: str, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a mask as an algorithm of SELMA3D 2026 must.

    The file is ``FOLDER/NAME/images/isolated-biological-structure/output.tif``, whatever the structure; ``FOLDER/NAME``
    is what the challenge calls ``/output`` of one patch.

    Parameters
    ----------
    labels : Stack
        A mask or labels, axes ZYX, whole numbers: what is above 0 becomes 1. Type and grid of the file are uint8 and
        that of the patch.
    name : str
        Of the patch, which begins with its structure, such as ``cell_nuclei_2301``.
    folder : path
        Where the folder of the patch is created.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SpotlightError
        If the stack is none of labels, the name begins with no structure of the challenge, or the file already exists.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.export import write_selma3d
    >>> from spotlight.images import Stack
    >>> labels = Stack(np.eye(4, dtype=np.int32)[None], "ZYX", (2.0, 1.0, 1.0))
    >>> write_selma3d(labels, "cell_nuclei_2301", "submission").as_posix()
    'submission/cell_nuclei_2301/images/isolated-biological-structure/output.tif'
    """
    selma3d_group(name, "selma3d-2026")
    if labels.axes != "ZYX" or labels.dtype.kind not in "ui":
        raise SpotlightError(
            f"{labels.source}: SELMA3D accepts a mask of one structure, axes ZYX, whole numbers. Received: "
            f"{labels.axes} {labels.shape} {labels.dtype}. Submit the labels that `predict` writes with probabilities."
        )
    path = Path(folder) / name / "images" / SELMA3D_SLUG / "output.tif"
    if path.exists() and not overwrite:
        raise SpotlightError(f"{path}: already exists. Choose another folder, or overwrite (--overwrite).")
    mask = (labels.data > 0).astype(np.uint8)
    if not mask.any():
        log.warning("%s: the mask is empty", labels.source)
    replace(labels, array=mask, labels=False).save(path)
    return path


def _organelle(channel: str, source: str) -> str:
    name = channel.removesuffix(VIRTUAL)
    if name not in STAINS:
        raise SpotlightError(
            f"{source}: channel {channel!r} is not a target of Light My Cells ({', '.join(STAINS)}). Submit stains of "
            "models whose targets have these names."
        )
    return name
