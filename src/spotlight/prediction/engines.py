"""How a network is computed: folded, in the faster arithmetic that is exact enough, over flips and ensembles."""

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from spotlight.devices import find_device, has_bf16
from spotlight.networks import StainNetwork, Windowed

log = logging.getLogger("spotlight")

FloatArray = NDArray[np.float32]
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)

TOLERANCE = 0.01
"""Greatest root-mean-square difference of bfloat16 to float32, in standard deviations of the stain."""
PROBE = {2: (256, 256), 3: (32, 64, 64)}
"""Piece of a stack on which arithmetics are tried."""


def folded(network: StainNetwork) -> StainNetwork:
    """Give a copy of a network whose batch normalisations are part of the convolutions before them.

    The result is the same but for rounding, since in evaluation mode a normalisation is a fixed scale and offset.
    """
    network = copy.deepcopy(network).eval()
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for number, (first, second) in enumerate(zip(list(block)[:-1], list(block)[1:], strict=True)):
            if isinstance(first, (*CONVOLUTIONS, *TRANSPOSED)) and isinstance(second, NORMS):
                assert second.running_mean is not None
                assert second.running_var is not None
                first.weight, first.bias = fuse_conv_bn_weights(
                    first.weight,
                    first.bias,
                    second.running_mean,
                    second.running_var,
                    second.eps,
                    second.weight,
                    second.bias,
                    transpose=isinstance(first, TRANSPOSED),
                )
                block[number + 1] = nn.Identity()
    return network


@dataclass(frozen=True)
class Engine:
    """Networks on a device, ready for tiles.

    Attributes
    ----------
    networks : tuple of StainNetwork
        The members of an ensemble, or one.
    device : torch.device
        Where they are.
    precision : "float32" or "bf16"
        Their arithmetic.
    augment : bool
        Average over flips and quarter turns.
    spread : bool
        Give the standard deviation, too.
    """

    networks: tuple[StainNetwork, ...]
    device: torch.device
    precision: str
    augment: bool = False
    spread: bool = False

    @property
    def results(self) -> int:
        """Number of results: the stains, and their spreads if asked for."""
        stains = self.networks[0].stains
        return 2 * stains if self.spread else stains

    @torch.inference_mode()
    def __call__(self, tile: FloatArray) -> FloatArray:
        """Map a normalised ([Z,] Y, X) or (C, [Z,] Y, X) tile to (results, [Z,] Y, X)."""
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        dims = self.networks[0].dims
        image = torch.from_numpy(tile).reshape(1, -1, *tile.shape[-dims:]).to(self.device, kind)
        layout = self.networks[0].layout
        # Means and squares of what was found so far (Welford 1962), so that only these are in memory.
        mean = squares = torch.zeros((), device=self.device)
        count = 0
        for turn in range(8 if self.augment else 1):
            turned = orient(image, turn).contiguous(memory_format=layout)
            for network in self.networks:
                found = back(network(turned).float(), turn)
                count += 1
                apart = found - mean
                mean = mean + apart / count
                squares = squares + apart * (found - mean)
        parts = [mean, (squares / count).sqrt()] if self.spread else [mean]
        return torch.cat(parts, 1)[0].cpu().numpy()


def orient(image: torch.Tensor, turn: int) -> torch.Tensor:
    """Apply one of the eight symmetries of the square to the last two axes."""
    return torch.rot90(image.flip(-1) if turn % 2 else image, turn // 2, (-2, -1))


def back(image: torch.Tensor, turn: int) -> torch.Tensor:
    """Undo `orient`."""
    image = torch.rot90(image, -(turn // 2), (-2, -1))
    return image.flip(-1) if turn % 2 else image


def make_engine(
    networks: Sequence[StainNetwork], array: FloatArray, precision: str, device: str, augment: bool, spread: bool
) -> Engine:
    """Fold networks, move them, and choose the arithmetic.

    Parameters
    ----------
    networks : sequence of StainNetwork
        The members of an ensemble, or one.
    array : ([Z,] Y, X) or (C, [Z,] Y, X) array of float32
        Normalised input, on a piece of which "auto" tries both arithmetics.
    precision, device, augment, spread
        See `spotlight.prediction.PredictionSettings`.

    Raises
    ------
    SpotlightError
        If the device cannot be used.
    """
    place = find_device(device)

    def made(kind: str) -> Engine:
        number = torch.bfloat16 if kind == "bf16" else torch.float32
        layout = networks[0].layout
        ready = [folded(n).to(place, number).to(memory_format=layout) for n in networks]  # type: ignore[call-overload]
        return Engine(tuple(ready), place, kind, augment, spread)

    if precision != "auto":
        return made(precision)
    exact = made("float32")
    if not has_bf16(place) or not any(True for _ in networks[0].parameters()):  # an ONNX file has its own arithmetic
        return exact
    fast = made("bf16")
    piece = middle(array, _probe(networks[0]), networks[0].divisors)
    plain = [Engine(engine.networks[:1], place, engine.precision) for engine in (exact, fast)]
    (expected, slow), (found, quick) = (timed(engine, piece) for engine in plain)
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        return exact  # values that are not finite are refused where the stain is made
    difference = float(np.sqrt(np.mean((found - expected) ** 2)) / max(float(expected.std()), 1e-6))
    chosen = fast if quick < slow and difference < TOLERANCE else exact
    log.info(
        "Arithmetic: %s (bfloat16 is %.1f times as fast here and differs by %.2g of the stain's spread).",
        chosen.precision,
        slow / quick,
        difference,
    )
    return chosen


def _probe(network: StainNetwork) -> tuple[int, ...]:
    """Size of the piece: of a sliding window, one window."""
    size = PROBE[network.dims]
    return (network.planes, *size[1:]) if isinstance(network, Windowed) else size


def middle(array: FloatArray, size: tuple[int, ...], multiples: tuple[int, ...]) -> FloatArray:
    """The middle piece of an array, of at most a size, and a multiple of a number along every axis but channels."""
    index = []
    for n, s, multiple in zip(array.shape[-len(size) :], size, multiples, strict=True):
        length = max(multiple, min(s, n) // multiple * multiple)
        start = max(0, (n - length) // 2)
        index.append(slice(start, start + length))
    every = (slice(None),) * (array.ndim - len(size))
    piece = np.asarray(array[every + tuple(index)], np.float32)
    short = [(0, 0)] * len(every)
    short += [(0, -n % multiple) for n, multiple in zip(piece.shape[len(every) :], multiples, strict=True)]
    return np.ascontiguousarray(np.pad(piece, short, mode="symmetric"))


def timed(engine: Engine, tile: FloatArray) -> tuple[FloatArray, float]:
    """Result of an engine for a tile, and the seconds of its second run."""
    result = engine(tile)
    begin = time.perf_counter()
    engine(tile)
    return result, time.perf_counter() - begin
