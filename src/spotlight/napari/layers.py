"""Between napari's layers and stacks: axes, voxel size, names, colours."""

from typing import Any

import numpy as np

import spotlight

UNIT = "um"
COLOURS = ("green", "magenta", "cyan", "yellow", "red", "blue")
"""Of stains, in the order of their channels."""


def values_of(layer: Any) -> Any:
    """The pixel values of a layer, of its first level if it has several."""
    return layer.data[0] if layer.multiscale else layer.data


def voxel_size_of(layer: Any) -> tuple[float, ...] | None:
    """Voxel size in µm of Z, Y, X or Y, X, if the layer states lengths; None if its units are pixels."""
    dims = min(3, values_of(layer).ndim)
    units, scale = layer.units[-dims:], layer.scale[-dims:]
    if not all(unit.is_compatible_with(UNIT) for unit in units):
        return None
    return tuple(float((step * unit).to(UNIT).magnitude) for step, unit in zip(scale, units, strict=True))


def stack_of(layer: Any, voxel_size: tuple[float, ...] | None, shown: tuple[int, ...] = ()) -> spotlight.Stack:
    """The stack that a layer shows: its last three axes, or two of an image of a plane.

    Parameters
    ----------
    layer : Image or Labels
        Axes in the order of files: what comes before ZYX, such as time or channels, is taken as shown.
    voxel_size : tuple of float or None
        Edge lengths in µm.
    shown : tuple of int
        The viewer's position along the layer's axes.
    """
    values = values_of(layer)
    lead = max(0, values.ndim - 3)
    part = np.asarray(values[tuple(shown[:lead])] if lead else values)
    name = str(layer.metadata.get("spotlight_channel", ""))
    return spotlight.Stack(part, "ZYX" if part.ndim == 3 else "YX", voxel_size, (name,) if name else (), layer.name)


def placed_like(layer: Any, dims: int) -> dict[str, Any]:
    """Scale, units and place of a layer, for another of the same grid."""
    return {"scale": layer.scale[-dims:], "units": layer.units[-dims:], "translate": layer.translate[-dims:]}


def layers_of(stack: spotlight.Stack, **more: Any) -> list[tuple[Any, dict[str, Any], str]]:
    """What napari shows of a stack: one layer for each channel, with voxel size and colour."""
    axis = stack.axes.index("C") if "C" in stack.axes else None
    count = 1 if axis is None else stack.shape[axis]
    found = []
    for number in range(count):
        name = stack.channels[number] if number < len(stack.channels) else ""
        one = stack if axis is None else stack.channel(number)
        facts: dict[str, Any] = {"name": name or stack.source, "metadata": {"spotlight_channel": name}}
        if stack.origin:
            facts["metadata"]["origin"] = stack.origin
        if stack.voxel_size is not None and "scale" not in more:
            lead = len(one.axes) - len(stack.voxel_size)
            facts["scale"] = (1.0,) * lead + stack.voxel_size
            facts["units"] = ("pixel",) * lead + (UNIT,) * len(stack.voxel_size)
        if stack.labels:
            found.append((one.data, facts | more, "labels"))
            continue
        fluorescent = not any(word in name.lower() for word in ("bright", "phase", "dic", "bf"))
        colour = COLOURS[number % len(COLOURS)] if fluorescent and (count > 1 or stack.origin) else "gray"
        found.append((one.data, facts | {"colormap": colour, "blending": "additive"} | more, "image"))
    return found
