"""Evaluation: every metric over the stains of one or several methods, written as tables."""

from spotlight.evaluation.classes import ClassEvaluation, evaluate_classes, score_classes
from spotlight.evaluation.evaluate import Evaluation, evaluate, summarise
from spotlight.evaluation.light_my_cells import LightMyCells, LightMyCellsSettings, evaluate_light_my_cells
from spotlight.evaluation.mask_fields import score_masks
from spotlight.evaluation.masks import MaskEvaluation, evaluate_masks
from spotlight.evaluation.restoration import RestorationEvaluation, evaluate_restoration, score_restoration
from spotlight.evaluation.settings import EvaluationSettings

__all__ = [
    "ClassEvaluation",
    "Evaluation",
    "EvaluationSettings",
    "LightMyCells",
    "LightMyCellsSettings",
    "MaskEvaluation",
    "RestorationEvaluation",
    "evaluate",
    "evaluate_classes",
    "evaluate_light_my_cells",
    "evaluate_masks",
    "evaluate_restoration",
    "score_classes",
    "score_masks",
    "score_restoration",
    "summarise",
]
