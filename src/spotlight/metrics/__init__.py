"""Numbers from two images, two label images, two tables of nuclei."""

from spotlight.metrics.instances import AP_THRESHOLDS, InstanceScores, score_instances
from spotlight.metrics.pixels import score_pixels
from spotlight.metrics.profiles import (
    compare_nuclei,
    feature_ranges,
    profile_distance,
    profile_error,
    score_features,
)

__all__ = [
    "AP_THRESHOLDS",
    "InstanceScores",
    "compare_nuclei",
    "feature_ranges",
    "profile_distance",
    "profile_error",
    "score_features",
    "score_instances",
    "score_pixels",
]
