"""Simulated pairs: geometric models of cells, images computed by optics, and the exact truth."""

from spotlight.simulation.adherent import AdherentCellSettings
from spotlight.simulation.any_microscope import (
    AnyMicroscopeSettings,
    simulate_any_field,
    simulate_any_microscope,
)
from spotlight.simulation.contrast import DICSettings, PhaseContrastSettings, dic, phase_contrast
from spotlight.simulation.dataset import SimulatedField, SimulationSettings, simulate_field, simulate_pairs
from spotlight.simulation.light_sheet import (
    LightSheetField,
    LightSheetSettings,
    simulate_light_sheet,
    simulate_light_sheet_field,
)
from spotlight.simulation.lightmycells import (
    LightMyCellsSettings,
    MultiStainField,
    simulate_light_my_cells,
    simulate_multi_stain_field,
)
from spotlight.simulation.optics import (
    BrightfieldSettings,
    FluorescenceSettings,
    WidefieldSettings,
    brightfield,
    fluorescence,
    widefield,
)
from spotlight.simulation.organelles import OrganellePhantom, make_organelles
from spotlight.simulation.phantom import CellSettings, Phantom, make_phantom
from spotlight.simulation.sheet import MICROSCOPES, SheetSettings
from spotlight.simulation.studies import CHALLENGE_STUDIES, MILD_STUDIES, StudySettings
from spotlight.simulation.time_lapse import SimulatedTimeLapse, TimeLapseSettings, simulate_time_lapse
from spotlight.simulation.tissue import STRUCTURES, TissueSettings

__all__ = [
    "CHALLENGE_STUDIES",
    "MICROSCOPES",
    "MILD_STUDIES",
    "STRUCTURES",
    "AdherentCellSettings",
    "AnyMicroscopeSettings",
    "BrightfieldSettings",
    "CellSettings",
    "DICSettings",
    "FluorescenceSettings",
    "LightMyCellsSettings",
    "LightSheetField",
    "LightSheetSettings",
    "MultiStainField",
    "OrganellePhantom",
    "Phantom",
    "PhaseContrastSettings",
    "SheetSettings",
    "SimulatedField",
    "SimulatedTimeLapse",
    "SimulationSettings",
    "StudySettings",
    "TimeLapseSettings",
    "TissueSettings",
    "WidefieldSettings",
    "brightfield",
    "dic",
    "fluorescence",
    "make_organelles",
    "make_phantom",
    "phase_contrast",
    "simulate_any_field",
    "simulate_any_microscope",
    "simulate_field",
    "simulate_light_my_cells",
    "simulate_light_sheet",
    "simulate_light_sheet_field",
    "simulate_multi_stain_field",
    "simulate_pairs",
    "simulate_time_lapse",
    "widefield",
]
