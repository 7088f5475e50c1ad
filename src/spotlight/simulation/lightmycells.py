"""Simulated data sets in the layout of Light My Cells: a focus series of transmitted light, and a few stains."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import fft

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.locks import works_in
from spotlight.settings import Settings
from spotlight.simulation.adherent import AdherentCellSettings
from spotlight.simulation.contrast import DICSettings, PhaseContrastSettings, dic, phase_contrast
from spotlight.simulation.dataset import MANIFEST, claim, write_fields
from spotlight.simulation.optics import (
    BrightfieldSettings,
    WidefieldSettings,
    camera,
    focus_series,
    shading,
    widefield,
)
from spotlight.simulation.organelles import STAINS, OrganellePhantom, make_organelles
from spotlight.simulation.studies import ABBREVIATIONS, CHALLENGE_STUDIES, PlannedField, StudySettings, plan_fields

MARGIN_UM = 6.0
"""Cells are simulated this far beyond the field on each side, so that its borders look like its middle."""

EMISSION_UM = {"Nucleus": 0.461, "Mitochondria": 0.599, "Tubulin": 0.519, "Actin": 0.668}
"""Emission of common dyes: Hoechst 33342, MitoTracker Red CMXRos, Alexa Fluor 488 and 647."""

FOCUS = "focus.csv"
SPLITS = ("train", "val", "test")


class LightMyCellsSettings(Settings):
    """Fields of adherent cells in a focus series of transmitted light, with fluorescence in the best focus.

    Examples
    --------
    >>> from spotlight.simulation import LightMyCellsSettings, StudySettings
    >>> one_study = LightMyCellsSettings(studies=(StudySettings(modality="phase", fields=1, nucleus=1, actin=0.5),))
    >>> one_study.planes, one_study.z_step_um
    (7, 0.5)
    """

    shape: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] = Field(
        (256, 256), description="Pixels of the images in y, x."
    )
    pixel_um: float = Field(0.2, gt=0, description="Edge of the pixels.")
    slice_um: float = Field(0.5, gt=0, description="Distance between the slices in which cells are simulated.")
    slices: int = Field(12, ge=1, description="Number of these slices; the first lies on the coverslip.")
    planes: int = Field(7, ge=1, description="Focal planes of the series.")
    z_step_um: float = Field(0.5, gt=0, description="Distance between the focal planes.")
    focus_um: float = Field(1.4, description="Height of the best focus over the coverslip.")
    focus_planes: tuple[int, int] = Field(
        (1, 5),
        description="First and last plane, zero-based, between which the plane in best focus is drawn for each field.",
    )
    variation: float = Field(
        0.15, ge=0, lt=1, description="Relative spread of light, apertures and dyes between studies."
    )
    shading: float = Field(0.05, ge=0, lt=1, description="Greatest relative change of the light from middle to border.")
    cells: AdherentCellSettings = Field(AdherentCellSettings(), description="Properties of the cells.")
    brightfield: BrightfieldSettings = Field(
        BrightfieldSettings(wavelength_um=0.55, objective_na=0.8, source_points=32), description="Brightfield."
    )
    phase: PhaseContrastSettings = Field(PhaseContrastSettings(), description="Phase contrast.")
    dic: DICSettings = Field(DICSettings(), description="Differential interference contrast.")
    fluorescence: WidefieldSettings = Field(WidefieldSettings(), description="The fluorescence path.")
    studies: tuple[StudySettings, ...] = Field(
        CHALLENGE_STUDIES, min_length=1, description="Modality, stains and relative number of fields of each study."
    )

    @model_validator(mode="after")
    def _focus_is_in_the_series(self) -> Self:
        first, last = self.focus_planes
        if not 0 <= first <= last < self.planes:
            raise ValueError(
                f"focus_planes must be two of the planes 0 to {self.planes - 1}, in order. Received: {first}, {last}."
            )
        return self


@dataclass(frozen=True, eq=False)
class MultiStainField:
    """The microscope's images of a field of adherent cells, and the truth.

    Attributes
    ----------
    planes : (Z, Y, X) uint16
        The focus series of transmitted light.
    targets : dict of (Y, X) uint16
        Fluorescence in best focus, for each of `STAINS`.
    phantom : OrganellePhantom
        The cells, cut to the field.

    Examples
    --------
    >>> from spotlight.simulation import LightMyCellsSettings, simulate_multi_stain_field
    >>> settings = LightMyCellsSettings(shape=(32, 32), slices=2, planes=3, focus_planes=(1, 1))
    >>> field = simulate_multi_stain_field(settings, focus=1)
    >>> field.planes.shape, {name: image.shape for name, image in field.targets.items()}
    ((3, 32, 32), {'Nucleus': (32, 32), 'Mitochondria': (32, 32), 'Tubulin': (32, 32), 'Actin': (32, 32)})
    """

    planes: NDArray[np.uint16]
    targets: dict[str, NDArray[np.uint16]]
    phantom: OrganellePhantom


def simulate_multi_stain_field(
    settings: LightMyCellsSettings | None = None, modality: str = "brightfield", focus: int = 3, seed: int = 0
) -> MultiStainField:
    """Simulate one field with all stains.

    The cells and the fluorescence depend on the settings and the seed only, not on modality or focus.

    Parameters
    ----------
    settings : LightMyCellsSettings
        Cells and optics.
    modality : str
        "brightfield", "phase" or "dic".
    focus : int
        Index of the plane in best focus; the targets are in this plane.
    seed : int
        The same seed gives the same field.

    Returns
    -------
    MultiStainField
        The focus series, one target per stain, and the cells.

    Raises
    ------
    SpotlightError
        If there is no such modality.

    Examples
    --------
    >>> from spotlight.simulation import LightMyCellsSettings, simulate_multi_stain_field
    >>> settings = LightMyCellsSettings(shape=(32, 32), slices=2, planes=3, focus_planes=(1, 1))
    >>> phase, dic = (simulate_multi_stain_field(settings, modality, focus=1) for modality in ("phase", "dic"))
    >>> bool((phase.targets["Actin"] == dic.targets["Actin"]).all())  # the same cells
    True
    """
    settings = settings or LightMyCellsSettings()
    if modality not in ABBREVIATIONS:
        raise SpotlightError(f"the modality must be one of {', '.join(ABBREVIATIONS)}. Received: {modality!r}.")
    # Separate random streams, so cells and noise of the stains do not depend on the modality.
    for_cells, for_stains, for_light = (np.random.default_rng([seed, stream]) for stream in (1, 2, 3))
    voxel = (settings.slice_um, settings.pixel_um)
    ny, nx = settings.shape
    size = [fft.next_fast_len(n + 2 * round(MARGIN_UM / settings.pixel_um)) for n in (ny, nx)]
    phantom = make_organelles((settings.slices, *size), voxel, settings.cells, for_cells)
    inside = tuple(slice((whole - n) // 2, (whole - n) // 2 + n) for whole, n in zip(size, (ny, nx), strict=True))

    fluor = settings.fluorescence
    targets = {}
    for name, dye in phantom.dyes.items():
        light = widefield(dye, voxel, settings.focus_um, EMISSION_UM[name], fluor)
        targets[name] = camera(light[inside], fluor.read_noise, fluor.gain, fluor.offset, for_stains)

    optics: BrightfieldSettings = getattr(settings, modality)
    heights = focal_heights(settings, focus) - settings.slice_um / 2 + optics.focus_offset_um
    medium = settings.cells.medium_index
    if isinstance(optics, PhaseContrastSettings):
        series = phase_contrast(phantom.index, medium, voxel, heights, optics, for_light)
    elif isinstance(optics, DICSettings):
        series = dic(phantom.index, medium, voxel, heights, optics, for_light)
    else:
        series = focus_series(phantom.index, medium, voxel, heights, optics, for_light)
    light = series[:, *inside] * shading(settings.shape, settings.shading, for_light) * optics.photons
    planes = camera(light, optics.read_noise, optics.gain, optics.offset, for_light)

    cut = OrganellePhantom(
        phantom.index[:, *inside],
        {name: dye[:, *inside] for name, dye in phantom.dyes.items()},
        phantom.cells[inside],
        phantom.nuclei[inside],
    )
    return MultiStainField(planes, targets, cut)


@works_in("folder")
def simulate_light_my_cells(
    folder: str | Path,
    counts: Mapping[str, int],
    settings: LightMyCellsSettings | None = None,
    seed: int = 0,
    workers: int = 1,
    complete: bool | Collection[str] = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set in the layout of Light My Cells, with a manifest.

    After an interruption, the same call continues. A folder with other fields is refused. A study has the same optics
    and dyes in every set of the same settings, whatever the seed.

    Parameters
    ----------
    folder : path
        Where to write ``Study_N/image_FIELD_BF_zK.ome.tiff`` (or PC, DIC), ``Study_N/image_FIELD_Nucleus.ome.tiff``
        and so on, ``focus.csv`` (one row per field) and the manifest ``pairs.csv`` (one row per plane).
    counts : mapping
        Number of fields per split, for example ``{"train": 24, "val": 3, "test": 9}``.
    settings : LightMyCellsSettings
        Cells, optics and studies. By default, stains are missing as often as in the challenge.
    seed : int
        Seed of the cells and of the choice of missing stains.
    workers : int
        Number of processes. With more than one, a script needs ``if __name__ == "__main__":``.
    complete : bool or collection of str
        Write every stain of every field, or of the fields of these splits, such as ``{"test"}``. Nothing else changes.
    progress : callable, optional
        Called with the number of fields done and their total.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    SpotlightError
        If no field is requested, a split is unknown, training has too few fields to contain every modality and stain,
        or the folder holds something else.

    Examples
    --------
    >>> from spotlight.pairs import read_pairs
    >>> from spotlight.simulation import LightMyCellsSettings, StudySettings, simulate_light_my_cells
    >>> study = StudySettings(modality="phase", fields=1, nucleus=1)
    >>> settings = LightMyCellsSettings(shape=(32, 32), slices=2, planes=2, focus_planes=(0, 1), studies=(study,))
    >>> manifest = simulate_light_my_cells("cells", {"train": 1}, settings)
    >>> [pair.input.name for pair in read_pairs(manifest)]
    ['image_1_PC_z0.ome.tiff', 'image_1_PC_z1.ome.tiff']
    """
    folder = Path(folder)
    settings = settings or LightMyCellsSettings()
    if not sum(counts.values()) or min(counts.values()) < 0 or seed < 0 or not set(counts) <= set(SPLITS):
        raise SpotlightError(
            "simulate needs at least one field for train, val or test, no negative number, and a seed of at least 0. "
            f"Received: {dict(counts)}, {seed}."
        )
    whole = set(counts) if complete is True else set(complete or ())
    if not whole <= set(SPLITS):
        raise SpotlightError(f"complete must name splits ({', '.join(SPLITS)}). Received: {', '.join(sorted(whole))}.")
    planned = plan_fields(counts, settings.studies, settings.focus_planes, whole, seed)
    asked = {"seed": seed, "complete": sorted(whole), "counts": dict(counts)}
    claim(folder, asked, settings)
    own = {field.study: study_settings(settings, field.study) for field in planned}
    tasks = (repeat(folder), planned, [own[field.study] for field in planned], repeat(seed))
    write_fields(folder, _write_field, tasks, len(planned), workers, progress)
    for name, rows in ((FOCUS, _focus_rows(planned, settings)), (MANIFEST, _manifest_rows(planned, settings))):
        write_csv(pd.DataFrame(rows), folder / name)
    return folder / MANIFEST


def focal_heights(settings: LightMyCellsSettings, focus: int) -> NDArray[np.float64]:
    """Return the height of every focal plane over the coverslip in µm; plane `focus` is at `focus_um`."""
    return np.array([settings.focus_um + (plane - focus) * settings.z_step_um for plane in range(settings.planes)])


def study_settings(settings: LightMyCellsSettings, study: int) -> LightMyCellsSettings:
    """Vary cells and optics moderately, as between laboratories; the variation depends only on the study's number."""
    rng = np.random.default_rng([study, 3])

    def about(value: float) -> float:
        return float(value * rng.lognormal(0, settings.variation))

    cells = settings.cells.model_copy(update={"cell_area_um2": about(settings.cells.cell_area_um2)})
    fluor = settings.fluorescence
    fluor = fluor.model_copy(
        update={name: about(getattr(fluor, name)) for name in ("photons", "background_photons", "gain", "offset")}
    )
    varied: dict[str, Any] = {"cells": cells, "fluorescence": fluor}
    for name in ABBREVIATIONS:
        optics: BrightfieldSettings = getattr(settings, name)
        update = {part: about(getattr(optics, part)) for part in ("photons", "gain", "offset")}
        if isinstance(optics, PhaseContrastSettings):
            update["ring_transmission"] = min(1.0, about(optics.ring_transmission))
        else:
            update["condenser_na"] = min(optics.objective_na, about(optics.condenser_na))
        if isinstance(optics, DICSettings):
            update["bias"] = about(optics.bias)
            update["shear_deg"] = optics.shear_deg + float(np.rad2deg(rng.normal(0, settings.variation)))
        varied[name] = optics.model_copy(update=update)
    return settings.model_copy(update=varied)


def _plane_name(field: PlannedField, plane: int) -> str:
    return f"image_{field.number}_{ABBREVIATIONS[field.modality]}_z{plane}.ome.tiff"


def _target_name(field: PlannedField, stain: str) -> str:
    return f"image_{field.number}_{stain}.ome.tiff"


def _write_field(folder: Path, field: PlannedField, settings: LightMyCellsSettings, seed: int) -> None:
    study = folder / f"Study_{field.study}"
    planes = [study / _plane_name(field, plane) for plane in range(settings.planes)]
    targets = {stain: study / _target_name(field, stain) for stain in field.stains}
    if all(file.exists() for file in (*planes, *targets.values())):
        return
    own_seed = seed * 10_000 + field.number
    made = simulate_multi_stain_field(settings, field.modality, field.focus, own_seed)

    def save(data: NDArray[np.uint16], channel: str, file: Path) -> None:
        pixel = (settings.pixel_um, settings.pixel_um)
        Stack(np.ascontiguousarray(data), "YX", pixel, (channel,), origin=f"simulated, seed {own_seed}").save(file)

    for stain, file in targets.items():
        save(made.targets[stain], stain, file)
    for data, file in zip(made.planes, planes, strict=True):
        save(data, ABBREVIATIONS[field.modality], file)


def _focus_rows(planned: list[PlannedField], settings: LightMyCellsSettings) -> list[dict[str, Any]]:
    return [
        {
            "fov": field.number,
            "study": field.study,
            "split": field.split,
            "modality": field.modality,
            "focus_plane": field.focus,
            "planes": settings.planes,
            "stains": " ".join(field.stains),
        }
        for field in planned
    ]


def _manifest_rows(planned: list[PlannedField], settings: LightMyCellsSettings) -> list[dict[str, Any]]:
    """Return one row per plane, as for the challenge's own folders, but split by field."""
    written = [stain for stain in STAINS if any(stain in field.stains for field in planned)]
    rows = []
    for field in planned:
        study = f"Study_{field.study}"
        there = {stain: f"{study}/{_target_name(field, stain)}" for stain in field.stains}
        targets = {f"target:{stain}": there.get(stain, "absent") for stain in written}
        rows += [
            {
                "input": f"{study}/{_plane_name(field, plane)}",
                "split": field.split,
                "group": f"{study}/{field.number}",
                "modality": field.modality,
                "focus_offset": plane - field.focus,
                **targets,
            }
            for plane in range(settings.planes)
        ]
    return rows
