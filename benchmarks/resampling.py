"""Speed and exactness of resampling between voxel grids, against SciPy's zoom, whose values it has.

    python benchmarks/resampling.py [--shape 64x640x928] [--grid 64x238x346]

A stack of noise is brought to the network's grid and back. Seconds are those of the wall; the difference is the
greatest to SciPy's in float64, in standard deviations of the stack. "slab by slab" is how stacks are prepared,
normalisation included; "regions" asks for 16 planes by 256 rows at a time, as the writer of OME-Zarr does.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.images.resample import Resampled, resample, resample_slabs


def scipy_zoom(array: NDArray[np.float32], shape: tuple[int, ...], kind: type = np.float32) -> NDArray[np.floating]:
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    return ndimage.zoom(array.astype(kind), factors, order=3, mode="nearest")


def regions(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    lazy, result = Resampled(array, shape), np.empty(shape, np.float32)
    for z in range(0, shape[0], 16):
        for y in range(0, shape[1], 256):
            result[z : z + 16, y : y + 256] = lazy[z : z + 16, y : y + 256]
    return result


WAYS: dict[str, Callable[[NDArray[np.float32], tuple[int, ...]], NDArray[np.floating]]] = {
    "scipy.ndimage.zoom, float32": scipy_zoom,
    "spotlight, whole": resample,
    "spotlight, slab by slab": lambda array, shape: resample_slabs(array, shape, "x", lambda part: part / 1.0),
    "spotlight, regions": regions,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="64x640x928")
    parser.add_argument("--grid", default="64x238x346")
    arguments = parser.parse_args()
    native, grid = (tuple(map(int, text.split("x"))) for text in (arguments.shape, arguments.grid))
    stack = np.random.default_rng(0).standard_normal(native, np.float32)
    print(f"| from | to | | seconds | times faster | difference |\n{'|---' * 6}|")
    for array, shape in ((stack, grid), (resample(stack, grid), native)):
        exact, first = scipy_zoom(array, shape, np.float64), None
        for name, way in WAYS.items():
            seconds = []
            for _ in range(3):
                begin = time.perf_counter()
                found = way(array, shape)
                seconds.append(time.perf_counter() - begin)
            best = min(seconds)
            first = first or best
            sizes = ["x".join(map(str, size)) for size in (array.shape, shape)]
            difference = np.abs(found - exact).max() / exact.std()
            print(
                f"| {sizes[0]} | {sizes[1]} | {name} | {best:.2f} | {first / best:.0f} | {difference:.0e} |", flush=True
            )


if __name__ == "__main__":
    main()
