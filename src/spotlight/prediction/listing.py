"""List the images of files, folders, plates and manifests."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from spotlight.addresses import Address, located
from spotlight.devices import is_out_of_memory
from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.fingerprint import State, states_of
from spotlight.images import Part, Selection, Stack, images_in, is_image, read_selected, stem, warn_of_planes
from spotlight.images.belonging import files_of
from spotlight.images.joining import join, separate, take
from spotlight.images.modality import parse_modality
from spotlight.images.selection import FurtherInput
from spotlight.pairs.cells import channels_in, further_in, parse_time
from spotlight.pairs.manifest import parse_voxel_size
from spotlight.pairs.table import PARQUET, read_table

log = logging.getLogger("spotlight")

TABLES = (".csv", *PARQUET)


def find_parts(
    images: Sequence[str | Path],
    scene: str | None = None,
    time: int | None = None,
    axes: str | None = None,
    strict: bool = False,
    split: str | None = None,
) -> list[Part]:
    """List the images of files, folders of files, plates and manifests; each has a name of its own, for its result.

    A time-lapse of which no timepoint is chosen is one image, with the number of its `frames`.
    A file of a folder or manifest that cannot be read is a part with a `fault`, whose staining fails.

    Parameters
    ----------
    images : sequence of path
        Files, plates, folders of them, and manifests (CSV or Parquet). Of a manifest the inputs are taken, each once,
        with the channels, scenes, timepoints, axes and voxel sizes that it states; regions are not cut out.
    scene, time, axes : optional
        See `spotlight.images.Selection`.
    strict : bool
        Raise for such a file, too, as for one that is named itself.
    split : str, optional
        Take only these rows of manifests.

    Returns
    -------
    list of Part
        In the order of their names within each folder or manifest.

    Raises
    ------
    SpotlightError
        If there are none, two would have one name, or a file that is named itself cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.prediction import find_parts
    >>> for name in ("a1", "a2"):
    ...     path = Stack(np.zeros((8, 16, 16), np.uint16), "ZYX", (0.5, 0.1, 0.1)).save(f"new/{name}.ome.tif")
    >>> [part.name for part in find_parts(["new"])]
    ['a1', 'a2']
    """
    listed: dict[str, Part] = {}
    for given in map(located, images):
        is_table = given.suffix.lower() in TABLES and given.is_file()
        is_folder = given.is_dir() and not is_image(given)
        if split is not None and not is_table:
            raise SpotlightError(
                f"{given}: is not a manifest, but split {split!r} selects rows of a manifest. Leave split out."
            )
        if is_table:
            wanted = list(_rows(given, split))
        else:
            files = sorted(filter(is_image, given.iterdir())) if is_folder else [given]
            wanted = [Part(path=path, scene=scene, time=time) for path in files]
        for want in wanted:
            for part in _images(want, axes, strict or not (is_folder or is_table)):
                if part.name in listed:
                    raise SpotlightError(
                        f"{part.path}: its result would overwrite that of {listed[part.name].path}, since both are "
                        f"named {part.name}. Rename one."
                    )
                listed[part.name] = part
    if time is None and axes is None:
        warn_of_planes([part for part in listed.values() if part.axes is None])
    if not listed:
        raise SpotlightError("no image starts in the files that were given. Give all files of the set.")
    return list(listed.values())


def _images(want: Part, axes: str | None, strict: bool) -> list[Part]:
    """The images of a file, or of one of its scenes or timepoints."""
    try:
        found = images_in(want.path, Selection(axes=axes).over(want), whole=True)
    except Exception as error:  # one bad file of a folder must not stop the others
        if strict:
            raise
        log.debug("%s", want.path, exc_info=True)
        return [replace(want, name=stem(want.path), fault=reason_of(error))]
    if not found:
        log.info("%s: belongs to a set of files, and no image of it starts here.", want.path)
    return [replace(part, axes=want.axes, further=want.further) for part in found]


def _rows(manifest: Path, split: str | None) -> Iterator[Part]:
    """The inputs of a manifest, each once, without names."""
    header, rows = read_table(manifest)
    for column in ("input", *(["split"] if split else [])):
        if column not in header:
            raise SpotlightError(f"{manifest}: has no column {column!r}. Found: {', '.join(header) or 'nothing'}.")
    seen = set()
    for where, row in rows:
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        if split and cells["split"].lower() != split:
            continue
        scene, time, axes = (cells.get(name) or None for name in ("scene", "time", "axes"))
        size = cells.get("voxel_size")
        part = Part(
            path=located(cells["input"], manifest.parent),
            scene=scene,
            time=parse_time(time, where) if time else None,
            channel=channels_in(cells, where),
            axes=axes,
            voxel_size=parse_voxel_size(size, where) if size else None,
            modality=parse_modality(cells.get("modality", ""), where) or None,
            further=further_in(cells, manifest.parent, where) or (),
        )
        if part not in seen:
            seen.add(part)
            yield part
    if not seen:
        which = f" of the split {split!r}" if split else ""
        raise SpotlightError(f"{manifest}: has no row{which}.")


def read_part(part: Part, axes: str | None = None, voxel_size: tuple[float, ...] | None = None) -> Stack:
    """Read an image with the axes and voxel size that its manifest states, or with those given here.

    If it has further channels in other files, they are joined to those that its manifest names.

    Parameters
    ----------
    part : Part
        From `find_parts`.
    axes, voxel_size : optional
        Instead of what its manifest states; see `spotlight.read`.

    Returns
    -------
    Stack
        Its values are read when they are asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.prediction import find_parts, read_part
    >>> path = Stack(np.zeros((8, 16, 16), np.uint16), "ZYX", (0.5, 0.1, 0.1)).save("a1.ome.tif")
    >>> (part,) = find_parts([path])
    >>> read_part(part).shape
    (8, 16, 16)
    """
    chosen = Selection(axes=axes, voxel_size=voxel_size).over(part).only("scene", "time", "axes", "voxel_size")
    image = read_selected(part.path, chosen)
    if not part.further:
        return image
    first = separate(take(image, part.channel))
    further = [
        replace(take(read_selected(one.path, chosen), one.channel), channels=(one.name,)) for one in part.further
    ]
    return join([*first, *further])


def reason_of(error: Exception) -> str:
    """Why an image failed; errors of other packages need their type to be understood."""
    if isinstance(error, SpotlightError):
        return str(error)
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{said}. Predict with smaller tiles (tile in --settings)." if is_out_of_memory(error) else said


def states_of_image(path: Path, scene: str | None, further: tuple[FurtherInput, ...] = ()) -> list[State]:
    """States of all files from which an image, and its further channels, are read."""
    paths = [located(one) for one in (path, *(one.path for one in further))]
    for one in paths:
        if not isinstance(one, Address):
            require_path(one, "Check the path and its permissions.")
    return states_of([files_of(one, scene) for one in paths])
