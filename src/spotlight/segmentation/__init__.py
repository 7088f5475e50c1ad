"""Segmentation: instance labels from a stain."""

from spotlight.segmentation.watershed import (
    SegmentationSettings,
    clean_labels,
    clean_truth,
    resize_labels,
    segment,
    split_touching,
)

__all__ = ["SegmentationSettings", "clean_labels", "clean_truth", "resize_labels", "segment", "split_touching"]
