"""Simulated pairs: geometric models of cells, images computed by optics, and the exact truth."""

from spotlight.simulation.adherent import AdherentCellSettings
from spotlight.simulation.contrast import DICSettings, PhaseContrastSettings, dic, phase_contrast
from spotlight.simulation.dataset import SimulatedField, SimulationSettings, simulate_field, simulate_pairs
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
from spotlight.simulation.studies import CHALLENGE_STUDIES, MILD_STUDIES, StudySettings

__all__ = [
    "CHALLENGE_STUDIES",
    "MILD_STUDIES",
    "AdherentCellSettings",
    "BrightfieldSettings",
    "CellSettings",
    "DICSettings",
    "FluorescenceSettings",
    "LightMyCellsSettings",
    "MultiStainField",
    "OrganellePhantom",
    "Phantom",
    "PhaseContrastSettings",
    "SimulatedField",
    "SimulationSettings",
    "StudySettings",
    "WidefieldSettings",
    "brightfield",
    "dic",
    "fluorescence",
    "make_organelles",
    "make_phantom",
    "phase_contrast",
    "simulate_field",
    "simulate_light_my_cells",
    "simulate_multi_stain_field",
    "simulate_pairs",
    "widefield",
]
