"""Damaged files by the thousand: each gives an image or one `SpotlightError`, in bounded time and memory.

    python tests/fuzzing.py [--format tiff] [--count 10000] [--seed 0]

prints how often each outcome occurred. The tests run the same with a few hundred. A format's image is small, so that
much of its file is not pixel values.
"""

import argparse
import collections
import faulthandler
import json
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from micromanager_files import write_stack
from spotlight.errors import SpotlightError
from spotlight.images import Stack, read, scenes

MEMORY = 6 * 2**30
SECONDS = 10.0
VALUES = 10**8
"""What is larger is not read: it is as large as it says, as far as can be told."""
DATA = np.random.default_rng(0).integers(0, 4000, (2, 4, 18, 16)).astype(np.uint16)
STACK = Stack(DATA, "CZYX", (0.29, 0.1, 0.1), ("BF", "DNA"))


def write_ome_tiff(folder: Path) -> Path:
    return STACK.save(folder / "x.ome.tif")


def write_imagej(folder: Path) -> Path:
    options = {"resolution": (10, 10), "metadata": {"axes": "ZCYX", "spacing": 0.3, "unit": "um"}}
    tifffile.imwrite(folder / "x.tif", DATA.transpose(1, 0, 2, 3), imagej=True, **options)  # type: ignore[arg-type]
    return folder / "x.tif"


def write_signed(folder: Path) -> Path:
    """Write what ImageJ makes of numbers with a sign."""
    text = "ImageJ=1.54f\nimages=8\nchannels=2\nslices=4\nunit=um\nspacing=0.3\ncf=0\nc0=-32768.0\nc1=1.0\n"
    planes = DATA.transpose(1, 0, 2, 3).reshape(8, *DATA.shape[2:]) + np.uint16(32768)
    tifffile.imwrite(folder / "x.tif", planes, description=text, metadata=None, photometric="minisblack")
    return folder / "x.tif"


def write_colour(folder: Path) -> Path:
    pixels = np.moveaxis(DATA.reshape(3, 4, 12, 16), 0, -1)
    axes = {"axes": "ZYXS"}
    tifffile.imwrite(folder / "x.ome.tif", pixels, photometric="rgb", ome=True, metadata=axes, compression="zlib")
    return folder / "x.ome.tif"


def write_plain(folder: Path) -> Path:
    tifffile.imwrite(folder / "x.tif", DATA.reshape(8, *DATA.shape[2:]), metadata=None)
    return folder / "x.tif"


def write_micromanager(folder: Path) -> Path:
    planes = {(c, z, 0, 0): DATA[c, z] for z in range(4) for c in range(2)}
    return write_stack(folder / "x_MMStack.ome.tif", planes, Slices=4)


def write_set(folder: Path, companion: bool = False) -> Path:
    """Write an OME-TIFF for each of two channels; both describe the whole image, or a third file does."""
    names = [f"x{c}.ome.tif" for c in range(2)]
    planes = "".join(
        f'<TiffData IFD="{z}" FirstC="{c}" FirstZ="{z}" PlaneCount="1"><UUID FileName="{names[c]}">urn:uuid:{c:032x}'
        "</UUID></TiffData>"
        for c, z in np.ndindex(2, 4)
    )
    image = (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{DATA.shape[3]}" '
        f'SizeY="{DATA.shape[2]}" SizeZ="4" SizeC="2" SizeT="1"><Channel ID="Channel:0:0"/>'
        f'<Channel ID="Channel:0:1"/>{planes}</Pixels></Image>'
    )
    start = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
    reference = '<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:m"/>'
    for c, name in enumerate(names):
        xml = f'{start}UUID="urn:uuid:{c:032x}">{reference if companion else image}</OME>'
        tifffile.imwrite(folder / name, DATA[c], description=xml, metadata=None, photometric="minisblack")
    if companion:
        (folder / "x.companion.ome").write_text(f'{start}UUID="urn:uuid:m">{image}</OME>')
    return folder / names[0]


def write_companion(folder: Path) -> Path:
    write_set(folder, companion=True)
    return folder / "x.companion.ome"


def write_zarr(folder: Path) -> Path:
    return STACK.save(folder / "x.ome.zarr")


def write_npy(folder: Path) -> Path:
    np.save(folder / "x.npy", DATA)
    return folder / "x.npy"


def write_czi(folder: Path, compression: str = "uncompressed:") -> Path:
    from pylibCZIrw import czi

    with czi.create_czi(str(folder / "x.czi"), compression_options=compression) as writer:
        for c, z in np.ndindex(2, 4):
            writer.write(DATA[c, z], plane={"C": c, "Z": z, "T": 0})
        writer.write_metadata("x", channel_names={0: "BF", 1: "DNA"}, scale_x=1e-7, scale_y=1e-7, scale_z=3e-7)
    return folder / "x.czi"


def write_compressed_czi(folder: Path) -> Path:
    return write_czi(folder, "zstd1:ExplicitLevel=2")


FORMATS: dict[str, Callable[[Path], Path]] = {
    "tiff": write_ome_tiff,
    "set": write_set,
    "companion": write_companion,
    "imagej": write_imagej,
    "signed": write_signed,
    "colour": write_colour,
    "micromanager": write_micromanager,
    "plain": write_plain,
    "zarr": write_zarr,
    "npy": write_npy,
    "czi": write_czi,
    "czi-zstd": write_compressed_czi,
}
AXES = {"npy": "CZYX", "plain": "ZYX"}
"""Of formats that do not state them."""


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut bytes off, flip some anywhere or in the header, insert, remove or repeat a piece, or set absurd numbers."""
    data = bytearray(content)
    kind = rng.integers(7)
    if kind == 0:
        return bytes(data[: rng.integers(0, len(data) + 1)])
    if kind in (1, 2):
        reach = len(data) if kind == 1 else min(len(data), 600)
        for place in rng.integers(0, max(reach, 1), rng.integers(1, 20)):
            if place < len(data):
                data[place] ^= 1 << int(rng.integers(8))
    start, length = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 64))
    if kind == 3:
        data[start:start] = rng.bytes(length)
    elif kind == 4:
        del data[start : start + length]
    elif kind == 5:
        data[start : start + length] = data[:length]
    elif kind == 6:
        absurd = [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\x00\x00\x00\x80"]
        for place in rng.integers(0, len(data) + 1, 3):
            data[place : place + 4] = absurd[rng.integers(len(absurd))]
    return bytes(data)


def damage_json(text: str, rng: np.random.Generator) -> str:
    """Replace, remove or rename one entry of a JSON document."""
    document = json.loads(text)
    node, path = document, []
    while isinstance(node, (dict, list)) and node:
        key = list(node)[rng.integers(len(node))] if isinstance(node, dict) else int(rng.integers(len(node)))
        path.append((node, key))
        if rng.random() < 0.2:
            break
        node = node[key]
    if not path:
        return text
    owner, key = path[-1]
    absurd = [None, -1, 0, 2**31, 2**63, 1e300, "", "zyx", [], {}, [0], [2**40], True, "../../../etc", {"a": None}]
    if rng.random() < 0.3:
        del owner[key]
    else:
        owner[key] = absurd[rng.integers(len(absurd))]
    return json.dumps(document)


def damage_folder(folder: Path, rng: np.random.Generator) -> None:
    """Damage, remove, or replace one file of a Zarr folder."""
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    metadata = [f for f in files if f.name == "zarr.json"]
    among = metadata if rng.random() < 0.7 else files
    file = among[rng.integers(len(among))]
    kind = rng.integers(5)
    if kind == 0:
        file.unlink()
    elif kind == 1:
        file.unlink()
        file.mkdir()
    elif kind in (2, 3) and file.name == "zarr.json":
        file.write_text(damage_json(file.read_text(), rng))
    else:
        file.write_bytes(damage(file.read_bytes(), rng))


def outcome(path: Path, axes: str | None) -> str:
    """Read a damaged file; anything but an image or a `SpotlightError` that names it goes through."""
    try:
        stacks = [read(path, scene=number, axes=axes) for number in range(len(scenes(path)))]
        if sum(stack.array.size for stack in stacks) > VALUES:
            return "absurd size stated, nothing read"
        values = [stack.data for stack in stacks]
    except SpotlightError as error:
        if not any(file.name in str(error) for file in path.parent.iterdir()):
            raise AssertionError("the error does not name the file") from error
        return "refused"
    if len(values) == 1 and np.array_equal(values[0].ravel(), DATA.ravel()):
        return "read as it was"
    return "read with other values"


def fuzz(form: str, count: int, seed: int = 0) -> collections.Counter[str]:
    """Damage a file of a format `count` times; returns how often each outcome occurred."""
    found: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        whole = FORMATS[form](folder / "whole")
        for number in range(count):
            rng = np.random.default_rng((seed, number))
            shutil.rmtree(folder / "damaged", ignore_errors=True)
            shutil.copytree(folder / "whole", folder / "damaged")
            path = folder / "damaged" / whole.name
            if path.is_dir():
                damage_folder(path, rng)
            else:
                files = sorted(path.parent.iterdir())
                file = files[rng.integers(len(files))]
                file.write_bytes(damage(file.read_bytes(), rng))
            started = time.process_time()  # a busy machine is no fault
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    result = outcome(path, AXES.get(form))
            except BaseException:
                print(f"{form}, seed {seed}, file {number}")
                raise
            assert time.process_time() - started < SECONDS, f"{form}, file {number}: took too long"
            found[result] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faulthandler.enable()  # a crash of a library ends everything; the file that it was is still in the folder for such
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for form in arguments.format:
        started = time.monotonic()
        found = fuzz(form, arguments.count, arguments.seed)
        counts = ", ".join(f"{n} {what}" for what, n in found.most_common())
        print(f"{form}: {arguments.count} files in {time.monotonic() - started:.0f} s: {counts}", flush=True)


if __name__ == "__main__":
    main()
