"""Time and peak memory of measuring nuclei, ours and cubic's: the table in docs/profiles.md.

    python benchmarks/profiles.py [--nuclei 300] [--cubic 30]

Each line is a process of its own. The nuclei are turned ellipsoids of about 12 x 12 x 8 µm on voxels of 0.29 µm. cubic
is given each nucleus cut out and padded, since on the whole image it looks through all voxels for every label.
"""

import warnings

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

import harness
from harness import Table, timed
from spotlight.images import Stack
from spotlight.profiles import ProfileSettings, measure

VOXEL = 0.29
CELL = 56
"""Voxels from one nucleus to the next."""


def field(count: int) -> Stack:
    """Nuclei in rows of twenty, no two alike."""
    rng = np.random.default_rng(0)
    labels = np.zeros((CELL, CELL * -(-count // 20), CELL * min(count, 20)), np.int32)
    grid = np.stack(np.meshgrid(*[(np.arange(CELL) - CELL / 2) * VOXEL] * 3, indexing="ij"), axis=-1)
    for number in range(count):
        axes = np.array([4, 6, 6]) * rng.uniform(0.9, 1.1, 3)
        turn = Rotation.from_rotvec(rng.normal(0, 0.5, 3)).as_matrix()
        row, column = divmod(number, 20)
        cell = labels[:, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        cell[((grid @ turn / axes) ** 2).sum(axis=-1) <= 1] = number + 1
    return Stack(labels, "ZYX", (VOXEL,) * 3)


def with_cubic(labels: Stack) -> None:
    """Measure the 20 features of cubic's meshes."""
    warnings.filterwarnings("ignore", message="CuPy or CuCIM is not installed")
    from cubic.feature.mesh import extract_surface_features

    for number, box in enumerate(ndimage.find_objects(labels.data), start=1):
        extract_surface_features(np.pad(labels.data[box] == number, 1))


METHODS = {
    "nothing": lambda labels: None,
    "quick": measure,
    "full": lambda labels: measure(labels, settings=ProfileSettings(features="full")),
    "cubic": with_cubic,
}


def one(name: str, count: int) -> dict[str, float]:
    """What a method takes for so many nuclei."""
    labels = field(count)
    METHODS[name](field(1))  # imports are not counted
    return timed(lambda: METHODS[name](labels))[0] | {"memory": harness.peak()}


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("--nuclei", type=int, default=300)
    parser.add_argument("--cubic", type=int, default=30, help="nuclei for cubic, which takes a second or so each")
    arguments = parser.parse_args()
    table = Table(arguments.json, "", "nuclei", "s on the clock", "s of processor", "ms per nucleus", "peak MiB")
    for name in METHODS:
        count = arguments.cubic if name == "cubic" else arguments.nuclei
        found = harness.call(one, name, count)
        each = 1000 * found["processor"] / count
        shown = (f"{found['clock']:.1f}", f"{found['processor']:.1f}", f"{each:.0f}", f"{found['memory'] / 2**20:.0f}")
        table.add(name, f"{count}", *shown, each=each, memory=found["memory"])


if __name__ == "__main__":
    main()
