"""Geometry of flat adherent cells: outlines, and nuclei and nucleoli between a lower and an upper surface.

Lengths are in µm, z increases from the coverslip, and all randomness comes from one generator.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from spotlight.settings import Settings
from spotlight.simulation.phantom import FloatArray, _noise, place_cells


class AdherentCellSettings(Settings):
    """Properties of cells on a coverslip: they are spread and flat, a few per field, thickest over the nucleus.

    Refractive indices of medium, cytoplasm, nucleus and nucleoli are those of `spotlight.simulation.CellSettings`, with
    their sources. P. Y. Liu et al., Lab on a Chip 16, 634 (2016), collect measured indices of organelles; that of
    mitochondria is well above that of the cytoplasm. Here their contrast is lower than that of isolated mitochondria,
    because tubules are thinner than the optical resolution. Filaments fill only a small share of their volume and have
    almost no contrast. Sizes and numbers are of the order that textbooks state for epithelial cells and fibroblasts.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import AdherentCellSettings, make_organelles
    >>> for area in (300, 850):  # µm² of the field per cell
    ...     settings = AdherentCellSettings(cell_area_um2=area, microtubules_per_cell=0)
    ...     phantom = make_organelles((2, 24, 24), (1.0, 1.3), settings, np.random.default_rng(0))
    ...     print(len(np.unique(phantom.cells)) - 1)
    3
    1
    """

    cell_area_um2: float = Field(850.0, gt=50, description="Mean area of the field per cell.")
    spread: float = Field(0.62, gt=0, description="Radius of a cell, relative to the square root of that area.")
    shape_variation: float = Field(0.16, ge=0, description="Relative spread of the outline in each of five harmonics.")
    lamella_um: float = Field(1.3, gt=0, description="Thickness far from the edge and the nucleus.")
    nuclear_semi_axes_um: tuple[float, float, float] = Field(
        (2.2, 5.6, 7.8), description="Mean nuclear semi-axes: z, short, long."
    )
    size_variation: float = Field(0.1, ge=0, description="Standard deviation of each semi-axis, relative.")
    brightness_variation: float = Field(0.2, ge=0, description="Relative spread of each dye between cells.")
    mitochondria_per_cell: int = Field(75, ge=0, description="Tubules per cell.")
    mitochondrion_um: float = Field(6.0, gt=0, description="Mean length of a tubule.")
    microtubules_per_cell: int = Field(180, ge=0, description="Filaments per cell.")
    stress_fibres_per_cell: int = Field(18, ge=0, description="Bundles of actin per cell.")
    droplets_per_cell: int = Field(25, ge=0, description="Lipid droplets and vesicles per cell; no stain shows them.")
    medium_index: float = Field(1.337, gt=1, description="Refractive index of the culture medium.")
    cytoplasm_index: float = Field(1.363, gt=1, description="Refractive index of the cytoplasm.")
    nucleoplasm_index: float = Field(
        1.358, gt=1, description="Refractive index of the nucleus, below that of the cytoplasm."
    )
    nucleolus_index: float = Field(1.375, gt=1, description="Refractive index of nucleoli.")
    texture_index: float = Field(0.002, ge=0, description="Spread of the refractive index within the cytoplasm.")
    mitochondrion_index: float = Field(
        0.025, ge=0, description="Refractive index of mitochondria minus that of the cytoplasm."
    )
    microtubule_index: float = Field(
        0.001, ge=0, description="Refractive index of a microtubule minus that of the cytoplasm."
    )
    actin_index: float = Field(0.005, ge=0, description="Refractive index of dense actin minus that of the cytoplasm.")
    droplet_index: float = Field(0.05, ge=0, description="Refractive index of droplets minus that of the cytoplasm.")


@dataclass(frozen=True, eq=False)
class Bodies:
    """The cells as maps over the plane, (Y, X), and one table with a row per cell.

    Attributes
    ----------
    cells, nuclei : (Y, X) int32
        Cells and nuclei with the same numbers from 1; 0 outside.
    edge, apart : (Y, X) float32
        Distance to the cell's edge, 0 outside, and to the nearest nucleus, in µm.
    height, bottom, top : (Y, X) float32
        Height over the coverslip, in µm, of the cells' surface and of the nuclei's lower and upper surface.
    axes : (n,) float
        Direction of each cell's long axis in the plane, from X towards Y, in radians.
    """

    cells: NDArray[np.int32]
    nuclei: NDArray[np.int32]
    edge: FloatArray
    apart: FloatArray
    height: FloatArray
    bottom: FloatArray
    top: FloatArray
    axes: NDArray[np.float64]


def make_bodies(
    shape: tuple[int, int], pixel: float, settings: AdherentCellSettings, rng: np.random.Generator
) -> Bodies:
    """Make cells that touch each other, flat at the edge and thick over a flattened nucleus."""
    seeds = place_cells((1, *shape), pixel, settings.cell_area_um2, rng)[:, :2]
    count = len(seeds)
    yy, xx = np.meshgrid(*(np.arange(n) * pixel for n in shape), indexing="ij")
    axes = rng.uniform(0, np.pi, count)
    waves = np.arange(1, 6)
    nearest, second = np.full(shape, np.inf), np.full(shape, np.inf)
    cells, nuclei = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    bottom, top = np.zeros(shape), np.zeros(shape)
    bumps = _noise(shape, 1.5 / pixel, rng)
    rough = _noise(shape, 0.8 / pixel, rng)
    centers = seeds + rng.normal(0, 1.0, (count, 2))
    for number, ((y, x), (cy, cx), axis) in enumerate(zip(seeds, centers, axes, strict=True), start=1):
        angle = np.arctan2(yy - y, xx - x) - axis
        # The second harmonic makes a cell long, the others give it corners.
        amplitude = rng.normal(0, settings.shape_variation, 5) / np.sqrt(waves)
        amplitude[1] = abs(amplitude[1]) + 0.12
        phase = np.where(waves == 2, 0, rng.uniform(0, 2 * np.pi, 5))
        outline = sum(a * np.cos(k * angle + p) for a, k, p in zip(amplitude, waves, phase, strict=True))
        radius = settings.spread * np.sqrt(settings.cell_area_um2) * np.exp(outline + 0.05 * bumps + 0.015 * rough)
        distance = np.hypot(yy - y, xx - x) / radius
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        nearest = np.where(closer, distance, nearest)
        cells[closer] = number

        half = np.array(settings.nuclear_semi_axes_um) * np.exp(rng.normal(0, settings.size_variation, 3))
        turn = axis + rng.normal(0, 0.3)
        along = (xx - cx) * np.cos(turn) + (yy - cy) * np.sin(turn)
        across = (yy - cy) * np.cos(turn) - (xx - cx) * np.sin(turn)
        rim = np.hypot(along / half[2], across / half[1]) - 0.03 * bumps
        # Flatter than an ellipsoid, as nuclei of spread cells are.
        arch = half[0] * np.clip(1 - np.maximum(rim, 0) ** 2.5, 0, None) ** 0.5
        own = (arch > 0) & (nuclei == 0)
        nuclei[own], top[own], bottom[own] = number, 0.35 + half[0] + arch[own], 0.35 + half[0] - arch[own]
    inside = (nearest < 1) & (second - nearest > 0.03)
    edge = ndimage.distance_transform_edt(inside) * pixel
    cells[~inside] = 0
    nuclei[(nuclei != cells) | (edge < 0.6)] = 0
    for surface in (top, bottom):
        surface[nuclei == 0] = 0
    apart, nearest_nucleus = ndimage.distance_transform_edt(nuclei == 0, return_indices=True)
    apart = apart * pixel
    thick = ndimage.maximum_filter(top, round(3.0 / pixel))[tuple(nearest_nucleus)]
    lamella = settings.lamella_um * (1 + 0.25 * bumps)
    dome = lamella + np.maximum(thick + 0.2 - lamella, 0) * np.exp(-((apart / 4.5) ** 2))
    height = ndimage.gaussian_filter(np.maximum(dome, top + 0.4 * (top > 0)), 0.6 / pixel)
    height = np.where(inside, 0.2 + np.clip(height, 0, None) * (1 - np.exp(-edge / 2.5)), 0)
    height = np.where(nuclei > 0, np.maximum(height, top + 0.15), height)
    maps = {"edge": edge, "apart": apart, "height": height, "bottom": bottom, "top": top}
    return Bodies(cells, nuclei, axes=axes, **{name: each.astype(np.float32) for name, each in maps.items()})


def between(bottom: FloatArray, top: FloatArray, slices: int, step: float) -> FloatArray:
    """Return the share of every voxel that lies between two surfaces, (Z, Y, X)."""
    low = (np.arange(slices, dtype=np.float32) * np.float32(step))[:, None, None]
    filled = np.minimum(top, low + step) - np.maximum(bottom, low)
    return np.asarray(np.clip(filled / step, 0, 1), np.float32)


def nucleoli(bodies: Bodies, slices: int, voxel_um: tuple[float, float], rng: np.random.Generator) -> FloatArray:
    """Make two to five rounded nucleoli inside each nucleus, (Z, Y, X)."""
    pixel = voxel_um[1]
    low, high = np.zeros_like(bodies.top), np.zeros_like(bodies.top)
    middle = (bodies.top + bodies.bottom) / 2
    deep = (bodies.top - bodies.bottom) > 2.2
    yy, xx = np.indices(bodies.top.shape) * pixel
    for number in range(1, int(bodies.cells.max()) + 1):
        places = np.argwhere((bodies.nuclei == number) & deep)
        for radius in rng.uniform(0.7, 1.5, rng.integers(2, 6)):
            if not len(places):
                break
            y, x = places[rng.integers(len(places))] * pixel
            arch = np.sqrt(np.clip(radius**2 - (yy - y) ** 2 - (xx - x) ** 2, 0, None))
            larger = (arch > high - low) & (bodies.nuclei == number)
            low = np.where(larger, np.maximum(middle - arch, bodies.bottom), low)
            high = np.where(larger, np.minimum(middle + arch, bodies.top), high)
    return between(low.astype(np.float32), high.astype(np.float32), slices, voxel_um[0])
