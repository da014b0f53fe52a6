"""CurricularFace: hard other classes count more as training goes on (Huang et al. 2020)."""

import math

import torch
from torch import Tensor

from facewright.recognition.margins.angles import add_angle
from facewright.recognition.margins.margin import Margin, check


class CurricularFace(Margin):
    """ArcFace's target; a class nearer than cos(theta + margin) is hard, and its cosine is weighted by t + cosine.

    The buffer `t` is a running mean of the cosines to the own classes, moved on from the batch before it is used.

    Args:
        margin: radians, in [0, pi / 2).
        scale: the paper's s.
        momentum: share of the batch in the running mean, TFace's alpha.
    """

    t: Tensor

    def __init__(self, *, margin: float = 0.5, scale: float = 64.0, momentum: float = 0.1) -> None:
        super().__init__(scale=scale)
        check("margin", margin, least=0.0, below=math.pi / 2)
        check("momentum", momentum, above=0.0, below=1.0 + 1e-12)
        self.margin = margin
        self.momentum = momentum
        self.register_buffer("t", torch.zeros(()))

    def own(self, cosine: Tensor, _norms: Tensor, /) -> Tensor:
        if self.training and len(cosine):
            with torch.no_grad():
                self.t.lerp_(cosine.mean().to(self.t), self.momentum)
        return add_angle(cosine, self.margin, beyond="linear")

    def others(self, cosine: Tensor, own_cosine: Tensor, /) -> Tensor:
        threshold = add_angle(own_cosine.detach(), self.margin, beyond="none")
        return torch.where(cosine > threshold[:, None], cosine * (self.t + cosine), cosine)
