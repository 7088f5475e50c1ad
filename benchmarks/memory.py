"""Memory of a training step, for `spotlight init` and batches in parts, and of preparing stacks into a cache.

    python benchmarks/memory.py

Each figure is from processes of their own. For training it is the growth of the peak from one patch to several, per
voxel of a patch and channel at full resolution. For preparation it is the peak of memory that is the process's own:
pages of mapped files do not count, since the system takes them back when it needs to.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
import zarr
from scipy import ndimage

import harness
from harness import Table, growth
from spotlight.networks import (
    FNetSettings,
    NetworkSettings,
    Pix2PixSettings,
    UNetPlusPlusSettings,
    channels_last,
)
from spotlight.pairs import Pair, PreparationSettings, prepare_pairs

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
    return harness.peak()


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


def main() -> None:
    arguments = harness.options(__doc__).parse_args()
    table = Table(arguments.json, "training", "bytes per voxel and channel", "per channel of memory_width")
    for run, (settings, dims, _, _) in RUNS.items():
        low, high = (harness.call(peak, run, patches) for patches in (1, PATCHES))
        voxels = (PATCHES - 1) * math.prod(PATCH[dims])
        plain, wide = ((high - low) / voxels / width for width in (settings.width, settings.memory_width))
        table.add(run, f"{plain:.0f}", f"{wide:.0f}", bytes_per_voxel=plain, bytes_per_width=wide)
    print()
    table = Table(None, "preparing two stacks", "MiB each", "peak MiB")
    for planes in PLANES:
        size, found = planes * 512 * 512 * 2 / 2**20, harness.call(prepare, planes) / 2**20
        table.add(f"{planes}x512x512", f"{size:.0f}", f"{found:.0f}")


if __name__ == "__main__":
    main()
