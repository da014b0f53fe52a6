"""ArcFace, ready to use: its head, which distillation trains with, and its logits as a function."""

from torch import Tensor

from facewright.recognition.heads.dense import MarginHead
from facewright.recognition.margins.arcface import ArcFace


def arcface_logits(cosine: Tensor, labels: Tensor, *, margin: float = 0.5, scale: float = 64.0) -> Tensor:
    """Push each sample's own class away by an angle (Deng et al. 2019, Eq. 3).

    Beyond theta + margin = pi the cosine would rise again; there the target falls on linearly as
    cosine - margin * sin(margin), as in the paper's own code and in TFace.

    Args:
        cosine: embedding to class-centre cosines, (B, C), in [-1, 1].
        labels: (B,), int64.
        margin: radians, in [0, pi / 2).
        scale: the paper's s.

    Returns:
        Logits, (B, C).
    """
    return ArcFace(margin=margin, scale=scale)(cosine, labels, norms=cosine.new_ones(len(cosine)))


class ArcFaceHead(MarginHead):
    """Class centres and the ArcFace loss; `weight` is (C, D)."""

    def __init__(self, classes: int, width: int = 512, *, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__(classes, width, margin=ArcFace(margin=margin, scale=scale))
