"""Numbers from two images, two label images, two tables of nuclei."""

from spotlight.metrics.cards import Card, metric
from spotlight.metrics.challenge import CHALLENGE_SCORES, challenge_scores
from spotlight.metrics.classes import balanced_accuracy, confusion_matrix, macro_f1
from spotlight.metrics.instances import AP_THRESHOLDS, InstanceScores, score_instances
from spotlight.metrics.masks import component_f1, mask_dice, panoptic_dice
from spotlight.metrics.microssim import MicroMS3IM, fit_micro_ms3im, score_micro_ms3im
from spotlight.metrics.pixels import PIXEL_SCORES, intensity_scores, score_pixels
from spotlight.metrics.profiles import (
    compare_nuclei,
    feature_ranges,
    profile_distance,
    profile_error,
    score_features,
)
from spotlight.metrics.registry import METRICS, describe
from spotlight.metrics.resolution import (
    fourier_ring,
    fourier_ring_of_two,
    fourier_shell,
    fourier_shell_of_two,
)
from spotlight.metrics.resolution_curve import ONE_IMAGE, TWO_IMAGES, ResolutionCurve, ResolutionSettings
from spotlight.metrics.selma3d import selma3d_group, selma3d_means, selma3d_ranks, selma3d_scores
from spotlight.metrics.spectral import spectral_pearson
from spotlight.metrics.structural import structural_similarity
from spotlight.metrics.topology import betti_errors, betti_numbers, cl_dice, length_error
from spotlight.metrics.tracks import track_scores

__all__ = [
    "AP_THRESHOLDS",
    "CHALLENGE_SCORES",
    "METRICS",
    "ONE_IMAGE",
    "PIXEL_SCORES",
    "TWO_IMAGES",
    "Card",
    "InstanceScores",
    "MicroMS3IM",
    "ResolutionCurve",
    "ResolutionSettings",
    "balanced_accuracy",
    "betti_errors",
    "betti_numbers",
    "challenge_scores",
    "cl_dice",
    "compare_nuclei",
    "component_f1",
    "confusion_matrix",
    "describe",
    "feature_ranges",
    "fit_micro_ms3im",
    "fourier_ring",
    "fourier_ring_of_two",
    "fourier_shell",
    "fourier_shell_of_two",
    "intensity_scores",
    "length_error",
    "macro_f1",
    "mask_dice",
    "metric",
    "panoptic_dice",
    "profile_distance",
    "profile_error",
    "score_features",
    "score_instances",
    "score_micro_ms3im",
    "score_pixels",
    "selma3d_group",
    "selma3d_means",
    "selma3d_ranks",
    "selma3d_scores",
    "spectral_pearson",
    "structural_similarity",
    "track_scores",
]
