"""Training face recognisers: margin heads, training from scratch, distilling."""

from facewright.recognition.arcface import ArcFaceHead, arcface_logits
from facewright.recognition.distill import DistillConfig, distill
from facewright.recognition.train import RecognitionConfig, labelled_crops, train

__all__ = ["ArcFaceHead", "DistillConfig", "RecognitionConfig", "arcface_logits", "distill", "labelled_crops", "train"]
