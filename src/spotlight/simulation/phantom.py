"""Geometric model of a monolayer of cells, with exact nuclear labels, DNA density and refractive index.

Lengths are in µm, arrays are ZYX, and z increases from the coverslip. All randomness comes from one generator.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from spotlight.settings import Settings

FloatArray = NDArray[np.float32]


class CellSettings(Settings):
    """Properties of the cells. The defaults describe a dense colony of human induced pluripotent stem cells.

    Refractive indices lie in the range that quantitative phase and tomographic microscopy of living cells report:
    W. Choi et al., Nature Methods 4, 717 (2007), cytoplasm 1.36 to 1.37 and nucleoli above it; M. Schürmann et al.,
    J. Biophotonics 9, 1068 (2016), a nucleus below its cytoplasm. Sizes, density, texture and brightness were chosen so
    that normalised statistics agree with a real stack (docs/method.md).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import CellSettings, make_phantom
    >>> for area in (96, 300):  # µm² of the colony per cell
    ...     cells, rng = CellSettings(cell_area_um2=area), np.random.default_rng(0)
    ...     print(len(np.unique(make_phantom((24, 64, 64), 0.29, 2.0, cells, rng).labels)) - 1)
    4
    1
    """

    cell_area_um2: float = Field(96.0, gt=5, description="Mean area of the colony per cell.")
    semi_axes_um: tuple[float, float, float] = Field(
        (3.3, 4.5, 5.9), description="Mean nuclear semi-axes: z, short, long."
    )
    size_variation: float = Field(0.12, ge=0, description="Standard deviation of each semi-axis, relative.")
    tilt_deg: float = Field(15.0, ge=0, description="Standard deviation of the nuclear tilt out of the plane.")
    roughness: float = Field(
        0.07, ge=0, description="Standard deviation of the nuclear surface, relative to the radius."
    )
    nuclear_height_um: tuple[float, float] = Field(
        (5.2, 1.1), description="Mean and spread of the height of nuclear centres over the coverslip."
    )
    gap_um: float = Field(0.45, ge=0, description="Least distance between neighbouring nuclei.")
    mitotic_fraction: float = Field(0.03, ge=0, le=1, description="Share of cells with condensed chromosomes.")
    brightness_variation: float = Field(0.15, ge=0, description="Relative spread of DNA concentration between nuclei.")
    chromatin_contrast: float = Field(0.35, ge=0, description="Relative spread of DNA concentration within a nucleus.")
    nucleolus_dye: float = Field(0.25, ge=0, description="DNA concentration in nucleoli, relative to the nucleus.")
    cytoplasm_dye: float = Field(0.04, ge=0, description="Dye in the cytoplasm, relative to a nucleus.")
    medium_index: float = Field(1.337, gt=1, description="Refractive index of the culture medium.")
    cytoplasm_index: float = Field(1.363, gt=1, description="Refractive index of the cytoplasm.")
    nucleoplasm_index: float = Field(
        1.358, gt=1, description="Refractive index of the nucleus, below that of the cytoplasm."
    )
    nucleolus_index: float = Field(1.375, gt=1, description="Refractive index of nucleoli.")
    granule_index: float = Field(
        1.395, gt=1, description="Mean refractive index of mitochondria, vesicles and lipid droplets."
    )
    cleft_index: float = Field(1.358, gt=1, description="Refractive index of narrow clefts between neighbouring cells.")
    texture_index: float = Field(0.004, ge=0, description="Spread of the refractive index within the cytoplasm.")
    nuclear_smoothness: float = Field(
        0.3, ge=0, description="Spread of the refractive index in the nucleus, relative to that in the cytoplasm."
    )
    granules_per_cell: float = Field(150.0, ge=0, description="Granules per cell.")


@dataclass(frozen=True, eq=False)
class Phantom:
    """One simulated field: the truth.

    Attributes
    ----------
    labels : (Z, Y, X) int32
        Nuclear instances, 0 outside.
    dye : (Z, Y, X) float32
        Dye concentration; 1 in a mean interphase nucleus.
    index : (Z, Y, X) float32
        Refractive index.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import CellSettings, make_phantom
    >>> phantom = make_phantom((24, 64, 64), 0.29, 2.0, CellSettings(), np.random.default_rng(0))
    >>> nuclei, elsewhere = phantom.dye[phantom.labels > 0], phantom.dye[phantom.labels == 0]
    >>> bool(nuclei.mean() > 10 * elsewhere.mean())
    True
    """

    labels: NDArray[np.int32]
    dye: FloatArray
    index: FloatArray


def make_phantom(
    shape: tuple[int, int, int],
    voxel_um: float,
    coverslip_um: float,
    cells: CellSettings,
    rng: np.random.Generator,
    seeds: NDArray[np.float64] | None = None,
) -> Phantom:
    """Make one field of cells.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels in z, y, x.
    voxel_um : float
        Edge of the cubic voxels.
    coverslip_um : float
        Height of the coverslip over the stack's first plane.
    cells : CellSettings
        Properties of the cells.
    rng : numpy.random.Generator
        The source of all randomness.
    seeds : (n, 3) ndarray, optional
        Where the cells are: y and x in µm, and a number below `cells.mitotic_fraction` for those in mitosis. Label n is
        the cell of row n - 1; one that is far outside is not in the field. Left out: drawn. With the same random
        numbers, a cell keeps its size and shape wherever it is.

    Returns
    -------
    Phantom
        Labels, dye and refractive index, (Z, Y, X).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import CellSettings, make_phantom
    >>> seeds = np.array([[9.0, 9.0, 0.9]])  # one cell in the middle: y and x in µm; not in mitosis
    >>> phantom = make_phantom((32, 64, 64), 0.29, 1.0, CellSettings(), np.random.default_rng(0), seeds)
    >>> np.unique(phantom.labels).tolist()
    [0, 1]
    """
    if seeds is None:
        seeds = place_cells(shape, voxel_um, cells.cell_area_um2, rng)
    labels, depth = _grow_nuclei(shape, voxel_um, coverslip_um, seeds, cells, rng)
    n = int(labels.max())
    mitotic = np.zeros(n + 1, bool)
    mitotic[1:] = seeds[:, 2][np.arange(n)] < cells.mitotic_fraction
    nucleoli = _nucleoli(labels, depth, mitotic, voxel_um, rng)
    inside_cell, cleft = _cell_bodies(labels, seeds, voxel_um, coverslip_um, rng)

    nucleus = labels > 0
    fine = _noise(shape, 0.18 / voxel_um, rng)
    coarse = _noise(shape, 1.0 / voxel_um, rng)
    brightness = rng.lognormal(0.0, cells.brightness_variation, n + 1).astype(np.float32)
    brightness[mitotic] *= 3.0
    # Heterochromatin lies along the nuclear envelope, so the dye is denser in the outermost 0.6 µm.
    rim = np.exp(-((depth / 0.6) ** 2)).astype(np.float32)
    chromatin = np.exp(cells.chromatin_contrast * (0.8 * fine + 0.6 * coarse)) * (0.85 + 0.35 * rim)
    chromatin = np.where(nucleoli, cells.nucleolus_dye, chromatin)
    dye = np.where(nucleus, brightness[labels] * chromatin, 0.0)
    dye = np.where(inside_cell & ~nucleus, cells.cytoplasm_dye * np.exp(0.3 * coarse), dye).astype(np.float32)

    # Organelles make the cytoplasm rough; the nucleoplasm is smoother, which makes a nucleus visible.
    texture = cells.texture_index * (0.9 * fine + 0.5 * coarse) * np.where(nucleus, cells.nuclear_smoothness, 1.0)
    index = np.full(shape, cells.medium_index, np.float32)
    index[inside_cell] = cells.cytoplasm_index
    index[cleft & ~nucleus] = cells.cleft_index
    index[nucleus] = cells.nucleoplasm_index
    index[nucleoli] = cells.nucleolus_index
    index += np.where(inside_cell | nucleus, texture, 0.0).astype(np.float32)
    granules = _granules(
        inside_cell & ~nucleus & ~cleft & (coarse > -0.3), int(len(seeds) * cells.granules_per_cell), voxel_um, rng
    )
    index += granules * np.float32(cells.granule_index - cells.cytoplasm_index)
    return Phantom(labels, dye, index)


def _noise(shape: tuple[int, ...], sigma_px: float, rng: np.random.Generator) -> FloatArray:
    """Return smooth Gaussian noise of mean 0 and variance 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma_px, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def place_cells(
    shape: tuple[int, int, int], voxel_um: float, area_um2: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw cell positions with a least distance; (n, 3): y and x in µm, and a uniform random number per cell."""
    extent = np.array(shape[1:]) * voxel_um
    count = max(1, round(float(np.prod(extent)) / area_um2))
    distance = 0.82 * np.sqrt(area_um2)
    points: list[NDArray[np.float64]] = []
    while len(points) < count:
        candidates = rng.uniform(0, 1, (200, 2)) * extent
        for candidate in candidates:
            if all(np.hypot(*(candidate - other)) >= distance for other in points):
                points.append(candidate)
        distance *= 0.97
    positions = np.array(points[:count])
    return np.column_stack([positions, rng.uniform(0, 1, count)])


def _rotation(angle: float, axis: int) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def _grow_nuclei(
    shape: tuple[int, int, int],
    voxel_um: float,
    coverslip_um: float,
    seeds: NDArray[np.float64],
    cells: CellSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], FloatArray]:
    """Fill tilted, rough ellipsoids; between two that would touch, a gap of `gap_um` is kept free.

    Returns the labels, numbered like the seeds, and the approximate depth below the nuclear surface in µm.
    """
    labels = np.zeros(shape, np.int32)
    nearest = np.full(shape, np.inf, np.float32)
    second = np.full(shape, np.inf, np.float32)
    bumps = _noise(shape, 1.8 / voxel_um, rng)
    axes = np.array([np.arange(n) * voxel_um for n in shape], dtype=object)
    for number, (y, x, fate) in enumerate(seeds, start=1):
        radii = np.array(cells.semi_axes_um) * np.exp(rng.normal(0, cells.size_variation, 3))
        if fate < cells.mitotic_fraction:
            radii = np.array([3.4, 1.5, 4.2])
        height = max(rng.normal(*cells.nuclear_height_um), radii[0] + 0.6)
        center = np.array([coverslip_um + height, y, x])
        turn = (
            _rotation(rng.uniform(0, np.pi), 0)
            @ _rotation(np.deg2rad(rng.normal(0, cells.tilt_deg)), 1)
            @ _rotation(np.deg2rad(rng.normal(0, cells.tilt_deg)), 2)
        )
        reach = radii.max() * (1 + 4 * cells.roughness) + cells.gap_um
        box = tuple(
            slice(int(np.searchsorted(a, c - reach)), int(np.searchsorted(a, c + reach)))
            for a, c in zip(axes, center, strict=True)
        )
        if any(s.stop <= s.start for s in box):
            continue
        grid = np.meshgrid(*(a[s] - c for a, s, c in zip(axes, box, center, strict=True)), indexing="ij")
        local = np.tensordot(turn.T, np.stack(grid), axes=1)
        radius = float(np.cbrt(radii.prod()))
        # Signed distance in µm, to first order: negative inside.
        surface = np.sqrt(sum((local[k] / radii[k]) ** 2 for k in range(3))) - 1 - cells.roughness * bumps[box]
        distance = (surface * radius).astype(np.float32)
        old = nearest[box]
        closer = distance < old
        second[box] = np.where(closer, old, np.minimum(second[box], distance))
        nearest[box] = np.where(closer, distance, old)
        labels[box] = np.where(closer, number, labels[box])
    above_coverslip = (np.arange(shape[0]) * voxel_um > coverslip_um + 0.3)[:, None, None]
    inside = (nearest < 0) & (second > nearest + cells.gap_um) & above_coverslip
    labels[~inside] = 0
    labels = _keep_largest_piece(labels)
    return labels, np.where(labels > 0, -nearest, 0).astype(np.float32)


def _keep_largest_piece(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep only the largest connected piece of every label; gaps to neighbours may cut off small pieces."""
    kept = np.zeros_like(labels)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        pieces, count = ndimage.label(labels[box] == number)
        if count:
            largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
            kept[box][pieces == largest] = number
    return kept


def _nucleoli(
    labels: NDArray[np.int32], depth: FloatArray, mitotic: NDArray[np.bool_], voxel_um: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Make one to four rounded nucleoli of 0.8 to 1.5 µm radius inside each interphase nucleus."""
    nucleoli = np.zeros(labels.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        count, scales = rng.integers(1, 5), rng.uniform(0.8, 1.5, 4)
        picks = rng.uniform(0, 1, 4)
        deep = np.argwhere((labels[box] == number) & (depth[box] > 1.0))
        if mitotic[number] or not len(deep):
            continue
        grid = np.indices([s.stop - s.start for s in box])
        for scale, pick in zip(scales[:count], picks[:count], strict=True):
            center = deep[int(pick * len(deep))]
            distance = np.sqrt(sum((grid[k] - center[k]) ** 2 for k in range(3))) * voxel_um
            nucleoli[box] |= (distance < scale) & (labels[box] == number) & (depth[box] > 0.5)
    return nucleoli


def _cell_bodies(
    labels: NDArray[np.int32],
    seeds: NDArray[np.float64],
    voxel_um: float,
    coverslip_um: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Make the cytoplasm, a wavy Voronoi tiling under a domed surface, and the clefts between the cells."""
    nz, ny, nx = labels.shape
    z = (np.arange(nz) * voxel_um)[:, None, None]
    yy, xx = np.meshgrid(np.arange(ny) * voxel_um, np.arange(nx) * voxel_um, indexing="ij")
    yy = yy + 0.9 * _noise((ny, nx), 2.0 / voxel_um, rng)
    xx = xx + 0.9 * _noise((ny, nx), 2.0 / voxel_um, rng)
    nearest = np.full((ny, nx), np.inf)
    second = np.full((ny, nx), np.inf)
    for y, x, _ in seeds:
        distance = np.hypot(yy - y, xx - x)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    cleft = (second - nearest < 0.55)[None] & (z > coverslip_um + 0.8)

    top_plane = np.where(labels.any(0), nz - 1 - np.argmax(labels[::-1] > 0, axis=0), 0) * voxel_um
    dome = ndimage.gaussian_filter(ndimage.maximum_filter(top_plane, round(2.0 / voxel_um)), 1.2 / voxel_um) + 0.9
    surface = np.maximum(dome, coverslip_um + 6.0 + 0.8 * _noise((ny, nx), 3.0 / voxel_um, rng))
    surface = surface - 0.8 * np.exp(-(((second - nearest) / 1.0) ** 2))
    inside = (z > coverslip_um) & (z < surface[None]) | (labels > 0)
    return inside, cleft & inside


def _granules(
    where: NDArray[np.bool_],
    count: int,
    voxel_um: float,
    rng: np.random.Generator,
    radius_um: tuple[float, float] = (0.2, 0.45),
) -> FloatArray:
    """Make round granules with soft edges: mitochondria, vesicles, lipid droplets."""
    granules = np.zeros(where.shape, np.float32)
    places = np.argwhere(where)
    if not len(places) or not count:
        return granules
    centers = places[rng.integers(0, len(places), count)]
    radii = rng.uniform(*radius_um, count)
    strengths = rng.uniform(0.4, 1.2, count)
    reach = int(np.ceil(2 * radius_um[1] / voxel_um))
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for center, radius, strength in zip(centers, radii, strengths, strict=True):
        distance = np.linalg.norm(offsets * voxel_um, axis=1)
        value = strength * np.clip((radius + voxel_um / 2 - distance) / voxel_um, 0, 1)
        spots = offsets + center
        inside = ((spots >= 0) & (spots < where.shape)).all(1) & (value > 0)
        spots, value = spots[inside], value[inside]
        np.maximum.at(granules, tuple(spots.T), np.where(where[tuple(spots.T)], value, 0))
    return granules
