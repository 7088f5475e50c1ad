"""Segmentation: instance labels from a stain."""

from spotlight.segmentation.cellpose import CellposeSettings
from spotlight.segmentation.cleaning import clean_labels, clean_truth, resize_labels
from spotlight.segmentation.methods import Segmentation, find_instances, read_settings, segment
from spotlight.segmentation.settings import SEGMENTERS, InstanceSettings, MethodSettings
from spotlight.segmentation.watershed import SegmentationSettings, split_touching

__all__ = [
    "SEGMENTERS",
    "CellposeSettings",
    "InstanceSettings",
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
