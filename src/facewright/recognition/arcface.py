"""ArcFace: an additive angular margin on the true class (Deng et al. 2019, Eq. 3)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-7  # keeps the gradient of the square root finite at a cosine of 1


def arcface_logits(cosine: Tensor, labels: Tensor, *, margin: float = 0.5, scale: float = 64.0) -> Tensor:
    """Push each sample's own class away by an angle.

    Beyond theta + margin = pi the cosine would rise again; there the target falls on linearly as
    cosine - margin * sin(pi - margin), as in the paper's own code and in TFace.

    Args:
        cosine: embedding to class-centre cosines, (B, C), in [-1, 1].
        labels: (B,), int64.
        margin: radians, in [0, pi / 2).
        scale: the paper's s.

    Returns:
        Logits, (B, C).
    """
    target = cosine.gather(1, labels[:, None])
    sine = (1.0 - target.square()).clamp_min(EPSILON).sqrt()
    moved = target * math.cos(margin) - sine * math.sin(margin)
    beyond = target - margin * math.sin(math.pi - margin)
    moved = torch.where(target > math.cos(math.pi - margin), moved, beyond)
    return scale * cosine.scatter(1, labels[:, None], moved)


class ArcFaceHead(nn.Module):
    """Class centres and the margin loss; `weight` is (C, D)."""

    is_table = True  # one row a class: not a matrix to the optimiser

    def __init__(self, classes: int, width: int = 512, *, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, width) * 0.01)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of embeddings (B, D), of any length, against labels (B,)."""
        cosine = (F.normalize(embeddings) @ F.normalize(self.weight.to(embeddings.dtype)).T).float().clamp(-1, 1)
        return F.cross_entropy(arcface_logits(cosine, labels, margin=self.margin, scale=self.scale), labels)
