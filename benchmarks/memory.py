"""Memory of a training step of F-net per voxel of a patch and channel of the first level, for `spotlight init`.

    python benchmarks/memory.py

Each line is a process of its own; the figure is the growth of the peak from one patch to several.
"""

import argparse
import resource
import subprocess
import sys

import torch

from spotlight.networks import FNet, channels_last

PATCH = (32, 64, 64)
RUNS = ((3, 16, "float32"), (4, 32, "float32"), (3, 16, "bf16"))
PATCHES = 4


def peak(depth: int, width: int, precision: str, patches: int) -> int:
    """Bytes at the peak of two training steps."""
    layout = channels_last(3)
    network = FNet(depth=depth, mult_chan=width).to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters())
    for _ in range(2):
        image = torch.randn(patches, 1, *PATCH)
        with torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
            stain = network(image)
        optimiser.zero_grad()
        (stain.float() - image).square().mean().backward()
        optimiser.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        depth, width, precision, patches = arguments.one
        print(peak(int(depth), int(width), precision, int(patches)))
        return
    for run in RUNS:
        low, high = (
            int(subprocess.check_output([sys.executable, __file__, "--one", *map(str, run), str(patches)]))
            for patches in (1, PATCHES)
        )
        voxels = (PATCHES - 1) * PATCH[0] * PATCH[1] * PATCH[2] * run[1]
        print(f"depth {run[0]}, {run[1]} channels, {run[2]}: {(high - low) / voxels:.0f} bytes per voxel and channel")


if __name__ == "__main__":
    main()
