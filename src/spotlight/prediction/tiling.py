"""How large tiles are, and how far they overlap."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

from spotlight.devices import find_device, memory_to_use
from spotlight.errors import SpotlightError
from spotlight.networks import StainNetwork, Windowed
from spotlight.prediction.settings import PredictionSettings
from spotlight.tiles import Tiling, tile_starts

ENOUGH = {3: 10_000_000, 2: 2**20}
"""Voxels of a tile by dimensions; of larger ones little is saved at the borders, and each voxel takes longer."""
SHORTEST = {3: ((128, 128, 128), (96, 96, 96), (64, 64, 64), (32, 64, 64)), 2: ((512, 512), (256, 256), (128, 128))}
"""Shortest edges of tiles that do not reach across the stack: the first with which there is memory enough."""
LONGEST = 1024
"""Longest such edge."""
OVERLAP = 64
"""Greatest overlap that is taken unasked; see docs/prediction.md."""
SHARE = {3: (2, 4, 4), 2: (4, 4)}
"""What part of an edge it is at most, as its divisor: in Z half, since stains depend on far more planes than rows."""
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
    _require_numbers(network, settings)
    tile = settings.tile or choose_tile(shape, network, settings)
    if isinstance(network, Windowed):  # which is memory-flat along Z
        tile = (shape[0], *tile[1:])
    exact = settings.overlap == "exact"
    least = 2 * exact_halo(network) if exact else 0
    overlap = (least,) * dims if exact else settings.overlap or usual_overlap(tile)
    assert not isinstance(overlap, str)
    if exact:
        tile = tuple(n if t <= least else t for n, t in zip(shape, tile, strict=True))
    blend = "exact" if exact else settings.blend
    return Tiling.of(shape, tile, overlap, network.divisors, blend, fit=network.reach is not None)


def _require_numbers(network: StainNetwork, settings: PredictionSettings) -> None:
    for name, value in (("tile", settings.tile), ("overlap", settings.overlap)):
        if value is not None and value != "exact" and len(value) != network.dims:
            raise SpotlightError(f"{name} must be {network.dims} numbers of voxels for this model. Received: {value}.")


def usual_overlap(tile: tuple[int, ...]) -> tuple[int, ...]:
    """The default overlap of tiles."""
    return tuple(min(OVERLAP, edge // share) for edge, share in zip(tile, SHARE[len(tile)], strict=True))


def choose_tile(shape: tuple[int, ...], network: StainNetwork, settings: PredictionSettings) -> tuple[int, ...]:
    """Of the tiles for which there is memory, the one with which the fewest voxels are computed for an array.

    Raises
    ------
    SpotlightError
        If there is memory for none, or the settings do not go with the network.
    """
    _require_numbers(network, settings)
    if network.whole:
        return shape
    memory, why = memory_to_use(find_device(settings.device))
    most = memory // (network.memory_width * BYTES_PER_VOXEL)
    exact = settings.overlap == "exact"
    windowed = isinstance(network, Windowed)
    if isinstance(
        network, Windowed
    ):  # one window is computed at a time; what a network sees all of is best given whole
        most = most // network.planes * shape[0]
    if not exact and (settings.voxels or network.reach is not None or not windowed):  # else, the whole field is best
        most = min(most, settings.voxels or ENOUGH[network.dims])
    multiples = network.divisors

    def overlap(edge: int, axis: int) -> int:
        if settings.overlap == "exact":
            return 2 * exact_halo(network)
        return (settings.overlap or usual_overlap((edge,) * len(shape)))[axis]

    for shortest in ((1,) * len(shape),) if exact else SHORTEST[network.dims]:
        edges = [
            [(n, 1)]
            if windowed and axis == 0
            else list(_edges(math.ceil(n / multiple) * multiple, least, partial(overlap, axis=axis), multiple))
            for axis, (n, least, multiple) in enumerate(zip(shape, shortest, multiples, strict=True))
        ]
        fitting = [every for every in itertools.product(*edges) if math.prod(edge for edge, _ in every) <= most]
        if fitting:
            cheapest = min(fitting, key=lambda every: (math.prod(e * count for e, count in every), every))
            return tuple(edge for edge, _ in cheapest)
    least = min(math.prod(edge for edge, _ in every) for every in itertools.product(*edges))
    rule = f"tiles of this network have {least} voxels at least here"
    if most == settings.voxels:
        raise SpotlightError(f"{rule}, but voxels is {most}. Raise it, or give a tile of your own.")
    raise SpotlightError(
        f"{rule}, but there is memory for {most}, since {why}. Give a tile of your own, "
        f"{'do not ask for exact tiles, ' if exact else ''}or use a machine with more memory."
    )


def _edges(length: int, shortest: int, overlap: Callable[[int], int], multiple: int) -> Iterator[tuple[int, int]]:
    """Edges of tiles along an axis, each with the number of tiles that it needs; of equal numbers the shortest."""
    seen: set[int] = set()
    for edge in (*range(math.ceil(shortest / multiple) * multiple, min(LONGEST + 1, length), multiple), length):
        count = len(tile_starts(length, edge, overlap(edge), multiple)) if edge > overlap(edge) or edge == length else 0
        if count and count not in seen:
            seen.add(count)
            yield edge, count


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
