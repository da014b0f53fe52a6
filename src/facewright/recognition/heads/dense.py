"""The plain head: all class centres in one table."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.recognition.heads.scores import Scores, check_labels, score
from facewright.recognition.heads.shares import SPREAD
from facewright.recognition.margins.margin import Margin


class MarginHead(nn.Module):
    """Class centres and the margin loss; `weight` is (C, D).

    Args:
        classes: C.
        width: D, of the embeddings.
        margin: what makes it ArcFace, CosFace, ...
    """

    is_table = True  # one row a class: not a matrix to the optimiser

    def __init__(self, classes: int, width: int = 512, *, margin: Margin) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, width) * SPREAD)
        self.margin = margin

    def scores(self, embeddings: Tensor, labels: Tensor) -> Scores:
        """Cosines and logits of embeddings (B, D), of any length, with labels (B,); moves the margin's state on."""
        check_labels(labels, len(self.weight))
        return score(embeddings, self.weight, labels, self.margin)

    def losses(self, scores: Scores) -> Tensor:
        """The loss of each sample, (B,)."""
        losses = F.cross_entropy(scores.logits, scores.columns, reduction="none")
        return losses if scores.extra is None else losses + scores.extra

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of embeddings (B, D), of any length, against labels (B,)."""
        return self.losses(self.scores(embeddings, labels)).mean()
