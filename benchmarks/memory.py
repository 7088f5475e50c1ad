"""Memory of a training step, for `spotlight init` and batches in parts, and of preparing stacks into a cache.

    python benchmarks/memory.py

Each figure is from processes of their own. For training it is the growth of the peak from one patch to several, per
voxel of a patch and channel at full resolution. For preparation it is the peak of memory that is the process's own:
pages of mapped files do not count, since the system takes them back when it needs to.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import zarr
from scipy import ndimage

from spotlight.networks import (
    FNetSettings,
    NetworkSettings,
    Pix2PixSettings,
    UNetPlusPlusSettings,
    channels_last,
)
from spotlight.pairs import Pair, PreparationSettings, prepare_pairs

T = TypeVar("T")

PATCH = {2: (256, 256), 3: (32, 64, 64)}
RUNS: dict[str, tuple[NetworkSettings, int, int, str]] = {
    "F-net 3D, depth 3": (FNetSettings(depth=3, mult_chan=16), 3, 1, "float32"),
    "F-net 3D, depth 4": (FNetSettings(), 3, 1, "float32"),
    "F-net 3D, depth 3, bf16": (FNetSettings(depth=3, mult_chan=16), 3, 1, "bf16"),
    "F-net 2D, depth 4": (FNetSettings(), 2, 1, "float32"),
    "UNet++ 3D, depth 3": (UNetPlusPlusSettings(depth=3, width=16), 3, 1, "float32"),
    "UNet++ 2D, depth 4": (UNetPlusPlusSettings(), 2, 1, "float32"),
    "pix2pix, 1 stain": (Pix2PixSettings(), 2, 1, "float32"),
    "pix2pix, 4 stains": (Pix2PixSettings(), 2, 4, "float32"),
}
"""Networks, dimensions, stains and arithmetic."""
PATCHES = 4
PLANES = (64, 256, 1024)
"""Sizes of the stacks that are prepared, in planes of 512 x 512."""


def peak(run: str, patches: int) -> int:
    """Bytes at the peak of two training steps."""
    settings, dims, stains, precision = RUNS[run]
    network = settings.build(dims, stains).to(memory_format=channels_last(dims))  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters())
    for _ in range(2):
        image = torch.randn(patches, 1, *PATCH[dims])
        with torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
            stain = network(image)
        optimiser.zero_grad()
        (stain.float() - image).square().mean().backward()
        optimiser.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prepare(planes: int) -> int:
    """Bytes at the peak of preparing one pair into a cache, above what the imports take."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        for kind in ("input", "target"):
            stack = zarr.create_array(folder / kind, shape=(planes, 512, 512), chunks=(16, 256, 256), dtype="uint16")
            for start in range(0, planes, 16):
                noise = ndimage.gaussian_filter(rng.normal(size=(16, 512, 512)), 2)
                stack[start : start + 16] = 1000 + 5000 * noise.clip(-0.1)
        pair = Pair("p", folder / "input", folder / "target", axes="ZYX", voxel_size=(0.4, 0.2, 0.2))
        return growth(lambda: prepare_pairs([pair], PreparationSettings(), folder / "cache"))[0]


def growth(work: Callable[[], T]) -> tuple[int, T]:
    """Bytes by which own memory grows at most while work is done, looked at by a thread; and the work's result."""
    before, highest, done = own_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work()
    finally:
        done.set()
        watcher.join()
    return highest[0] - before, result


def own_memory() -> int:
    """Bytes of this process that no file stands for."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        print(prepare(arguments.prepare))
        return
    if arguments.one:
        print(peak(arguments.one[0], int(arguments.one[1])))
        return
    for run, (settings, dims, _, _) in RUNS.items():
        low, high = (
            int(subprocess.check_output([sys.executable, __file__, "--one", run, str(patches)]))
            for patches in (1, PATCHES)
        )
        voxels = (PATCHES - 1) * math.prod(PATCH[dims])
        found = [(high - low) / voxels / width for width in (settings.width, settings.memory_width)]
        print(f"{run}: {found[0]:.0f} bytes per voxel and channel, {found[1]:.0f} per channel of memory_width")
    for planes in PLANES:
        peak_bytes = int(subprocess.check_output([sys.executable, __file__, "--prepare", str(planes)]))
        size = planes * 512 * 512 * 2 / 2**20
        print(f"prepare two stacks of {planes}x512x512 ({size:.0f} MiB each): peak {peak_bytes / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
