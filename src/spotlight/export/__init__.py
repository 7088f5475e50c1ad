"""A trained model for other tools: an ONNX file, a BioImage Model Zoo package, and a model card."""

from spotlight.export.bioimage import Publication, export_bioimage
from spotlight.export.card import model_card, write_card
from spotlight.export.onnx import export_onnx

__all__ = ["Publication", "export_bioimage", "export_onnx", "model_card", "write_card"]
