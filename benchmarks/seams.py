"""How far from the end of a tile a stain is what it would be in a larger one: what overlaps have to bridge.

    python benchmarks/seams.py MODEL [MODEL ...] --image IMAGE [--most 64x192x192]

The middle of an image, of at most so many voxels of the network's grid, is stained as one tile, and its first half
along Z and along X as another. Their difference (root mean square, in standard deviations of the stain) by the distance
to the cut in voxels, for models with a limited reach.
"""

import argparse

import numpy as np

from spotlight import load_model, read
from spotlight.images.normalise import prepare_input
from spotlight.images.scaling import input_scale
from spotlight.prediction.engines import make_engine, middle

DISTANCES = (0, 4, 8, 12, 16, 24, 32, 40, 48, 64, 80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--image", required=True)
    parser.add_argument("--most", default="64x192x192")
    arguments = parser.parse_args()
    most = tuple(map(int, arguments.most.split("x")))
    print(f"| model | cut in | {' | '.join(map(str, DISTANCES))} |\n{'|---' * (2 + len(DISTANCES))}|")
    for folder in arguments.models:
        model = load_model(folder)
        step = model.networks[0].divisor
        stack = model.accept(read(arguments.image))
        piece = middle(
            prepare_input(stack, model.description.input.grid, input_scale(stack, "mean/std")),
            most[-len(stack.axes) :],
            step,
        )
        engine = make_engine(model.networks, piece, "float32", "auto", False, False)
        whole = engine(piece)[0]
        for letter in sorted({stack.axes[0], "X"} - {"Y"}, reverse=True):
            axis = stack.axes.index(letter)
            half = piece.shape[axis] // 2 // step * step
            cut = tuple(slice(0, half) if a == axis else slice(None) for a in range(piece.ndim))
            apart = np.moveaxis(engine(np.ascontiguousarray(piece[cut]))[0] - whole[cut], axis, 0)[::-1]
            errors = np.sqrt((apart.reshape(half, -1) ** 2).mean(1)) / whole.std()
            cells = [f"{errors[d]:.1g}" if d < half else "" for d in DISTANCES]
            print(f"| {folder} | {letter} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
