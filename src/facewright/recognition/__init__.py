"""Training face recognisers: margin heads, training from scratch, distilling."""

from facewright.recognition.arcface import ArcFaceHead, arcface_logits
from facewright.recognition.distill import DistillConfig, distill
from facewright.recognition.faces import Faces, TrainingFaces, open_faces
from facewright.recognition.heads import MarginHead, PartialFC, RowOptimiser, ShardedHead, load_head, save_head
from facewright.recognition.margins import MARGINS, Margin
from facewright.recognition.recipe import HeadConfig, RecogniserRecipe, light_augmentation
from facewright.recognition.train import Trained, make_head, train

__all__ = [
    "MARGINS",
    "ArcFaceHead",
    "DistillConfig",
    "Faces",
    "HeadConfig",
    "Margin",
    "MarginHead",
    "PartialFC",
    "RecogniserRecipe",
    "RowOptimiser",
    "ShardedHead",
    "Trained",
    "TrainingFaces",
    "arcface_logits",
    "distill",
    "light_augmentation",
    "load_head",
    "make_head",
    "open_faces",
    "save_head",
    "train",
]
