"""Training face recognisers: margin heads, training from scratch, distilling."""

from facewright.recognition.arcface import ArcFaceHead, arcface_logits
from facewright.recognition.distill import DistillConfig, distill
from facewright.recognition.heads import MarginHead, PartialFC, RowOptimiser, ShardedHead, load_head, save_head
from facewright.recognition.margins import MARGINS, Margin
from facewright.recognition.train import RecognitionConfig, labelled_crops, train

__all__ = [
    "MARGINS",
    "ArcFaceHead",
    "DistillConfig",
    "Margin",
    "MarginHead",
    "PartialFC",
    "RecognitionConfig",
    "RowOptimiser",
    "ShardedHead",
    "arcface_logits",
    "distill",
    "labelled_crops",
    "load_head",
    "save_head",
    "train",
]
