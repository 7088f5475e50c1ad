"""Simulated pairs: cells from geometry, images from optics, and the exact truth beside them."""

from spotlight.simulation.dataset import SimulatedField, SimulationSettings, simulate_field, simulate_pairs
from spotlight.simulation.optics import BrightfieldSettings, FluorescenceSettings, brightfield, fluorescence
from spotlight.simulation.phantom import CellSettings, Phantom, make_phantom

__all__ = [
    "BrightfieldSettings",
    "CellSettings",
    "FluorescenceSettings",
    "Phantom",
    "SimulatedField",
    "SimulationSettings",
    "brightfield",
    "fluorescence",
    "make_phantom",
    "simulate_field",
    "simulate_pairs",
]
