"""Stacks: images with axes, voxel size in µm and channel names; reading, writing and resampling them."""

from spotlight.images.formats import FORMATS, Facts, Format, Scene, is_image, stem, suffixes
from spotlight.images.modality import modality_of
from spotlight.images.parts import Part, count_images, parts, warn_of_planes
from spotlight.images.reading import read, read_like, scenes
from spotlight.images.resample import resample, resampled_shape
from spotlight.images.same_field import resample_like
from spotlight.images.stack import Stack, format_region, parse_region

__all__ = [
    "FORMATS",
    "Facts",
    "Format",
    "Part",
    "Scene",
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
    "suffixes",
    "warn_of_planes",
]
