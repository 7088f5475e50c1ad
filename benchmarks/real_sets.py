"""Small real sets in two dimensions: what trains, what is judged, and how large nuclei are in them.

Each set is judged both ways round, so every pixel that is judged is one that its model has not seen. Three are one
field each, of which one half trains and the other, 64 columns away, is judged: they speak of that field alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from frozen import judge, quarters, true_nuclei
from spotlight.images import read
from spotlight.pairs import Pair

APART = 64
"""Columns between the half that trains and the half that is judged."""


@dataclass(frozen=True)
class RealSet:
    """Two groups of fields, each of which trains once while the other is judged.

    ``zoom`` brings nuclei to the size for which the frozen segmenter was set up. ``labels`` gives the true bodies of a
    field, if somebody has drawn them; otherwise they come from the fluorescence by a local threshold. ``parts`` cuts a
    field into what counts as one stack.
    """

    groups: tuple[list[Pair], list[Pair]]
    zoom: float
    labels: Callable[[Pair], NDArray[Any]] | None = None
    parts: Callable[[NDArray[Any]], list[NDArray[Any]]] = quarters

    def scores(self, pair: Pair, stain: NDArray[Any]) -> list[dict[str, float]]:
        """Judge the stain of a field."""
        fluorescence = self._zoomed(pair.read_target().data, 1)
        truth = true_nuclei(fluorescence) if self.labels is None else self._zoomed(self.labels(pair), 0)
        return judge(self._zoomed(stain, 1), fluorescence, truth, self.parts)

    def _zoomed(self, image: NDArray[Any], order: int) -> NDArray[Any]:
        values = image.astype(np.float32) if order else image
        return np.asarray(ndimage.zoom(values.squeeze(), self.zoom, order=order))


def halves(name: str, first: int, last: int, **given: Any) -> tuple[list[Pair], list[Pair]]:
    """The columns from `first` to `last` of one field as two groups."""
    middle = (first + last) // 2
    regions = (first, middle - APART // 2), (middle + APART // 2, last)
    left, right = (
        [Pair(f"{name}-{side}", region=f":, {start}:{stop}", **given)]
        for side, (start, stop) in zip(("left", "right"), regions, strict=True)
    )
    return left, right


def defocus(data: Path, to: Path) -> RealSet:
    """Brightfield at five focus positions to DAPI: about twenty nuclei."""
    folder = data / "brightfield_defocus_2d"
    given: dict[str, Any] = {
        "input": folder / "set1_brightfield.ome.tif",
        "target": folder / "set1_dapi.ome.tif",
        "voxel_size": (10.0, 0.2004, 0.2004),
        "input_channel": tuple(f"z={z}" for z in range(5)),
    }
    return RealSet(halves("defocus", 0, 1344, **given), 0.5)


def neurons(data: Path, to: Path) -> RealSet:
    """Seven planes of phase contrast to DAPI: about a hundred nuclei."""
    folder = data / "neurons_phase_zstack"
    given: dict[str, Any] = {
        "input": folder / "phase.ome.tif",
        "target": folder / "fluorescence_maxproj.ome.tif",
        "target_channel": "DAPI",
        "input_channel": tuple(f"z={z}" for z in range(0, 13, 2)),
    }
    return RealSet(halves("neurons", 0, 1024, **given), 1.5)


def bacteria(data: Path, to: Path) -> RealSet:
    """Phase contrast to Hoechst in S. aureus: about 120 cells right of the block that is missing in the source."""
    image = read(data / "saureus_phase_2d" / "field.ome.tif").data.squeeze()
    file = to / "bacteria.ome.tif"
    if not file.exists():  # a file that is written anew has another UUID, which would end a run that goes on
        to.mkdir(parents=True, exist_ok=True)
        aligned = np.stack([image[0, 2:, 5:], image[1, :-2, :-5]])  # Hoechst is off by about (-2, -5)
        tifffile.imwrite(file, aligned, metadata={"axes": "CYX", "Channel": {"Name": ["phase", "Hoechst"]}})
    channels: dict[str, Any] = {"input_channel": "phase", "target_channel": "Hoechst"}
    return RealSet(halves("bacteria", 652, image.shape[-1] - 5, input=file, target=file, **channels), 2)


def coli(data: Path, to: Path) -> RealSet:
    """Brightfield to a fluorescent protein in E. coli: six fields, two groups with 18 and 16 drawn cells."""
    folder = data / "ecoli_brightfield_2d"
    pairs = [
        Pair(file.name[:9], file, file, input_channel="brightfield", target_channel="fluorescence")
        for file in sorted(folder.glob("ds1_0000?.ome.tif"))
    ]

    def labels(pair: Pair) -> NDArray[Any]:
        return np.asarray(read(folder / f"{pair.name}_labels.ome.tif").data)

    return RealSet((pairs[:3], pairs[3:]), 2, labels, lambda image: [image])


SETS: dict[str, Callable[[Path, Path], RealSet]] = {
    "defocus": defocus,
    "neurons": neurons,
    "bacteria": bacteria,
    "coli": coli,
}
