"""Staining: a model folder applied to stacks of any size."""

from spotlight.prediction.stain import Model, PredictionSettings, load_model

__all__ = ["Model", "PredictionSettings", "load_model"]
