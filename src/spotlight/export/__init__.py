"""Export: models as ONNX, BioImage Model Zoo package or model card, and stains as a challenge submission."""

from spotlight.export.bioimage import Publication, export_bioimage
from spotlight.export.card import model_card, write_card
from spotlight.export.onnx import export_onnx
from spotlight.export.submission import write_selma3d, write_submission

__all__ = [
    "Publication",
    "export_bioimage",
    "export_onnx",
    "model_card",
    "write_card",
    "write_selma3d",
    "write_submission",
]
