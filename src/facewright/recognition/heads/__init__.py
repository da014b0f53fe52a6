"""Class centres and the loss over them: all in one table, split over processes, or a sample of them a step."""

from facewright.recognition.heads.cross_entropy import clamp_losses
from facewright.recognition.heads.dense import MarginHead
from facewright.recognition.heads.files import load_head, save_head
from facewright.recognition.heads.partial_fc import PartialFC
from facewright.recognition.heads.row_optimiser import RowOptimiser
from facewright.recognition.heads.scores import Scores
from facewright.recognition.heads.sharded import ShardedHead

__all__ = [
    "MarginHead",
    "PartialFC",
    "RowOptimiser",
    "Scores",
    "ShardedHead",
    "clamp_losses",
    "load_head",
    "save_head",
]
