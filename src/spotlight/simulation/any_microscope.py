"""Cells seen by a microscope of which all is drawn at random: what a model for unknown microscopes can learn from."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from spotlight.images import Stack
from spotlight.settings import Settings
from spotlight.simulation.dataset import SimulatedField, SimulationSettings, image_phantom, phantom_of, write_pairs
from spotlight.simulation.optics import BrightfieldSettings, FluorescenceSettings, shading
from spotlight.simulation.phantom import CellSettings, Phantom
from spotlight.simulation.tissue import Range, drawn


def _rising(among: tuple[float, float]) -> tuple[float, float]:
    if among[0] > among[1]:
        raise ValueError(f"a range is two numbers, the smaller one first. Received: {list(among)}.")
    return among


Signed = Annotated[tuple[float, float], AfterValidator(_rising)]
"""A range of numbers that may be negative, from which each field draws evenly."""


class AnyMicroscopeSettings(Settings):
    """From which ranges microscope and cells are drawn, once per field.

    The ranges go beyond what is usual for live cells in brightfield, so that a real microscope lies within them. A
    model that learnt from such fields must rely on what they share: edges, texture, and the shape of nuclei.
    """

    shape: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] = Field(
        (40, 128, 128), description="Voxels of the stacks in z, y, x."
    )
    voxel_um: Range = Field((0.22, 0.38), description="Edge of the cubic voxels.")
    wavelength_um: Range = Field((0.48, 0.78), description="Centre of the lamp's band.")
    bandwidth_um: Range = Field((0.01, 0.2), description="Full spectral width of the lamp.")
    objective_na: Range = Field((0.75, 1.3), description="Numerical aperture of the objective.")
    condenser_na: Range = Field((0.15, 0.7), description="Numerical aperture of the illumination: its coherence.")
    source_points: int = Field(37, ge=1, description="Plane waves that fill the condenser's disk.")
    focus_offset_um: Signed = Field((-1.5, 1.5), description="Axial shift of the brightfield against fluorescence.")
    photons: Range = Field((300, 20_000), description="Mean photo-electrons per voxel of brightfield.")
    uneven: float = Field(0.3, ge=0, lt=0.6, description="Greatest slope of the light over the field, relative.")
    upright: float = Field(0.5, ge=0, le=1, description="Share of fields whose light comes from the cells' top.")
    reversed: float = Field(0.5, ge=0, le=1, description="Share of stacks that are stored from the last plane on.")
    coverslip_um: Range = Field((0.5, 4.0), description="Height of the coverslip over the first plane.")
    size: Range = Field((0.8, 1.25), description="Nuclear size, relative to that of stem cells.")
    flatness: Range = Field((0.65, 1.1), description="Height of nuclei, relative to that of stem cells.")
    spacing: Range = Field((0.9, 2.2), description="Area per cell, relative to what its nucleus needs.")
    roughness: Range = Field((0.03, 0.12), description="See `CellSettings`.")
    height_um: Range = Field((3.5, 7.0), description="Mean height of nuclear centres over the coverslip.")
    nucleoplasm: Signed = Field((-0.010, 0.003), description="Refractive index of the nucleus, over the cytoplasm.")
    nucleolus: Range = Field((0.004, 0.020), description="The same of nucleoli.")
    granule: Range = Field((0.012, 0.045), description="The same of granules.")
    cleft: Signed = Field((-0.014, 0.002), description="The same of clefts between cells.")
    texture: Range = Field((0.002, 0.009), description="Spread of the refractive index within the cytoplasm.")
    smoothness: Range = Field((0.1, 0.6), description="That in the nucleus, relative to that in the cytoplasm.")
    granules_per_cell: Range = Field((40, 300), description="Granules per cell.")


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
        nuclear_height_um=(drawn(settings.height_um, rng), usual.nuclear_height_um[1]),
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
        coverslip_um=drawn(settings.coverslip_um, rng),
        cells=cells,
        brightfield=light,
        fluorescence=FluorescenceSettings(photons=60.0),  # the target need not be as noisy as a living cell's
    )


def simulate_any_field(settings: AnyMicroscopeSettings | None = None, seed: int = 0) -> SimulatedField:
    """Simulate one field of cells, seen by a microscope drawn at random.

    Parameters
    ----------
    settings : AnyMicroscopeSettings
        The ranges.
    seed : int
        The same seed gives the same field.
    """
    settings = settings or AnyMicroscopeSettings()
    rng = np.random.default_rng(seed)
    chosen = draw_settings(settings, rng)
    phantom = phantom_of(chosen, rng)
    if rng.uniform() < settings.upright:
        phantom = Phantom(phantom.labels[::-1].copy(), phantom.dye[::-1].copy(), phantom.index[::-1].copy())
    light = shading((phantom.index.shape[1], phantom.index.shape[2]), settings.uneven, rng)
    field = image_phantom(phantom, chosen, rng, f"simulated field {seed}", light)
    if rng.uniform() < settings.reversed:
        input, target, labels, dye = map(_reversed, (field.input, field.target, field.labels, field.dye))
        return SimulatedField(input, target, labels, dye, None)
    return field


def simulate_any_microscope(
    folder: str | Path,
    counts: dict[str, int],
    settings: AnyMicroscopeSettings | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set of cells seen by many microscopes; see `spotlight.simulate_pairs` for the parameters.

    Returns
    -------
    Path
        The manifest.
    """
    settings = settings or AnyMicroscopeSettings()
    return write_pairs(folder, counts, settings, partial(simulate_any_field, settings), seed, workers, progress)


def _reversed(stack: Stack) -> Stack:
    return replace(stack, array=np.ascontiguousarray(stack.data[::-1]))
