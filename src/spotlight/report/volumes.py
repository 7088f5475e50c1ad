"""Volumes for the page's viewer: planes as one JPEG, labels deflated, and which nuclei match."""

import base64
import io
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from spotlight.images import Stack, read
from spotlight.images.pictures import WIDEST, data_uri, gray_slice
from spotlight.metrics.profiles import BIASES
from spotlight.report.contents import REFERENCES, TARGET, TRUTH, Contents, first_of
from spotlight.report.pictures import TRUTH_COLOR, display_range, outline_slice
from spotlight.report.turning import turning_picture

MOST_PLANES = 48
"""Planes of a stack on the page; of deeper stacks it shows every second or third."""
WIDEST_PLANE = 1024
"""Pixels along a picture that is one plane only, for which there is room."""
MOST_VOXELS = 16_000_000
"""Voxels on a page, all pictures together: about 7 MB of noisy images, and less of smooth ones."""
QUALITY = 75
"""Of the JPEGs: at 75 noise looks like itself, and a page is a third lighter than at 82."""
BLOCK = 8
"""Pixels of a JPEG's block: planes in one picture are padded to whole blocks, so that none leaks into the next."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels of a stack that the page shows.

    Attributes
    ----------
    planes, rows, columns : ndarray of int
        Indices into the stack.
    scale : tuple of float or None
        Edge lengths of the voxels shown, ZYX in µm; None if unknown.
    """

    planes: NDArray[np.intp]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scale: tuple[float, ...] | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows and columns."""
        return len(self.planes), len(self.rows), len(self.columns)


def make_grid(stack: Stack, pictures: int) -> Grid:
    """Choose which voxels of a stack to show on a page of so many pictures of stacks like it."""
    full = stack.shape if stack.axes == "ZYX" else (1, *stack.shape)
    widest = WIDEST if full[0] > 1 else WIDEST_PLANE
    shrink = min(1.0, widest / max(full[1:]))
    shape = np.array([min(full[0], MOST_PLANES), full[1] * shrink, full[2] * shrink])
    # Too many voxels are made up for by all three axes alike.
    shape *= min(1.0, (MOST_VOXELS / (pictures * shape.prod())) ** (1 / 3))
    sizes = [max(1, round(size)) for size in shape]
    # The voxel shown is the one in the middle of those that it stands for.
    indices = [((np.arange(n) + 0.5) * old / n).astype(np.intp) for n, old in zip(sizes, full, strict=True)]
    scale = None
    if stack.voxel_size is not None:
        edges = (stack.voxel_size[-1], *stack.voxel_size)[-3:]
        scale = tuple(float(e * old / n) for e, old, n in zip(edges, full, sizes, strict=True))
    return Grid(indices[0], indices[1], indices[2], scale)


def gray_volume(stack: Stack, grid: Grid, low: float, high: float) -> NDArray[np.uint8]:
    """A stack on the grid of the page, black at `low` and white at `high`, (Z, Y, X); planes shrink by averaging."""
    data = stack.data.reshape(-1, *stack.shape[-2:])
    volume = np.empty(grid.shape, np.uint8)
    size = (len(grid.columns), len(grid.rows))
    for number, plane in enumerate(data[grid.planes]):
        scaled = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
        image = Image.fromarray(np.rint(255 * scaled).astype(np.uint8))
        volume[number] = np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))
    return volume


def label_volume(stack: Stack, grid: Grid) -> NDArray[Any]:
    """Labels on the grid of the page, (Z, Y, X)."""
    return stack.data.reshape(-1, *stack.shape[-2:])[np.ix_(grid.planes, grid.rows, grid.columns)]


def sheet(volume: NDArray[np.uint8]) -> dict[str, Any]:
    """All planes side by side in one JPEG, and how many columns and what tile to count with."""
    depth, height, width = volume.shape
    columns = math.ceil(math.sqrt(depth))
    rows = math.ceil(depth / columns)
    tile = [math.ceil(n / BLOCK) * BLOCK for n in (height, width)]
    spare = ((0, rows * columns - depth), (0, tile[0] - height), (0, tile[1] - width))
    padded = np.pad(volume, spare, mode="edge").reshape(rows, columns, *tile)
    buffer = io.BytesIO()
    Image.fromarray(padded.swapaxes(1, 2).reshape(rows * tile[0], -1)).save(buffer, "JPEG", quality=QUALITY)
    return {"image": data_uri(buffer.getvalue(), "image/jpeg"), "columns": columns, "tile": tile}


def packed(labels: NDArray[Any]) -> dict[str, Any]:
    """Labels deflated, little endian, with the bytes of each."""
    size = 1 if labels.max(initial=0) < 2**8 else 2 if labels.max() < 2**16 else 4
    content = zlib.compress(labels.astype(f"<u{size}").tobytes(), 9)
    return {"bytes": size, "data": base64.b64encode(content).decode("ascii")}


def pictured_stack(contents: Contents, name: str, colors: dict[str, str], stacks: int) -> dict[str, Any]:
    """Everything that the page shows of one stack's images.

    Parameters
    ----------
    contents : Contents
        The evaluation.
    name : str
        The stack.
    colors : dict
        Of the methods.
    stacks : int
        How many stacks the page shows.

    Returns
    -------
    dict
        ``name``; ``views`` with static pictures for the template; ``turning``, the stack from all sides, None for a
        plane; ``data`` for the script; ``places`` with the middle of every true nucleus, by label.
    """
    images = {kind: read(contents.image("images", kind, name)) for kind in ("input", TARGET)}
    paths = {m: contents.image("stains", m, name) for m in contents.methods if m != TARGET}
    images |= {method: read(path) for method, path in paths.items() if path.exists()}
    target = images[TARGET]
    grid = make_grid(target, stacks * len(images))
    labels = {TRUTH: label_volume(read(contents.image("labels", TRUTH, name)), grid)}
    kept = {of: contents.image("labels", of, name) for of in images}
    labels |= {of: label_volume(read(path), grid) for of, path in kept.items() if path.exists()}
    window = display_range(target.data)
    places = nucleus_places(labels[TRUTH])
    cursor = _first_cursor(label_volume(target, grid), labels[TRUTH], places)
    nuclei = contents.tables.get("nuclei")
    views, data, turned = [], [], {}
    for view, stack in images.items():
        volume = gray_volume(stack, grid, *(display_range(stack.data) if view == "input" else window))
        if view != "input" and len(volume) > 1:
            turned[view] = volume
        color = TRUTH_COLOR if view == TARGET else colors.get(view, "")
        outlined = labels.get(TRUTH if view == TARGET else view)
        views.append({"name": view, "color": color, "cuts": _cuts(volume, outlined, color, cursor)})
        shown = view if view in labels else None
        matched = None if nuclei is None or shown is None else _matches(nuclei, name, view)
        data.append(
            {
                "name": view,
                "color": color,
                "sheet": sheet(volume),
                "labels": shown,
                "outlines": TRUTH if view == TARGET else shown,
                "matches": matched,
                "stain": view not in ("input", TARGET),
            }
        )
    return {
        "name": name,
        "views": views,
        "turning": turning_picture(turned, grid.scale) if turned else None,
        "places": places,
        "grid": grid,
        "cursor": cursor,
        "depth": target.shape[0] if target.axes == "ZYX" else 1,
        "window": window,
        "bar": scale_bar(grid),
        "matched": any(view["matches"] is not None for view in data),
        "data": {
            "name": name,
            "shape": grid.shape,
            "scale": grid.scale,
            "indices": [axis.tolist() for axis in (grid.planes, grid.rows, grid.columns)],
            "cursor": cursor,
            "views": data,
            "labels": {of: packed(volume) for of, volume in labels.items()},
            "truth": TRUTH_COLOR,
        },
    }


def scale_bar(grid: Grid) -> dict[str, Any] | None:
    """A bar of a round length, a fifth of the width or less: its share of the width, and its text; None without µm."""
    if grid.scale is None:
        return None
    width = grid.shape[2] * grid.scale[2]
    power = 10.0 ** np.floor(np.log10(width / 5))
    length = max(step * power for step in (1, 2, 5) if step * power <= width / 5)
    return {"share": length / width, "text": f"{length:g} µm"}


def nucleus_places(labels: NDArray[Any]) -> dict[int, list[int]]:
    """For every label the voxel of it that is nearest to its middle."""
    where = np.nonzero(labels)
    voxels = pd.DataFrame({"label": labels[where], "z": where[0], "y": where[1], "x": where[2]})
    axes = ["z", "y", "x"]
    middle = voxels.groupby("label")[axes].transform("mean")
    nearest = ((voxels[axes] - middle) ** 2).sum(axis=1).groupby(voxels["label"]).idxmin()
    chosen = voxels.loc[nearest]
    return dict(zip(map(int, chosen["label"]), chosen[axes].to_numpy().tolist(), strict=True))


def _first_cursor(target: NDArray[Any], truth: NDArray[Any], places: dict[int, list[int]]) -> list[int]:
    """In the brightest plane, in the largest nucleus there: a cut through nothing says nothing."""
    height, width = target.shape[1:]
    plane = int(np.argmax(target.mean((1, 2))))
    if not truth[plane].any():
        return [plane, height // 2, width // 2]
    sizes = np.bincount(truth[plane].ravel())
    sizes[0] = 0
    return [plane, *places[int(np.argmax(sizes))][1:]]


def _cuts(
    volume: NDArray[np.uint8], labels: NDArray[Any] | None, color: str, cursor: list[int]
) -> dict[str, dict[str, str]]:
    """What the page shows without its script: the three planes through the cursor, and outlines on them."""
    z, y, x = cursor
    planes: dict[str, Any] = {"xy": np.s_[z], "xz": np.s_[:, y], "yz": np.s_[:, :, x]}
    if volume.shape[0] == 1:
        planes = {"xy": np.s_[z]}
    cuts = {}
    for name, where in planes.items():
        gray, found = volume[where], None if labels is None else labels[where]
        if name == "yz":
            gray, found = gray.T, None if found is None else found.T
        outline = "" if found is None else outline_slice(found, color)
        cuts[name] = {"image": gray_slice(gray, 0, 255), "outline": outline}
    return cuts


def _matches(nuclei: pd.DataFrame, stack: str, method: str) -> dict[str, Any] | None:
    """Pairs of true and found label with relative errors; None if the table does not know the method."""
    rows = first_of(nuclei)
    rows = rows[rows["method"] == method]
    if rows.empty and method in REFERENCES:
        return None
    rows = rows[rows["stack"] == stack]
    features = [name for name in list(BIASES)[:3] if f"{name}_error" in nuclei]
    errors = rows[[f"{name}_error" for name in features]].round(3)
    pairs = [
        [int(true), int(found), *(None if pd.isna(e) else float(e) for e in own)]
        for true, found, own in zip(rows["true_label"], rows["label"], errors.to_numpy(), strict=True)
    ]
    return {"features": features, "pairs": pairs}
