"""How large tiles are, and how far they overlap."""

import logging
import math

from spotlight.errors import SpotlightError
from spotlight.memory import memory_to_use
from spotlight.networks import StainNetwork
from spotlight.prediction.engines import find_device
from spotlight.prediction.settings import PredictionSettings
from spotlight.tiles import Tiling

log = logging.getLogger("spotlight")

TILES = {
    3: ((96, 256, 256), (96, 192, 192), (64, 160, 160), (64, 128, 128), (48, 96, 96), (32, 64, 64)),
    2: ((1024, 1024), (512, 512), (256, 256)),
}
"""Tiles from which the largest is taken for which there is memory."""
BYTES_PER_VOXEL = 22
"""Memory in float32 per voxel of a tile and channel of the first level; see benchmarks/prediction.py."""


def plan_tiles(shape: tuple[int, ...], network: StainNetwork, settings: PredictionSettings) -> Tiling:
    """Choose tiles for an array on the network's grid.

    Raises
    ------
    SpotlightError
        If the settings do not go with the network.
    """
    dims = network.dims
    tile = settings.tile or choose_tile(network, settings)
    exact = settings.overlap == "exact"
    least = 2 * exact_halo(network) if exact else 0
    overlap = (least,) * dims if exact else settings.overlap or tuple(t // 4 for t in tile)
    assert not isinstance(overlap, str)
    for name, value in (("tile", tile), ("overlap", overlap)):
        if len(value) != dims:
            raise SpotlightError(f"{name} must be {dims} numbers of voxels for this model. Received: {value}.")
    if exact:
        tile = tuple(n if t <= least else t for n, t in zip(shape, tile, strict=True))
        log.info("Exact tiles of %s voxels, of which %d at each border are thrown away.", tile, least // 2)
    blend = "exact" if exact else settings.blend
    return Tiling.of(shape, tile, overlap, network.divisor, blend, fit=network.reach is not None)


def choose_tile(network: StainNetwork, settings: PredictionSettings) -> tuple[int, ...]:
    """The largest tile for which there is memory."""
    memory, _ = memory_to_use(find_device(settings.device))
    fitting = [
        tile for tile in TILES[network.dims] if math.prod(tile) * network.memory_width * BYTES_PER_VOXEL <= memory
    ]
    return fitting[0] if fitting else TILES[network.dims][-1]


def exact_halo(network: StainNetwork) -> int:
    """Voxels around a position that its value depends on, rounded up to what tiles may start at.

    Raises
    ------
    SpotlightError
        If the value depends on all of its tile.
    """
    if network.reach is None:
        raise SpotlightError(
            "exact tiles need a network that sees a limited neighbourhood, but every value of this one depends on its "
            "whole tile, through instance normalisation. Blend tiles instead of asking for exact ones, or give one "
            "tile that holds the stack."
        )
    return math.ceil(network.reach / network.divisor) * network.divisor
