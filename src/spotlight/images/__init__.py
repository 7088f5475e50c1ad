"""Stacks: images with axes, voxel size in µm and channel names; reading, writing and resampling them."""

from spotlight.images.modality import modality_of
from spotlight.images.parts import Part, count_images, parts, warn_of_planes
from spotlight.images.reading import SUFFIXES, is_image, read, read_like, scenes, stem
from spotlight.images.resample import resample, resampled_shape
from spotlight.images.same_field import resample_like
from spotlight.images.stack import Stack, format_region, parse_region
from spotlight.images.writing import write

__all__ = [
    "SUFFIXES",
    "Part",
    "Stack",
    "count_images",
    "format_region",
    "is_image",
    "modality_of",
    "parse_region",
    "parts",
    "read",
    "read_like",
    "resample",
    "resample_like",
    "resampled_shape",
    "scenes",
    "stem",
    "warn_of_planes",
    "write",
]
