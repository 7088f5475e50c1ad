"""Speed, memory and exactness of staining, against F-net's original way and MONAI's sliding window.

    python benchmarks/prediction.py [--sizes 64x256x256 64x640x928] [--depth 4] [--channels 32] [--only NAME ...]
    python benchmarks/prediction.py --error MODEL IMAGE
    python benchmarks/prediction.py --memory [--stacks 64x512x512 64x2048x2048 ...] [--to FOLDER] [--segment | --labels]

Every row is a process of its own with the same random network, whose batch statistics are as of a trained one. "whole
volume" is the original's way: float32, the stack through the network at once. "MONAI" is its sliding window with tiles
and overlap of ours, "original network" the network as it is trained, float32, in our tiles. Rates are voxels of the
stack per second of the processor (of the wall where a GPU computes), so overlaps count as cost. The error is that of a
piece of 32 x 64 x 64 voxels against float64, in standard deviations of the result.

With --error, that of a trained model on the middle of an image, of at most 64 x 128 x 128 voxels of its grid.

With --memory, stacks of growing size, of 0.1 µm in Y and X, are stained from disk to disk by a small network on a grid
of 0.25 µm: the peak of memory that is the process's own, since pages of mapped files are taken back by the system when
it needs them. With --segment, they keep their voxels, and probabilities and labels are written: bright cubes, found by
a network of depth 1 whose head is 0, and which adds its input, so that all is computed and the labels are known.
"""

import math
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zarr

import harness
from harness import Table, growth
from spotlight import load_model, read
from spotlight.devices import find_device
from spotlight.images import Stack
from spotlight.images.lazy import LazyArray
from spotlight.images.normalise import prepare_input
from spotlight.images.scaling import input_scale
from spotlight.images.slabs import in_files
from spotlight.model import InputDescription, ModelDescription, TargetDescription
from spotlight.networks import FNet, FNetSettings
from spotlight.prediction import Model, PredictionSettings, StainOptions, find_parts, stain_files
from spotlight.prediction.engines import folded, make_engine, middle
from spotlight.prediction.tiling import plan_tiles, usual_overlap
from spotlight.tasks import SegmentTask, find_labels
from spotlight.tiles import Blended
from spotlight.training.explanation import network_cost
from training import clock, peak

ROWS = ("whole volume", "MONAI", "original network", "spotlight float32", "spotlight bf16")
PIECE = (32, 64, 64)


def lively(depth: int, channels: int) -> FNet:
    """A random network with batch statistics of data."""
    torch.manual_seed(0)
    network = FNet(3, depth, channels).train()
    with torch.no_grad():
        for _ in range(4):
            network(torch.randn(2, 1, *PIECE))
    return network.eval()


def tiled(engine: Callable[[np.ndarray], np.ndarray], network: FNet, array: np.ndarray) -> np.ndarray:
    """The stack in our tiles."""
    tiling = plan_tiles(array.shape, network, PredictionSettings())
    layers = [np.empty((1, *tiling.layer_shape), np.float32) for _ in range(tiling.layers)]
    for number, layer in enumerate(layers):
        tiling.compute(number, engine, array, layer)
    return Blended(tiling, layers)[()]


def way(row: str, network: FNet) -> Callable[[np.ndarray], np.ndarray]:
    """How a row computes a stack."""
    device = find_device("auto")
    if row.startswith("spotlight"):
        kind = row.split()[1]
        engine = make_engine([network], np.zeros(PIECE, np.float32), kind, "auto", False, False)
        return lambda array: tiled(engine, network, array)
    network = network.to(device)

    @torch.inference_mode()
    def whole(array: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(array)[None, None].to(device)).cpu().numpy()[:, 0]

    if row == "whole volume":
        return lambda array: whole(array)[0]
    if row == "original network":
        return lambda array: tiled(whole, network, array)
    from monai.inferers import sliding_window_inference

    def monai(array: np.ndarray) -> np.ndarray:
        tile = plan_tiles(array.shape, network, PredictionSettings()).tile
        overlap = [least / edge for least, edge in zip(usual_overlap(tile), tile, strict=True)]
        image = torch.from_numpy(array)[None, None]
        with torch.inference_mode():
            stain = sliding_window_inference(
                image, tile, 1, network, overlap=overlap, mode="gaussian", sw_device=device, device="cpu"
            )
        return stain[0, 0].numpy()

    return monai


def measure(row: str, shape: list[int], depth: int, channels: int) -> dict[str, float]:
    """Seconds, bytes and error of a row."""
    network = lively(depth, channels)
    compute = way(row, network)
    array = np.random.default_rng(0).standard_normal(shape, np.float32)
    device = find_device("auto")
    before, begin = harness.peak(), clock(device)
    compute(array)
    seconds, memory = clock(device) - begin, harness.peak() - before
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated()
    piece = np.random.default_rng(1).standard_normal(PIECE, np.float32)
    with torch.inference_mode():
        exact = folded(network).cpu().double()(torch.from_numpy(piece).double()[None, None])[0, 0].numpy()
    error = float(np.sqrt(np.mean((compute(piece) - exact) ** 2)) / exact.std())
    return {"seconds": seconds, "memory": memory, "error": error}


def trained_error(folder: str, image: str) -> None:
    """Print the error of a trained model in both arithmetics."""
    model = load_model(folder)
    stack = model.accept(read(image))
    network = model.networks[0]
    piece = middle(
        prepare_input(stack, model.description.input.grid, input_scale(stack, "mean/std")),
        (64, 128, 128)[-network.dims :],
        network.divisor,
    )
    with torch.inference_mode():
        exact = folded(network).double()(torch.from_numpy(piece).double()[None, None])[0].numpy()
    for kind in ("float32", "bf16"):
        found = make_engine([network], piece, kind, "auto", False, False)(piece)
        error = float(np.sqrt(np.mean((found - exact) ** 2)) / exact.std())
        print(f"{kind}: {error:.1e} standard deviations of the stain")


def flat(shape: list[int], to: str | None) -> dict[str, float]:
    """Peak of own memory while a file of a shape is stained to a file."""
    description = ModelDescription(
        network=FNetSettings(depth=2, mult_chan=4),
        input=InputDescription(axes="ZYX", grid=0.25),
        target=TargetDescription(center="mean", normalised_range=(-5, 5), intensity_range=(0, 1000)),
    )
    model = Model(description, lively(2, 4))
    with tempfile.TemporaryDirectory(dir=to) as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        stack = zarr.create_array(folder / "in.zarr", shape=shape, chunks=(16, 256, 256), dtype="uint16")
        for start in range(0, shape[0], 16):
            for row in range(0, shape[1], 512):
                stack[start : start + 16, row : row + 512] = rng.integers(900, 1100, (16, 512, shape[2]), np.uint16)
        options = StainOptions(axes="ZYX", voxel_size=(0.25, 0.1, 0.1), form="ome.zarr", kind="uint16")
        listed = find_parts([folder / "in.zarr"], axes="ZYX")
        begin = time.perf_counter()
        memory, (stained,) = growth(lambda: stain_files(model, listed, folder, options))
        seconds = time.perf_counter() - begin
        assert stained.state == "made", stained.reason
        return {"memory": memory, "seconds": seconds}


CUBE, EVERY = 6, 24
"""Edge of the bright cubes, and their distance, in voxels."""


def segmented(shape: list[int], to: str | None) -> dict[str, float]:
    """Peak of own memory while a file of a shape is segmented to files of probabilities and labels."""
    task = SegmentTask(least_voxels=10)
    description = ModelDescription(
        network=FNetSettings(depth=1, mult_chan=2),
        input=InputDescription(axes="ZYX", grid="native"),
        target=TargetDescription(channel="cubes", normalised_range=(0, 1), intensity_range=(0, 1)),
        task=task,
    )
    network = lively(1, 2)
    network.begin_at([-3.0])
    network.adds_input = True
    model = Model(description, network)
    with tempfile.TemporaryDirectory(dir=to) as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        stack = zarr.create_array(folder / "in.zarr", shape=shape, chunks=(16, 256, 256), dtype="uint16")
        inside = [np.arange(n) % EVERY < CUBE for n in shape]
        for start in range(0, shape[0], 16):
            here = inside[0][start : start + 16, None, None] & inside[1][:, None] & inside[2]
            noise = rng.integers(900, 1100, (len(here), *shape[1:]), np.uint16)
            stack[start : start + 16] = np.where(here, np.uint16(3000), noise)
        options = StainOptions(axes="ZYX", voxel_size=(1, 1, 1), form="ome.zarr")
        listed = find_parts([folder / "in.zarr"], axes="ZYX")
        begin = time.perf_counter()
        memory, (made,) = growth(lambda: stain_files(model, listed, folder, options))
        seconds = time.perf_counter() - begin
        assert made.state == "made", made.reason
        labels = read(folder / "in-labels.ome.zarr")
        last = int(np.asarray(labels.values[max(0, shape[0] - EVERY) :]).max())
        assert last == math.prod(-(-n // EVERY) for n in shape), last
        return {"memory": memory, "seconds": seconds}


class Cubes:
    """Probabilities of bright cubes, computed where they are asked for, as those of a large stack are."""

    dtype = np.dtype(np.float32)

    def __init__(self, shape: list[int]) -> None:
        self.shape = tuple(shape)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        keys = [*key, *[slice(None)] * (3 - len(key))]
        z, y, x = (np.arange(n)[k] % EVERY < CUBE for n, k in zip(self.shape, keys, strict=True))
        return np.asarray(z[:, None, None] & y[:, None] & x, np.float32)


def labelled(shape: list[int], to: str | None) -> dict[str, float]:
    """Peak of own memory while probabilities of a shape are labelled in a file."""
    probability = Stack(LazyArray.of(Cubes(shape)), "ZYX", (1.0, 1.0, 1.0), ("cubes",))
    with tempfile.TemporaryDirectory(dir=to) as name:
        begin = time.perf_counter()
        memory, labels = growth(lambda: find_labels(probability, allocate=in_files(Path(name))))
        assert int(labels.values[shape[0] - EVERY :].max()) == math.prod(-(-n // EVERY) for n in shape)
        return {"memory": memory, "seconds": time.perf_counter() - begin}


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("--sizes", nargs="+", default=["64x256x256", "64x640x928"])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--only", nargs="+", choices=ROWS)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--stacks", nargs="+", default=["64x512x512", "64x2048x2048", "128x6400x6400"])
    parser.add_argument("--segment", action="store_true", help="With --memory: probabilities and labels.")
    parser.add_argument("--labels", action="store_true", help="With --memory: labels of given probabilities alone.")
    parser.add_argument("--to", help="Where there is space for --memory, five times that of the stack.")
    parser.add_argument("--error", nargs=2, metavar=("MODEL", "IMAGE"))
    arguments = parser.parse_args()
    if arguments.error:
        trained_error(*arguments.error)
    elif arguments.memory:
        if arguments.to:
            Path(arguments.to).mkdir(parents=True, exist_ok=True)
        table = Table(arguments.json, "stack", "input MB", "peak of own memory MB", "seconds")
        for stack in arguments.stacks:
            shape = list(map(int, stack.split("x")))
            measured = segmented if arguments.segment else labelled if arguments.labels else flat
            found = harness.call(measured, shape, arguments.to)
            cells = (f"{math.prod(shape) * 2 / 1e6:.0f}", f"{found['memory'] / 1e6:.0f}", f"{found['seconds']:.0f}")
            table.add(stack, *cells, **found)
    else:
        peaks = {kind: peak(kind) for kind in (torch.float32, torch.bfloat16)}
        each = network_cost(FNetSettings(depth=arguments.depth, mult_chan=arguments.channels), PIECE)[1]
        heads = ("thousand voxels/s", "of the peak", "memory GiB", "error", "times the first")
        table = Table(arguments.json, "size, way", *heads)
        for size in arguments.sizes:
            shape, first = list(map(int, size.split("x"))), None
            for row in arguments.only or ROWS:
                try:
                    found = harness.call(measure, row, shape, arguments.depth, arguments.channels)
                except subprocess.CalledProcessError as error:
                    if error.returncode != -signal.SIGKILL:
                        raise
                    table.add(f"{size} {row}", "killed: more memory than there is", "", "", "", "")
                    continue
                first = first or found["seconds"]
                rate = math.prod(shape) / found["seconds"]
                share = rate * each / math.prod(PIECE) / peaks[torch.bfloat16 if "bf16" in row else torch.float32]
                cells = (f"{rate / 1e3:.0f}", f"{share:.0%}", f"{found['memory'] / 2**30:.1f}", f"{found['error']:.1e}")
                table.add(f"{size} {row}", *cells, f"{first / found['seconds']:.2f}", rate=rate, **found)


if __name__ == "__main__":
    main()
