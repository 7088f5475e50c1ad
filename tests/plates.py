"""Plates of OME-Zarr for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from yaozarrs import v05
from yaozarrs.write.v05 import PlateBuilder

VOXEL = (0.29, 0.29, 0.29)


def write_plate(path: Path, fields: Mapping[str, NDArray[Any]], voxel_size: tuple[float, ...] = VOXEL) -> Path:
    """Write stacks (ZYX, or TZYX of 300 s a frame) as a plate; names are of wells and fields, such as ``A/01/0``."""
    wells = list(dict.fromkeys(name.rpartition("/")[0] for name in fields))
    rows, columns = (list(dict.fromkeys(well.split("/")[n] for well in wells)) for n in (0, 1))
    plate = v05.PlateDef(
        columns=[v05.Column(name=name) for name in columns],
        rows=[v05.Row(name=name) for name in rows],
        wells=[
            v05.PlateWell(path=well, rowIndex=rows.index(well[0]), columnIndex=columns.index(well.split("/")[1]))
            for well in wells
        ],
        name="screen 1",
        field_count=len(fields) // len(wells),
    )
    builder = PlateBuilder(path, plate=v05.Plate(plate=plate), writer="zarr")
    lapse = next(iter(fields.values())).ndim == 4
    time = [v05.TimeAxis(name="t", unit="second")] if lapse else []
    axes = [*time, *(v05.SpaceAxis(name=name, unit="micrometer") for name in "zyx")]
    scale = v05.ScaleTransformation(scale=[300.0][: len(time)] + list(voxel_size))
    scales = v05.Multiscale(axes=axes, datasets=[v05.Dataset(path="0", coordinateTransformations=[scale])])
    for well in wells:
        images = {
            n.split("/")[2]: (v05.Image(multiscales=[scales]), [a]) for n, a in fields.items() if n.startswith(well)
        }
        builder.write_well(row=well.split("/")[0], col=well.split("/")[1], images=images)
    return path


def contents(folder: Path) -> dict[str, Any]:
    """All files of a folder by their names; of metadata, all but when and from which folder they were made."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found[str(file.relative_to(folder))] = _stripped(file) if file.name == "zarr.json" else file.read_bytes()
    return found


def _stripped(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    own = document.get("attributes", {}).get("spotlight", {})
    for name in ("made", "key", "inputs", "input", "made_from"):
        own.pop(name, None)
    own.get("segmentation", {}).pop("image", None)
    return document
