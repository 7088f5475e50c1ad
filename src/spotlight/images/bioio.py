"""Reading whatever bioio and its installed plugins can (extra ``bioio``)."""

from functools import partial
from pathlib import Path
from typing import Any

import bioio
import numpy as np

from spotlight.images.facts import Facts, Scene
from spotlight.images.units import read_lengths


class BioioScene:
    """The pixel values of one scene, axes TCZYX."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path, self.data = path, data
        self.shape = tuple(data.shape)
        self.dtype = np.dtype(data.dtype)

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        return self.data[index].compute()


def scenes(path: Path) -> list[Scene]:
    """List the scenes of a file; see `spotlight.images.scenes`."""
    image = bioio.BioImage(path)
    return [Scene(str(name), partial(_facts, path, name)) for name in image.scenes]


def _facts(path: Path, name: str) -> Facts:
    image = bioio.BioImage(path)
    image.set_scene(name)
    sizes = {axis: getattr(image.physical_pixel_sizes, axis) for axis in "ZYX"}
    lengths = read_lengths({axis: (size, "µm") for axis, size in sizes.items() if size})
    names = tuple(map(str, image.channel_names or ()))
    return Facts(BioioScene(path, image.get_image_dask_data("TCZYX")), "TCZYX", names, *lengths)
