"""Files and sample data as layers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import spotlight
from spotlight.images import images_in, is_image
from spotlight.napari.layers import layers_of

LayerData = list[tuple[Any, dict[str, Any], str]]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], LayerData] | None:
    """Return a function that reads files, or None where Spotlight does not know them."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_layers if paths and all(is_image(Path(one)) for one in paths) else None


def read_layers(path: str | Sequence[str]) -> LayerData:
    """Read files: one layer for each channel, with the voxel size that the file states.

    Raises
    ------
    SpotlightError
        If a file cannot be read, or holds several images, of which a viewer can show one.
    """
    found: LayerData = []
    for one in [path] if isinstance(path, str) else path:
        names = list(dict.fromkeys(part.scene for part in images_in(one)))
        if len(names) > 1:
            raise spotlight.SpotlightError(
                f"{one}: holds {len(names)} images ({', '.join(map(str, names[:5]))}, ...). Open one of them in "
                "Python: viewer.add_image(spotlight.read(path, scene=...).data), or a part of a Zarr by its path."
            )
        found += layers_of(spotlight.read(one))
    return found


def simulated_cells() -> LayerData:
    """A simulated field: brightfield, fluorescence of the nuclei, and their true labels."""
    from spotlight.simulation import SimulationSettings

    field = spotlight.simulate_field(SimulationSettings(shape=(32, 160, 160)))
    image, target, labels = field.input, field.target, field.labels
    found = layers_of(image) + layers_of(target)
    found[1][1]["colormap"] = "green"
    values, facts, _ = layers_of(labels)[0]
    return [*found, (values, {key: facts[key] for key in ("name", "scale", "units", "metadata")}, "labels")]
