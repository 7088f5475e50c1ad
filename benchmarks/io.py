"""Time and memory of opening, reading and writing large OME-TIFF and OME-Zarr files, beside other Python libraries.

    python benchmarks/io.py --to FOLDER [--gib 4] [--repeats 5] [--warm] [--json FILE]
        [--bioio PYTHON | --install-bioio]

Peers: tifffile (its Zarr store for tiles, its memory map for what is not compressed), ome-zarr-py, and bioio with
bioio-ome-tiff and bioio-ome-zarr, which hold pydantic back and need an environment of their own: name its Python, or
let `--install-bioio` make one in FOLDER.

The image is uint16, CZYX (2, 64, N, N): smooth structures with camera noise, and not in memory as a whole while it is
written. The region is 64 x 512 x 512 of the second channel, aligned to no tile. Every figure is the median of processes
of their own, the libraries taking turns. Before the clock starts each has done the same with a tiny file, so that
imports do not count, and the file is dropped from the page cache unless `--warm` is said. Memory is the growth of the
peak of resident memory (VmHWM of Linux, reset before), also in multiples of the region. All must return the same
values. In FOLDER about four times the size of the image is needed.

Peers write on equal terms: tiles of 256 x 256, zlib of level 1 with predictor and as many levels as Spotlight
(OME-TIFF); chunks of 8 x 256 x 256, Blosc with Zstandard of level 3 and byte shuffle and as many levels (OME-Zarr).
What differs: Spotlight takes means for the smaller levels, the others one pixel of four; bioio
writes OME-TIFF without levels; only Spotlight uses shards.
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
import venv
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness

REGION = (64, 512, 512)
PIXEL = (0.29, 0.108, 0.108)
CHANNELS = ["brightfield", "DNA"]
TILE = 256
TIFF = {"tile": (TILE, TILE), "compression": "zlib", "compressionargs": {"level": 1}, "predictor": True}
CHUNK = (1, 8, 256, 256)
BIOIO = ("bioio==3.*", "bioio-ome-tiff==1.*", "bioio-ome-zarr==3.*")
Slices = tuple[slice, slice, slice]


def spotlight_open(path: Path) -> Any:
    from spotlight import read

    stack = read(path)
    return stack.shape, stack.channels, stack.voxel_size


def spotlight_region(path: Path, region: Slices) -> Any:
    from spotlight import read

    return read(path).channel(1).crop(region).data


def spotlight_write(array: Any, path: Path) -> None:
    from spotlight.images import Stack

    Stack(array, "CZYX", PIXEL, tuple(CHANNELS)).save(path)


def tifffile_open(path: Path) -> Any:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        return tif.series[0].shape, tif.series[0].axes, tif.ome_metadata


def tifffile_region(path: Path, region: Slices) -> Any:
    import tifffile
    import zarr

    with tifffile.TiffFile(path) as tif, tif.series[0].aszarr(level=0) as store:
        return zarr.open_array(store, mode="r")[(1, *region)]


def tifffile_memmap(path: Path, region: Slices) -> Any:
    import numpy as np
    import tifffile

    return np.array(tifffile.memmap(path, mode="r")[(1, *region)])


def tifffile_write(array: Any, path: Path) -> None:
    import tifffile

    def tiles(step: int) -> Iterator[Any]:
        for plane in (plane for channel in array for plane in channel):
            small = plane[::step, ::step]
            for y in range(0, small.shape[0], TILE):
                for x in range(0, small.shape[1], TILE):
                    yield small[y : y + TILE, x : x + TILE]

    levels = levels_of(array.shape)
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as writer:
        for level in range(levels):
            shape = (*array.shape[:2], *(-(-n // 2**level) for n in array.shape[2:]))
            own: dict[str, Any] = {"subfiletype": 1}
            if level == 0:
                own = {"subifds": levels - 1, "metadata": {"axes": "CZYX", "Channel": {"Name": CHANNELS}}}
            writer.write(tiles(2**level), shape=shape, dtype=array.dtype, photometric="minisblack", **own, **TIFF)


def ome_zarr_open(path: Path) -> Any:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    node = next(iter(Reader(parse_url(str(path)))()))
    return node.data[0].shape, node.metadata["channel_names"], node.metadata["coordinateTransformations"]


def ome_zarr_region(path: Path, region: Slices) -> Any:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    return next(iter(Reader(parse_url(str(path)))())).data[0][(1, *region)].compute()


def ome_zarr_write(array: Any, path: Path) -> None:
    import dask.array as da
    import zarr
    from ome_zarr.writer import write_multiscale
    from zarr.codecs import BloscCodec

    whole = da.from_array(array, chunks=CHUNK, name=False)
    pyramid = [whole[..., :: 2**level, :: 2**level] for level in range(levels_of(array.shape))]
    storage = {"chunks": CHUNK, "compressor": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")}
    write_multiscale(pyramid, zarr.open_group(path, mode="w", zarr_format=3), axes="czyx", storage_options=storage)


def bioio_open(path: Path) -> Any:
    from bioio import BioImage

    image = BioImage(path)
    return image.shape, image.channel_names, image.physical_pixel_sizes


def bioio_region(path: Path, region: Slices) -> Any:
    from bioio import BioImage

    return BioImage(path).get_image_dask_data("ZYX", C=1)[region].compute()


def bioio_write_tiff(array: Any, path: Path) -> None:
    import dask.array as da
    from bioio_ome_tiff.writers import OmeTiffWriter

    whole = da.from_array(array, chunks=(1, 1, -1, -1), name=False)
    OmeTiffWriter.save(whole, path, dim_order="CZYX", channel_names=CHANNELS, tifffile_kwargs=TIFF)


def bioio_write_zarr(array: Any, path: Path) -> None:
    import dask.array as da
    from bioio_ome_zarr.writers import OMEZarrWriter
    from zarr.codecs import BloscCodec

    shapes = [(*array.shape[:2], *(-(-n // 2**k) for n in array.shape[2:])) for k in range(levels_of(array.shape))]
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")
    axes = {"axes_names": list("czyx"), "axes_types": ["channel", "space", "space", "space"]}
    writer = OMEZarrWriter(str(path), shapes, array.dtype, chunk_shape=CHUNK, compressor=codec, zarr_format=3, **axes)
    writer.write_full_volume(da.from_array(array, chunks=CHUNK, name=False))


COMPRESSED, PLAIN, ZARR = "compressed.ome.tif", "plain.ome.tif", "image.ome.zarr"
TASKS: dict[tuple[str, str], dict[str, Callable[..., Any]]] = {
    ("open", COMPRESSED): {"Spotlight": spotlight_open, "tifffile": tifffile_open, "bioio": bioio_open},
    ("open", PLAIN): {"Spotlight": spotlight_open, "tifffile": tifffile_open, "bioio": bioio_open},
    ("open", ZARR): {"Spotlight": spotlight_open, "ome-zarr-py": ome_zarr_open, "bioio": bioio_open},
    ("region", COMPRESSED): {"Spotlight": spotlight_region, "tifffile": tifffile_region, "bioio": bioio_region},
    ("region", PLAIN): {"Spotlight": spotlight_region, "tifffile": tifffile_memmap, "bioio": bioio_region},
    ("region", ZARR): {"Spotlight": spotlight_region, "ome-zarr-py": ome_zarr_region, "bioio": bioio_region},
    ("write", "written.ome.tif"): {"Spotlight": spotlight_write, "tifffile": tifffile_write, "bioio": bioio_write_tiff},
    ("write", "written.ome.zarr"): {
        "Spotlight": spotlight_write,
        "ome-zarr-py": ome_zarr_write,
        "bioio": bioio_write_zarr,
    },
}
TITLES = {
    COMPRESSED: "OME-TIFF, tiled and compressed, with pyramid, by Spotlight",
    PLAIN: "OME-TIFF, uncompressed planes, by tifffile",
    ZARR: "OME-Zarr 0.5, sharded, with pyramid, by Spotlight",
    "written.ome.tif": "OME-TIFF",
    "written.ome.zarr": "OME-Zarr 0.5",
}


def levels_of(shape: tuple[int, ...]) -> int:
    """As many levels as Spotlight writes."""
    return 1 + max(0, math.ceil(math.log2(max(shape[-2:]) / 1024)))


def image(base: Path, width: int) -> Any:
    """An array CZYX (2, 64, width, width): windows of one large plane, so that no more than that is in memory."""
    import numpy as np

    plane = np.load(base)
    y, x = plane.strides
    # Planes of a chunk, and its channels, share no pixels, which would compress too well.
    return np.lib.stride_tricks.as_strided(plane, (2, REGION[0], width, width), (width * x, TILE * y, y, x))


def prepare(to: str, width: int) -> None:
    """Make the source, a tiny and a large file of every kind."""
    import numpy as np
    import tifffile
    from scipy import ndimage

    from spotlight.images import omezarr_writer

    folder, rng = Path(to), np.random.default_rng(0)
    for name, size in (("tiny", 64), ("large", width)):
        place = folder / name
        place.mkdir(exist_ok=True)
        plane = np.empty((size + TILE * (REGION[0] - 1), 2 * size), np.uint16)
        for start in range(0, len(plane), 1024):
            part = plane[start : start + 1024]
            cells = ndimage.gaussian_filter(rng.standard_normal(part.shape, np.float32), 8)
            light = 100 + 300 * np.exp(30 * cells)
            part[:] = np.clip(light + np.sqrt(light) * rng.standard_normal(part.shape, np.float32), 0, 65535)
        np.save(place / "base.npy", plane)
        array = image(place / "base.npy", size)
        omezarr_writer.SHARDED_BYTES = 0  # the tiny file too
        for kind in (COMPRESSED, ZARR):
            spotlight_write(array, place / kind)
        with tifffile.TiffWriter(place / PLAIN, bigtiff=True, ome=True) as writer:
            planes = (plane for channel in array for plane in channel)
            options: dict[str, Any] = {"photometric": "minisblack", "metadata": {"axes": "CZYX"}}
            writer.write(planes, shape=array.shape, dtype=array.dtype, **options)


def measure(to: str, width: int, warm: bool, action: str, name: str, peer: str) -> dict[str, Any]:
    """Run one operation: wall and processor time in s, growth of the peak of memory in bytes, and what came out."""
    operation = TASKS[action, name][peer]
    tiny, large = Path(to) / "tiny", Path(to) / "large"
    region = (slice(0, REGION[0]), *(slice(width // 2 - n // 2 + 5, width // 2 + n // 2 + 5) for n in REGION[1:]))
    if action == "write":
        operation(image(tiny / "base.npy", 64), tiny / name)
        source: tuple[Any, ...] = (image(large / "base.npy", width), large / name)
    elif action == "region":
        operation(tiny / name, (slice(0, 4),) * 3)
        source = (large / name, region)
    else:
        operation(tiny / name)
        source = (large / name,)
    if not warm and action != "write":
        forget(large / name)
    before = reset_peak()
    cpu, clock = time.process_time(), time.perf_counter()
    result = operation(*source)
    wall, cpu = time.perf_counter() - clock, time.process_time() - cpu
    found = {"wall": wall, "cpu": cpu, "memory": peak() - before}
    if action == "region":
        assert result.shape == REGION, result.shape
        found["values"] = zlib.crc32(result.tobytes())
    return found


def forget(path: Path) -> None:
    """Drop a file, or all files of a folder, from the page cache."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def reset_peak() -> int:
    """Start a new peak of resident memory, and give what is resident now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak()


def peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def bioio_python(arguments: argparse.Namespace) -> Path | None:
    if not arguments.install_bioio:
        return arguments.bioio
    home: Path = arguments.to / "bioio"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *BIOIO], check=True)
    return python


def medians(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Figures of every peer, over its processes."""
    return {
        peer: {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "memory")}
        for peer, runs in found.items()
    }


def table(task: tuple[str, str], middle: dict[str, dict[str, float]], size: dict[str, int]) -> list[str]:
    """Rows of a task, in multiples of the fastest peer and of the region, too."""
    fastest = min(row["wall"] for peer, row in middle.items() if peer != "Spotlight")
    region = math.prod(REGION) * 2
    rows = []
    for peer, row in middle.items():
        memory = f"{row['memory'] / 2**20:.0f}"
        last = f"{row['memory'] / region:.2f}" if task[0] == "region" else ""
        if peer in size:
            last = f"{size[peer] / 2**30:.2f} GiB"
        ratio = row["wall"] / fastest
        rows.append(f"| {peer} | {row['wall']:.3f} | {ratio:.2f} | {row['cpu']:.3f} | {memory} | {last} |")
    return rows


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("--to", type=Path, required=True, help="folder for the files")
    parser.add_argument("--gib", type=float, default=4, help="size of the image")
    parser.add_argument("--repeats", type=int, default=5, help="processes per reader; writers have three at most")
    parser.add_argument("--warm", action="store_true", help="leave the files in the page cache")
    parser.add_argument("--bioio", type=Path, help="Python that has bioio, bioio-ome-tiff and bioio-ome-zarr")
    parser.add_argument("--install-bioio", action="store_true", help="make an environment with them in FOLDER")
    parser.add_argument("--only", choices=("open", "region", "write"), help="leave the others out")
    parser.add_argument("--keep", action="store_true", help="leave the files, for the next run")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    width = round(math.sqrt(arguments.gib * 2**30 / (2 * REGION[0] * 2)) / 64) * 64
    pythons = {"bioio": bioio_python(arguments)}
    if pythons["bioio"] is None:
        print("bioio is left out; name its Python with --bioio, or say --install-bioio.")
    if not (arguments.to / "large" / ZARR).exists():
        harness.call(prepare, str(arguments.to), width)
    state = "in the page cache" if arguments.warm else "not in the page cache"
    print(f"\nImage (2, {REGION[0]}, {width}, {width}) uint16; files {state}.")
    figures: dict[str, dict[str, float]] = {}
    for task, peers in TASKS.items():
        if arguments.only not in (None, task[0]):
            continue
        last = {"region": "memory / region", "write": "size"}.get(task[0], "")
        print(f"\n**{task[0]}: {TITLES[task[1]]}**\n")
        print(f"| with | s | / fastest peer | CPU s | memory MiB | {last} |\n|---|---|---|---|---|---|")
        found: dict[str, list[dict[str, Any]]] = {}
        size = {}
        for _ in range(min(3, arguments.repeats) if task[0] == "write" else arguments.repeats):
            for peer in peers:
                python = pythons.get(peer, Path(sys.executable))
                if python is None:
                    continue
                row = harness.call(measure, str(arguments.to), width, arguments.warm, *task, peer, python=python)
                found.setdefault(peer, []).append(row)
                written = arguments.to / "large" / task[1]
                if task[0] == "write":
                    size[peer] = size_of(written)
                    remove(written)
                    remove(arguments.to / "tiny" / task[1])
                    os.sync()
        middle = medians(found)
        print("\n".join(table(task, middle, size)), flush=True)
        figures |= {f"{task[0]} {task[1]}, {peer}": row for peer, row in middle.items()}
        harness.keep(arguments.json, figures)
        values = {run["values"] for runs in found.values() for run in runs if "values" in run}
        if len(values) > 1:
            raise SystemExit("The readers do not return the same values.")
    if not arguments.keep:
        for name in ("tiny", "large"):
            remove(arguments.to / name)


if __name__ == "__main__":
    main()
