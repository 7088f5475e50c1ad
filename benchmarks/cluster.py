"""What a field costs, for the arithmetic of docs/cluster.md: the network, and what is before and after it.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py [--planes 60] [--width 1024] [--tile 64x304x416]

Seconds are those of the processor, for a network of the published size with random weights and a field of random
values with voxels of 0.29 x 0.108 x 0.108 µm. Rates of the network are those of one tile.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from prediction import PIECE, lively
from spotlight.images import Stack
from spotlight.images.normalise import prepare_input
from spotlight.images.resample import Resampled
from spotlight.images.scaling import input_scale
from spotlight.networks import FNetSettings
from spotlight.prediction.engines import make_engine
from spotlight.training.explanation import network_cost

T = TypeVar("T")

VOXEL = (0.29, 0.108, 0.108)
GRID = 0.29
DEPTH, CHANNELS = 4, 32


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the processor, and the work's result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", type=int, default=60)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--tile", default="64x304x416")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    each = network_cost(FNetSettings(depth=DEPTH, mult_chan=CHANNELS), PIECE)[1] / math.prod(PIECE)
    print(f"| | processor seconds |\n{'|---' * 2}|")
    tile = rng.standard_normal(tuple(map(int, arguments.tile.split("x"))), np.float32)
    network = lively(DEPTH, CHANNELS)
    for precision in ("bf16", "float32"):
        engine = make_engine([network], tile, precision, "cpu", False, False)
        engine(tile[tuple(map(slice, PIECE))])  # what a first call sets up is not counted
        seconds = timed(lambda engine=engine: engine(tile))[0] / tile.size * 1e6
        print(f"| F-net, {each / 1e3:.0f} kFLOP per voxel, {precision}, a million voxels | {seconds:.1f} |", flush=True)
    shape = (arguments.planes, arguments.width, arguments.width)
    stack = Stack(rng.integers(900, 1100, shape, np.uint16), "ZYX", VOXEL)
    seconds, prepared = timed(lambda: prepare_input(stack, GRID, input_scale(stack, "mean/std")))
    print(f"| {'x'.join(map(str, shape))}: normalise, resample to {GRID} µm | {seconds:.1f} |", flush=True)
    seconds, stain = timed(lambda: Resampled(prepared, shape, lambda part: 100 * part + 1000)[()])
    print(f"| resample the stain back | {seconds:.1f} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = timed(lambda: Stack(stain, "ZYX", VOXEL).save(Path(folder) / "stain.ome.zarr", "uint16"))
    print(f"| write it as OME-Zarr, uint16 | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
