"""`segment_plate`: the nuclei of a plate as labels in its fields and as one table."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
import yaml

from spotlight.errors import SpotlightError
from spotlight.fingerprint import changed, fingerprint, recorded
from spotlight.images import Part, stem
from spotlight.images.formats import is_zarr
from spotlight.images.plates import (
    OWN,
    Plate,
    beside,
    fields_of,
    list_labels,
    plate_metadata,
    put,
    read_attributes,
    unconsolidate,
    well_name,
    write_attributes,
)
from spotlight.locks import Busy, share_out, working_on
from spotlight.nuclei import Asked, Search
from spotlight.prediction.listing import reason_of, states_of_image
from spotlight.profiles.plate_table import (
    Naming,
    join_wells,
    read_wells,
    require_own_names,
    require_writable,
    well_key,
    write_plate_table,
)
from spotlight.progress import Progress
from spotlight.segmentation import InstanceSettings, SegmentationSettings

log = logging.getLogger("spotlight")

NUCLEI = "nuclei"
"""Name of the labels in a field."""


@dataclass(frozen=True, eq=False)
class SegmentedPlate:
    """What was found in a plate, and where it was written.

    Attributes
    ----------
    table : DataFrame
        One row a nucleus, with plate, well, field and what was done in the well before the measurements.
    tables : tuple of Path
        Where it was written.
    labels : tuple of Path
        The labels of every field.
    kept : int
        How many of them were there already.
    failed : dict
        Why there are none, by names of fields.
    """

    table: pd.DataFrame
    tables: tuple[Path, ...]
    labels: tuple[Path, ...]
    kept: int
    failed: dict[str, str]


def segment_plate(
    plate: str | Path,
    to: str | Path,
    settings: InstanceSettings | None = None,
    *,
    scene: str | None = None,
    time: int | None = None,
    wells: str | Path | None = None,
    tables: Sequence[str | Path] | None = None,
    naming: Naming = "plain",
    progress: Progress | None = None,
    **asked: Unpack[Asked],
) -> SegmentedPlate:
    """Find and measure the nuclei of an OME-Zarr plate, and write labels of every field and one table.

    Labels hold the measurements, too, as properties in their metadata. Those of time-lapses have the axis T, and the
    table the column ``frame``. Those that are there from the same field and
    settings are kept, so that a call that was killed goes on and another table is made in moments. A field that fails
    does not stop the rest. Several processes that make the same call share the fields, and each ends when all are done.

    Parameters
    ----------
    plate : path
        An OME-Zarr plate of fluorescence or stains.
    to : path
        The same path: the labels are added to the plate, as ``labels/nuclei`` of each field. Another path that ends in
        ``.ome.zarr``: a plate of the same wells and fields whose images are the labels.
    settings : InstanceSettings
        The method and every parameter of it; the watershed's defaults if left out.
    scene, time : optional
        See `spotlight.read`; without a scene or timepoint all are taken.
    wells : path, optional
        What was done in each well; see `spotlight.profiles.plate_table.read_wells`.
    tables : sequence of path, optional
        Where to write the table: ``.csv``, ``.parquet`` or ``.h5ad``. Left out: ``NAME-nuclei.csv`` and ``.parquet``
        beside `to`. Files of these names are replaced.
    naming : "plain" or "pycytominer"
        See `spotlight.profiles.plate_table.write_plate_table`.
    progress : callable, optional
        See `spotlight.progress.Progress`.

    Other Parameters
    ----------------
    channel, axes, voxel_size, features, tracking : optional
        See `spotlight.nuclei.Asked`.

    Returns
    -------
    SegmentedPlate
        The labels, the table, and what failed.

    Raises
    ------
    SpotlightError
        If it is no plate, other labels are in the way, the table of wells does not fit, or nothing can be written.

    Examples
    --------
    >>> import spotlight
    >>> found = spotlight.segment_plate("stained.ome.zarr", "stained.ome.zarr", wells="layout.csv")  # doctest: +SKIP
    >>> found.table.groupby("well")["volume"].median()  # doctest: +SKIP
    """
    to, search = Path(to), Search(settings or SegmentationSettings(), **asked)
    parts = fields_of(search.images([plate], scene, time))
    source = parts[0].path
    paths = tuple(
        Path(one) for one in tables or [to.with_name(f"{stem(to)}-nuclei{end}") for end in (".csv", ".parquet")]
    )
    for path in paths:
        require_writable(path)
    layout = None if wells is None else read_wells(wells)
    if layout is not None and not {well_key(_well(part)) for part in parts} & set(layout.index):
        raise SpotlightError(
            f"{wells}: has none of the plate's wells. Found: {', '.join(map(str, layout.index[:5]))}; the plate has "
            f"{', '.join(well_name(_well(part)) for part in parts[:5])}. Write them as in the plate."
        )
    if layout is not None:
        require_own_names(layout, str(wells), search.features)
    made = Plate(to, source) if not to.exists() or to.resolve() != source.resolve() else None
    fields = [_Field(part, to, made) for part in parts]
    for field in fields:
        field.require_free()
    rows: dict[str, pd.DataFrame] = {}
    kept: set[str] = set()
    failed: dict[str, str] = {}

    def find(field: _Field) -> None:
        try:
            with working_on(beside(field.path)):
                states = states_of_image(field.part.path, field.part.scene)
                key = fingerprint(field.part.path, field.part.scene, field.part.time, search)
                found = field.table_if_made(key, states)
                if found is None:
                    found = field.make(key, states, search)
                else:
                    kept.add(field.name)
                field.list()
            rows[field.name] = found
        except Exception as error:  # even a fault of a reader or of the machine is no reason to leave the others undone
            if isinstance(error, Busy):
                raise
            log.debug("%s", field.part.name, exc_info=True)
            failed[field.name] = reason_of(error)
            log.error("%s: %s", field.part.name, failed[field.name])
        if progress is not None:
            progress("segmenting", len(rows) + len(failed), len(fields), {})

    share_out(fields, find)
    if not rows:
        raise SpotlightError(f"{source}: no field could be segmented. The first: {next(iter(failed.values()))}")
    name = str((plate_metadata(source) or {}).get("name") or stem(source))
    table = pd.concat(
        [
            pd.DataFrame(
                {"plate": name, "well": well_name(field.well), "field": field.name.rpartition("/")[2]}, nuclei.index
            ).join(nuclei)
            for field in fields
            if (nuclei := rows.get(field.name)) is not None
        ],
        ignore_index=True,
    )
    if layout is not None:
        table, unknown = join_wells(table, layout)
        if unknown:
            strange = sorted(set(layout.index) - {well_key(_well(part)) for part in parts})
            more = f" It has wells that the plate lacks: {', '.join(strange[:5])}." if strange else ""
            log.warning("%s: says nothing of the wells %s; their cells are empty.%s", wells, ", ".join(unknown), more)
    known = () if layout is None else tuple(layout.columns)
    written = tuple(write_plate_table(table, path, naming, known) for path in paths)
    return SegmentedPlate(table, written, tuple(f.path for f in fields if f.name in rows), len(kept), failed)


def _well(part: Part) -> str:
    return str(part.scene).rpartition("/")[0]


class _Field:
    """A field whose nuclei are looked for, and its labels: inside of it, or as image of a plate in the making."""

    def __init__(self, part: Part, to: Path, made: Plate | None) -> None:
        self.part, self.made = part, made
        self.name, self.well = str(part.scene), _well(part)
        self.image = to / self.name
        self.path = self.image / "labels" / NUCLEI if made is None else self.image

    @property
    def record(self) -> dict[str, Any]:
        """What is recorded of the labels that are there; empty if there are none."""
        found = read_attributes(self.path).get(OWN)
        return found if isinstance(found, dict) else {}

    def require_free(self) -> None:
        """Raise a `SpotlightError` if labels cannot be written, or replace what this function did not make."""
        if self.made is None and "multiscales" not in read_attributes(self.image).get("ome", {}):
            raise SpotlightError(
                f"{self.image}: is not an OME-Zarr 0.5 image, so that labels cannot be added to it. Name another "
                "plate with --to, such as nuclei.ome.zarr, whose images are then the labels."
            )
        if is_zarr(self.path) and "segmentation" not in self.record:
            raise SpotlightError(
                f"{self.path}: is there already and was not written by `spotlight segment`. Name another plate with "
                "--to."
            )

    def table_if_made(self, key: str, states: list[Any]) -> pd.DataFrame | None:
        """Read the measurements of the labels that are there, if they were made in the same way."""
        record = self.record
        if record.get("key") != key or changed(record.get("inputs", {}), states):
            return None
        properties = record.get("nuclei", read_attributes(self.path)["ome"]["image-label"].get("properties"))
        rows = [{"label": row.pop("label-value"), **row} for row in properties]
        return pd.DataFrame(rows, columns=list(record["columns"]), dtype=object).astype(record["columns"])

    def make(self, key: str, states: list[Any], search: Search) -> pd.DataFrame:
        """Find and measure the nuclei, and put the labels in their place."""
        with search.workspace(self.part, self.path, search.mark(self.part)) as workspace:
            inputs = recorded(states)
            found, nuclei = search.nuclei(self.part, workspace)
            written = found.labels.save(workspace.folder / f"{NUCLEI}.ome.zarr")
            attributes = read_attributes(written)
            attributes[OWN] = {
                "key": key,
                "inputs": inputs,
                "columns": {str(name): str(kind) for name, kind in nuclei.dtypes.items()},
                "segmentation": yaml.safe_load(found.to_yaml()),
            }
            rows = _properties(nuclei)
            if self.part.frames:  # properties are of a label, not of a label in a frame
                attributes[OWN]["nuclei"] = rows
            else:
                attributes["ome"]["image-label"]["properties"] = rows
            write_attributes(written, attributes)
            put(written, self.path)
        for doubt in found.doubts:
            log.warning("%s: %s", self.part.name, doubt)
        return nuclei

    def list(self) -> None:
        """List the labels that are in their place."""
        if self.made is None:
            unconsolidate(self.image)
            list_labels(self.image, NUCLEI)
        else:
            self.made.list_field(self.name)


def _properties(nuclei: pd.DataFrame) -> list[dict[str, Any]]:
    """Give measurements in the form of OME-Zarr's properties of labels."""
    rows = nuclei.rename(columns={"label": "label-value"}).to_dict("records")
    return [{str(name): _for_json(value) for name, value in row.items()} for row in rows]


def _for_json(value: Any) -> Any:
    """Give a value as JSON has it, which knows neither NaN nor infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value.item() if isinstance(value, np.generic) else value
