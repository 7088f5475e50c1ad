"""Stacks: images with axes, voxel size in µm and channel names; reading, writing and resampling them."""

from spotlight.images.arrays import as_stack
from spotlight.images.facts import Facts, Scene
from spotlight.images.formats import FORMATS, Format, is_image, stem, suffixes
from spotlight.images.images_in import Part, count_images, images_in, warn_of_planes
from spotlight.images.modality import modality_of
from spotlight.images.pieces import label_pieces
from spotlight.images.reading import read, read_like, read_selected, scenes
from spotlight.images.regions import format_region, parse_region
from spotlight.images.resample import resample, resampled_shape
from spotlight.images.same_field import resample_like
from spotlight.images.selection import Selection
from spotlight.images.stack import Stack

__all__ = [
    "FORMATS",
    "Facts",
    "Format",
    "Part",
    "Scene",
    "Selection",
    "Stack",
    "as_stack",
    "count_images",
    "format_region",
    "images_in",
    "is_image",
    "label_pieces",
    "modality_of",
    "parse_region",
    "read",
    "read_like",
    "read_selected",
    "resample",
    "resample_like",
    "resampled_shape",
    "scenes",
    "stem",
    "suffixes",
    "warn_of_planes",
]
