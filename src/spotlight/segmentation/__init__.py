"""Segmentation: instance labels from a stain."""

from spotlight.segmentation.cellpose import CellposeSettings
from spotlight.segmentation.cleaning import clean_labels, clean_truth, resize_labels
from spotlight.segmentation.methods import METHODS, MethodSettings, read_settings, segment
from spotlight.segmentation.watershed import SegmentationSettings, split_touching

__all__ = [
    "METHODS",
    "CellposeSettings",
    "MethodSettings",
    "SegmentationSettings",
    "clean_labels",
    "clean_truth",
    "read_settings",
    "resize_labels",
    "segment",
    "split_touching",
]
