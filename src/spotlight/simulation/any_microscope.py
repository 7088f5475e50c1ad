"""Cells seen by a microscope of which all is drawn at random: what a model for unknown microscopes can learn from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import interpolate, ndimage
from skimage.segmentation import relabel_sequential

from spotlight.images import Stack
from spotlight.settings import Settings
from spotlight.simulation.dataset import MARGIN_UM, SimulatedField, SimulationSettings, write_pairs
from spotlight.simulation.detail import DetailSettings, Signed, add_detail
from spotlight.simulation.optics import BrightfieldSettings, FloatArray, _disk, camera, focus_series, shading
from spotlight.simulation.phantom import CellSettings, make_phantom
from spotlight.simulation.tissue import Range, drawn

BELOW_UM, ABOVE_UM = 3.5, 2.5
"""Light also passes what lies this far below and above a stack."""
TARGET_BLUR_UM = (0.4, 0.12, 0.12)
"""Standard deviations of the point spread function of the target, in z, y, x."""


class AnyMicroscopeSettings(Settings):
    """From which ranges microscope and cells are drawn, once per field.

    The ranges go beyond what is usual for live cells in brightfield, so that a real microscope lies within them. A
    model that learnt from such fields must rely on what they share: edges, texture, and the shape of nuclei.

    Examples
    --------
    >>> from spotlight.simulation import AnyMicroscopeSettings
    >>> settings = AnyMicroscopeSettings(voxel_um=(0.1, 0.2))  # a finer camera; other ranges stay
    >>> settings.objective_na
    (0.75, 1.3)
    """

    shape: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] = Field(
        (40, 128, 128), description="Voxels of the stacks in z, y, x."
    )
    voxel_um: Range = Field((0.22, 0.38), description="Edge of the cubic voxels.")
    wavelength_um: Range = Field((0.48, 0.78), description="Centre of the lamp's band.")
    bandwidth_um: Range = Field((0.01, 0.2), description="Full spectral width of the lamp.")
    objective_na: Range = Field((0.75, 1.3), description="Numerical aperture of the objective.")
    condenser_na: Range = Field((0.3, 0.9), description="Numerical aperture of the illumination: its coherence.")
    source_points: int = Field(37, ge=1, description="Plane waves that fill the condenser's disk.")
    focus_offset_um: Signed = Field((-1.5, 1.5), description="Axial shift of the brightfield against fluorescence.")
    photons: Range = Field((800, 20_000), description="Mean photo-electrons per voxel of brightfield.")
    uneven: float = Field(0.15, ge=0, lt=0.6, description="Greatest slope of the light over the field, relative.")
    upright: float = Field(0.5, ge=0, le=1, description="Share of fields whose light comes from the cells' top.")
    reversed: float = Field(0.5, ge=0, le=1, description="Share of stacks that are stored from the last plane on.")
    coverslip_um: Signed = Field((-3.0, 1.5), description="Height of the coverslip over the first plane.")
    size: Range = Field((0.8, 1.25), description="Nuclear size, relative to that of stem cells.")
    flatness: Range = Field((0.65, 1.1), description="Height of nuclei, relative to that of stem cells.")
    spacing: Range = Field((0.7, 1.5), description="Area per cell, relative to what its nucleus needs.")
    roughness: Range = Field((0.03, 0.12), description="See `CellSettings`.")
    height_um: Range = Field((3.5, 7.0), description="Mean height of nuclear centres over the coverslip.")
    height_spread_um: Range = Field((0.6, 2.5), description="Its spread between cells.")
    nucleoplasm: Signed = Field((-0.010, 0.003), description="Refractive index of the nucleus, over the cytoplasm.")
    nucleolus: Range = Field((0.004, 0.020), description="The same of nucleoli.")
    granule: Range = Field((0.012, 0.045), description="The same of granules.")
    cleft: Signed = Field((-0.014, 0.002), description="The same of clefts between cells.")
    texture: Range = Field((0.003, 0.012), description="Spread of the refractive index within the cytoplasm.")
    smoothness: Range = Field((0.1, 0.7), description="That in the nucleus, relative to that in the cytoplasm.")
    granules_per_cell: Range = Field((20, 300), description="Granules per cell.")
    detail: DetailSettings = Field(DetailSettings(), description="Membranes, mitochondria, droplets, debris.")
    oblique: Range = Field((0.0, 0.5), description="How far the light comes from one side, in condenser apertures.")
    aberration: float = Field(0.12, ge=0, description="Greatest spherical aberration, coma and astigmatism, in waves.")
    sparse_planes: float = Field(
        0.2, ge=0, le=1, description="Share of stacks of which every 2nd or 3rd plane is seen."
    )
    camera_blur: Range = Field((0.0, 0.4), description="Blur by camera and registration, in voxels.")


def draw_settings(settings: AnyMicroscopeSettings, rng: np.random.Generator) -> SimulationSettings:
    """Draw a microscope and cells.

    Parameters
    ----------
    settings : AnyMicroscopeSettings
        The ranges.
    rng : numpy.random.Generator
        Draws.
    """
    usual = CellSettings()
    size = drawn(settings.size, rng)
    z, short, long = (size * axis for axis in usual.semi_axes_um)
    cells = CellSettings(
        cell_area_um2=usual.cell_area_um2 * size**2 * drawn(settings.spacing, rng),
        semi_axes_um=(z * drawn(settings.flatness, rng), short, long),
        roughness=drawn(settings.roughness, rng),
        nuclear_height_um=(drawn(settings.height_um, rng), drawn(settings.height_spread_um, rng)),
        chromatin_contrast=0.2,
        nucleoplasm_index=usual.cytoplasm_index + drawn(settings.nucleoplasm, rng),
        nucleolus_index=usual.cytoplasm_index + drawn(settings.nucleolus, rng),
        granule_index=usual.cytoplasm_index + drawn(settings.granule, rng),
        cleft_index=usual.cytoplasm_index + drawn(settings.cleft, rng),
        texture_index=drawn(settings.texture, rng),
        nuclear_smoothness=drawn(settings.smoothness, rng),
        granules_per_cell=drawn(settings.granules_per_cell, rng),
    )
    objective = drawn(settings.objective_na, rng)
    light = BrightfieldSettings(
        wavelength_um=drawn(settings.wavelength_um, rng),
        bandwidth_um=drawn(settings.bandwidth_um, rng),
        objective_na=objective,
        condenser_na=min(objective, drawn(settings.condenser_na, rng)),
        source_points=settings.source_points,
        focus_offset_um=drawn(settings.focus_offset_um, rng),
        photons=drawn(settings.photons, rng),
        gain=1.0,
    )
    return SimulationSettings(
        shape=settings.shape,
        voxel_um=drawn(settings.voxel_um, rng),
        coverslip_um=BELOW_UM + drawn(settings.coverslip_um, rng),
        cells=cells,
        brightfield=light,
    )


def simulate_any_field(settings: AnyMicroscopeSettings | None = None, seed: int = 0) -> SimulatedField:
    """Simulate one field of cells, seen by a microscope drawn at random.

    The target is the dye through a Gaussian point spread function, with little noise: it need not be as poor as a
    living cell's.

    Parameters
    ----------
    settings : AnyMicroscopeSettings
        The ranges.
    seed : int
        The same seed gives the same field.

    Returns
    -------
    SimulatedField
        With the voxel size that was drawn for it.

    Examples
    --------
    >>> from spotlight.simulation import AnyMicroscopeSettings, simulate_any_field
    >>> settings = AnyMicroscopeSettings(shape=(8, 24, 24), source_points=3)
    >>> edges = [simulate_any_field(settings, seed).input.voxel_size[0] for seed in (0, 1)]
    >>> [round(edge, 2) for edge in edges]  # µm: each seed has another microscope
    [0.29, 0.26]
    """
    settings = settings or AnyMicroscopeSettings()
    rng = np.random.default_rng(seed)
    chosen = draw_settings(settings, rng)
    voxel, planes = chosen.voxel_um, settings.shape[0]
    below, above = (round(um / voxel) for um in (BELOW_UM, ABOVE_UM))
    margin = round(MARGIN_UM / voxel)
    shape = (below + planes + above, settings.shape[1] + 2 * margin, settings.shape[2] + 2 * margin)
    phantom = make_phantom(shape, voxel, chosen.coverslip_um, chosen.cells, rng)
    cells = max(1, round(shape[1] * shape[2] * voxel**2 / chosen.cells.cell_area_um2))
    index = add_detail(phantom, chosen.cells.medium_index, cells, voxel, settings.detail, rng)
    labels, dye = phantom.labels, phantom.dye
    if rng.uniform() < settings.upright:
        index, labels, dye, below = index[::-1].copy(), labels[::-1].copy(), dye[::-1].copy(), above
    seen = _light(index, below * voxel, chosen, settings, rng)
    glow = ndimage.gaussian_filter(dye, [um / voxel for um in TARGET_BLUR_UM])
    inside = (slice(below, below + planes), *(slice(margin, margin + size) for size in settings.shape[1:]))
    target = camera(100 * glow[inside] + 3, 1.6, 12.0, 100.0, rng)
    found: list[NDArray[Any]] = [
        seen[(slice(None), *inside[1:])],
        target,
        relabel_sequential(labels[inside])[0].astype(np.uint16),
        dye[inside],
    ]
    if rng.uniform() < settings.reversed:
        found = [array[::-1] for array in found]
    image, truth, nuclei, concentration = (
        Stack(np.ascontiguousarray(array), "ZYX", (voxel,) * 3, (channel,), f"simulated field {seed}")
        for array, channel in zip(found, ("Brightfield", "DNA", "Nuclei", "Dye"), strict=True)
    )
    return SimulatedField(image, truth, nuclei, concentration, None)


def _light(
    index: FloatArray,
    first_um: float,
    chosen: SimulationSettings,
    settings: AnyMicroscopeSettings,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Camera counts of the transmitted light, of as many planes as the settings have, the first at a height."""
    light, voxel, planes = chosen.brightfield, chosen.voxel_um, settings.shape[0]
    step = int(rng.integers(2, 4)) if rng.uniform() < settings.sparse_planes else 1
    places = np.minimum(np.arange(0, planes + step - 1, step), planes - 1).astype(float)
    side, angle = drawn(settings.oblique, rng), rng.uniform(0, 2 * np.pi)
    waves = rng.uniform(-settings.aberration, settings.aberration, 3)
    turn = rng.uniform(0, 2 * np.pi, 2)

    def source(count: int, start: float) -> NDArray[np.float64]:
        points = _disk(count, start) + side * np.array([np.sin(angle), np.cos(angle)])
        return points * min(1.0, light.objective_na / light.condenser_na / (1 + side))  # stays within the objective

    def pupil(
        ky: NDArray[np.float64], kx: NDArray[np.float64], direct: tuple[float, float], wavelength: float
    ) -> NDArray[np.complex128]:
        y, x = (k * wavelength / light.objective_na for k in (ky, kx))
        square, at = y**2 + x**2, np.arctan2(y, x)
        phase = waves[0] * (6 * square**2 - 6 * square + 1) + waves[1] * square * np.cos(2 * (at - turn[0]))
        phase = phase + waves[2] * (3 * square - 2) * np.sqrt(square) * np.cos(at - turn[1])
        return np.exp(2j * np.pi * np.where(square <= 1, phase, 0))

    heights = first_um + places * voxel + light.focus_offset_um
    image = focus_series(index, chosen.cells.medium_index, (voxel, voxel), heights, light, rng, source, pupil)
    image *= light.photons * shading(image.shape[1:], settings.uneven, rng)
    image = camera(image, light.read_noise, light.gain, light.offset, rng).astype(np.float32)
    blur = drawn(settings.camera_blur, rng)
    image = ndimage.gaussian_filter(image, (0, blur, blur))
    if step > 1:
        image = interpolate.make_interp_spline(places, image, k=1)(np.arange(planes))
    return np.asarray(np.rint(image), np.uint16)


def simulate_any_microscope(
    folder: str | Path,
    counts: dict[str, int],
    settings: AnyMicroscopeSettings | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set of cells seen by many microscopes, in the layout of `spotlight.simulate_pairs`.

    Parameters
    ----------
    folder, counts, seed, workers, progress
        See `spotlight.simulate_pairs`.
    settings : AnyMicroscopeSettings
        The ranges of microscopes and cells.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    SpotlightError
        As `spotlight.simulate_pairs`.

    Examples
    --------
    >>> from spotlight.simulation import AnyMicroscopeSettings, simulate_any_microscope
    >>> settings = AnyMicroscopeSettings(shape=(8, 24, 24), source_points=3)
    >>> simulate_any_microscope("many", {"train": 1}, settings).as_posix()
    'many/pairs.csv'
    """
    settings = settings or AnyMicroscopeSettings()
    return write_pairs(folder, counts, settings, partial(simulate_any_field, settings), seed, workers, progress)
