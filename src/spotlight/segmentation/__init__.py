"""Segmentation: instance labels from a stain."""

from spotlight.segmentation.cellpose import CellposeSettings
from spotlight.segmentation.cleaning import clean_labels, clean_truth, resize_labels
from spotlight.segmentation.methods import (
    METHODS,
    MethodSettings,
    Segmentation,
    find_instances,
    read_settings,
    segment,
)
from spotlight.segmentation.watershed import SegmentationSettings, split_touching

__all__ = [
    "METHODS",
    "CellposeSettings",
    "MethodSettings",
    "Segmentation",
    "SegmentationSettings",
    "clean_labels",
    "clean_truth",
    "find_instances",
    "read_settings",
    "resize_labels",
    "segment",
    "split_touching",
]
