"""Plates of OME-Zarr 0.5 in the making: each field is put in its place whole, and listed when it is there.

So a plate lists nothing that is not there, whenever the work is interrupted. Hidden files, such as locks and work that
is not finished, lie beside the plate and not in it, where other programs would come upon them.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import zarr

from spotlight.addresses import Address
from spotlight.errors import SpotlightError
from spotlight.files import explained_writing, write_text
from spotlight.images.formats import ZARR, explained_reading
from spotlight.images.images_in import Part
from spotlight.images.omezarr import ome_attributes, open_node
from spotlight.images.reading import scenes
from spotlight.locks import Busy, working_on

METADATA = "zarr.json"
"""The file of the metadata of a group."""
VERSION = "0.5"
OWN = "spotlight"
"""The key of what Spotlight records in the metadata of an image."""
PAUSE = 0.02
"""Seconds between two looks at a lock."""
COPIED = ("name", "rows", "columns", "acquisitions", "field_count")
"""What a plate takes over from another."""


def names_a_zarr(path: str | Path) -> bool:
    """Whether the name of a result says that it is one OME-Zarr, and not a folder of files."""
    return Path(path).name.lower().endswith(ZARR.written)


def zarr_around(path: Path) -> Path | None:
    """Give the OME-Zarr in which a path lies; None if it lies in none."""
    return next((parent for parent in path.parents if names_a_zarr(parent)), None)


def beside(path: Path) -> Path:
    """Give the path beside which hidden files of a result lie: of a part of an OME-Zarr, one beside that.

    >>> beside(Path("/data/plate.ome.zarr/B/03/0")).as_posix()
    '/data/plate.ome.zarr-B-03-0'
    """
    root = zarr_around(path)
    if root is None:
        return path
    parts = path.relative_to(root).parts
    return root.resolve().with_name("-".join([root.name, *parts]))


def fields_of(listed: Sequence[Part]) -> list[Part]:
    """Give the fields of one plate, each with well and field as its scene.

    Parameters
    ----------
    listed : sequence of Part
        The images of the plate, or some of them.

    Raises
    ------
    SpotlightError
        If they are not images of one OME-Zarr plate, or several are of one field.
    """
    paths = {part.path for part in listed}
    remedy = "Give one OME-Zarr plate; for all else, name a folder with --to."
    if len(paths) != 1:
        raise SpotlightError(
            f"a plate is made from the fields of one other plate. Received: images of {len(paths)} files. {remedy}"
        )
    path = paths.pop()
    fault = next((part.fault for part in listed if part.fault), "")
    if fault:
        raise SpotlightError(fault)
    if plate_metadata(path) is None:
        raise SpotlightError(f"{path}: is no OME-Zarr plate, and one plate is made of another. {remedy}")
    found: dict[str, Part] = {}
    for part in listed:
        field = part.scene or scenes(path)[0].name
        if field in found:
            raise SpotlightError(
                f"{path}: the field {field} has several timepoints, and a plate has one image for each field. Choose a "
                "timepoint with --time, or name a folder with --to."
            )
        found[field] = replace(part, scene=field)
    return list(found.values())


def plate_metadata(path: Path) -> dict[str, Any] | None:
    """Read what an OME-Zarr states of itself as a plate; None if it is none.

    Raises
    ------
    SpotlightError
        If it is damaged.
    """
    if not isinstance(path, Address) and not ZARR.is_folder(path):
        return None
    with explained_reading(path, "OME-Zarr"):
        node = open_node(path)
        found = ome_attributes(node).get("plate") if isinstance(node, zarr.Group) else None
        return found if isinstance(found, dict) else None


def well_name(well: str) -> str:
    """Give the name of a well as people write it.

    >>> well_name("B/03")
    'B03'
    """
    return well.replace("/", "")


class Plate:
    """A plate that is made from the fields of another.

    Parameters
    ----------
    path : path
        Of the new plate; made with its first field.
    like : path
        The plate whose rows, columns, wells and fields it has.

    Raises
    ------
    SpotlightError
        If something else is there.
    """

    def __init__(self, path: Path, like: Path) -> None:
        self.path, self.like = path, like
        stated = plate_metadata(like)
        if stated is None:
            raise SpotlightError(f"{like}: is no OME-Zarr plate.")
        self.wells: list[dict[str, Any]] = stated["wells"]
        self.metadata = {name: stated[name] for name in COPIED if stated.get(name) is not None}
        if not path.exists():
            return
        if path.resolve() == like.resolve():
            raise SpotlightError(
                f"{path}: is the input, which would be overwritten. Choose another name; `spotlight add` writes "
                "finished results into it."
            )
        found = plate_metadata(path)
        rows = {well["path"].split("/")[0] for well in self.wells}
        if found is None and path.is_dir() and {one.name for one in path.iterdir() if one.name[0] != "."} <= rows:
            return  # killed before the first field was listed
        if found is None or {name: found[name] for name in COPIED if found.get(name) is not None} != self.metadata:
            what = "something that is no plate" if found is None else "a plate of other rows, columns or name"
            raise SpotlightError(f"{path}: is {what}. Choose another name.")

    def list_field(self, field: str) -> None:
        """List a field that is in its place, in the order of the other plate."""
        well, _, name = field.rpartition("/")
        with explained_reading(self.like, "OME-Zarr"):
            node = open_node(self.like)
            assert isinstance(node, zarr.Group)
            images = ome_attributes(node[well])["well"]["images"]  # type: ignore[arg-type]
        row = self.path / well.split("/")[0]
        with _alone(self.path):
            for group in (self.path / well, self.path, row):
                _clear(group)
            add_to_listing(self.path / well, "well", "images", {}, images, name)
            add_to_listing(self.path, "plate", "wells", self.metadata, self.wells, well)
            if not (row / METADATA).exists():
                write_attributes(row, {})


def add_to_listing(
    group: Path, kind: str, key: str, more: Mapping[str, Any], known: Sequence[Mapping[str, Any]], path: str
) -> None:
    """Add a path to those that a group lists, in the order of the known ones."""
    ome = read_attributes(group).get("ome", {})
    listed = {one["path"]: one for one in ome.get(kind, {}).get(key, [])}
    if path in listed:
        return
    listed |= {one["path"]: dict(one) for one in known if one["path"] == path}
    order = [one["path"] for one in known]
    entries = sorted(listed.values(), key=lambda one: order.index(one["path"]))
    write_attributes(group, {"ome": {"version": VERSION, kind: {**more, key: entries}}})


def list_labels(image: Path, name: str) -> None:
    """List labels that are in their place in an OME-Zarr 0.5 image: ``image/labels/name``."""
    folder = image / "labels"
    with _alone(folder):
        _clear(folder)
        found = read_attributes(folder)
        names = [*found.get("ome", {}).get("labels", []), name]
        ome = {"version": VERSION, **found.get("ome", {}), "labels": list(dict.fromkeys(names))}
        write_attributes(folder, {**found, "ome": ome})


def read_attributes(group: Path) -> dict[str, Any]:
    """Read the attributes of a Zarr 3 group; empty if there is none that can be read."""
    attributes = _document(group).get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def _document(group: Path) -> dict[str, Any]:
    try:
        found = json.loads((group / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_attributes(group: Path, attributes: Mapping[str, Any]) -> None:
    """Write the attributes of a Zarr 3 group, all or none of them; the group is made if needed."""
    document = {**_document(group), "zarr_format": 3, "node_type": "group", "attributes": attributes}
    text = json.dumps(document, indent=2, allow_nan=False)
    write_text(group / METADATA, text + "\n")


def unconsolidate(image: Path) -> None:
    """Remove copies of metadata that a group around an image, or itself, keeps of all below, and that would grow old.

    A group without them says the same; it takes more requests to read it from far away.
    """
    for group in (image, *image.parents):
        document = _document(group)
        if not document:
            return
        if document.pop("consolidated_metadata", None) is not None:
            write_text(group / METADATA, json.dumps(document, indent=2) + "\n")


def put(written: Path, path: Path) -> None:
    """Put a finished folder in its place in an OME-Zarr.

    What was there goes into the folder in which it was written, which is removed afterwards.
    """
    with explained_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(written.with_name("former"))
        written.replace(path)


def _clear(group: Path) -> None:
    """Remove what a kill left of writing a group, where nobody else is writing it."""
    for half_written in group.glob(f".{METADATA}.*.part"):
        half_written.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process lists something there, which takes moments."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(working_on(beside(path)))
                break
            except Busy:
                time.sleep(PAUSE)
        yield
