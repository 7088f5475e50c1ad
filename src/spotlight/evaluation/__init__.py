"""Evaluation: every metric over the predictions of one or several models, written as tables."""

from spotlight.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate, summarise

__all__ = ["Evaluation", "EvaluationSettings", "evaluate", "summarise"]
