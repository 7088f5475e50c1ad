"""Pairs of input and target: finding them, checking them, preparing them for training, and cutting patches."""

from spotlight.images.selection import FurtherInput
from spotlight.pairs.cache import clear_cache, prepare_pairs
from spotlight.pairs.checking import Check, check
from spotlight.pairs.findings import CheckSettings
from spotlight.pairs.listing import pairs_from_folder, read_pairs
from spotlight.pairs.manifest import read_manifest
from spotlight.pairs.pair import Pair
from spotlight.pairs.patches import PatchSampler, patch_starts, window_sums
from spotlight.pairs.prepare import prepare_pair
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.pairs.public import fetch_integrated_cell

__all__ = [
    "Check",
    "CheckSettings",
    "FurtherInput",
    "Pair",
    "PatchSampler",
    "PreparationSettings",
    "PreparedPair",
    "check",
    "clear_cache",
    "fetch_integrated_cell",
    "pairs_from_folder",
    "patch_starts",
    "prepare_pair",
    "prepare_pairs",
    "read_manifest",
    "read_pairs",
    "window_sums",
]
