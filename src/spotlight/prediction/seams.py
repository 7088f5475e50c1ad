"""What tiles cost: the difference of blended tiles to exact ones, at the seams and elsewhere."""

from dataclasses import dataclass

import numpy as np

from spotlight.images import Part, Selection
from spotlight.images.normalise import grid_shape
from spotlight.prediction.listing import read_part
from spotlight.prediction.options import StainOptions
from spotlight.prediction.stain import Model
from spotlight.prediction.tiling import plan_tiles
from spotlight.progress import Progress

NEAR = 4
"""Voxels of the network's grid on either side of a tile's border that are its seam."""


@dataclass(frozen=True)
class Seams:
    """Differences of a stain to the one of exact tiles, in standard deviations of the latter.

    Attributes
    ----------
    at_seams, elsewhere : float
        Root mean square within 4 voxels of the border of a tile, and of all others; NaN where there are none.
    greatest : float
        The greatest difference anywhere.
    tiles : int
        Number of tiles.

    Examples
    --------
    >>> import textwrap
    >>> from spotlight.prediction import Seams
    >>> seams = Seams(at_seams=0.012, elsewhere=0.003, greatest=0.09, tiles=12)
    >>> print(textwrap.fill(str(seams), 80))
    12 tiles; difference to exact tiles, in standard deviations of the stain: 0.012
    at the seams, 0.003 elsewhere (root mean square), 0.09 at most
    """

    at_seams: float
    elsewhere: float
    greatest: float
    tiles: int

    def __str__(self) -> str:
        if self.tiles == 1:
            return "one tile, no seams"
        return (
            f"{self.tiles} tiles; difference to exact tiles, in standard deviations of the stain: {self.at_seams:.2g} "
            f"at the seams, {self.elsewhere:.2g} elsewhere (root mean square), {self.greatest:.2g} at most"
        )


def measure_seams(model: Model, part: Part, options: StainOptions, progress: Progress | None = None) -> Seams:
    """Stain an image twice, in the tiles of the options and in exact ones, and compare, in memory.

    Parameters
    ----------
    model, part, options
        As for `stain_files`; both stains are unflattened and in the network's units.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    Seams
        Differences at the borders of tiles and elsewhere, in standard deviations of the stain.

    Examples
    --------
    >>> from spotlight.prediction import StainOptions, find_parts, load_model, measure_seams
    >>> print(measure_seams(load_model("model"), find_parts(["new.ome.tif"])[0], StainOptions()))  # doctest: +SKIP
    """
    image = read_part(part, options.axes, options.voxel_size)
    channel = options.channel_of(part)
    model = model.suited(image, options.modality or (part.modality if model.needs_modality else None), channel)
    stack = model.accept(image, Selection(channel=channel, plane=options.plane), options.any_voxel_size)
    chosen = options.settings.model_copy(update={"spread": False})
    exact = chosen.model_copy(update={"overlap": "exact"})
    stains = []
    for name, settings in (("tiles", chosen), ("exact tiles", exact)):

        def report(done: int, total: int, name: str = name) -> None:
            if progress is not None:
                progress(f"{part.name} in {name}", done, total, {})

        stains.append(model.stain(stack, settings, normalised=True, flatten=False, progress=report)[0].data)
    blended, expected = stains
    difference = np.abs(blended - expected) / expected.std()
    shape = grid_shape(stack, model.description.input.grid)
    tiling = plan_tiles(shape, model.sliding(chosen)[0], chosen)
    near = np.zeros(expected.shape, bool)
    for axis, places in enumerate(tiling.axes):
        edges = {edge for start, _ in places for edge in (start, start + tiling.tile[axis])}
        inner = [edge for edge in edges if 0 < edge < places[-1][0] + tiling.tile[axis]]
        at = (np.arange(near.shape[axis]) + 0.5) * shape[axis] / near.shape[axis]
        close = np.any([abs(at - edge) <= NEAR for edge in inner], axis=0) if inner else np.zeros(len(at), bool)
        near |= close.reshape([-1 if a == axis else 1 for a in range(near.ndim)])

    def rms(where: np.ndarray) -> float:
        return float(np.sqrt(np.mean(difference[where] ** 2))) if where.any() else float("nan")

    return Seams(rms(near), rms(~near), float(difference.max()), tiling.tiles)
