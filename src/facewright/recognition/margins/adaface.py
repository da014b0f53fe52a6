"""AdaFace: the margin follows image quality, told by the embedding's length (Kim et al. 2022)."""

import math

import torch
from torch import Tensor

from facewright.recognition.margins.angles import GRADIENTS, Gradient, angle_of, straight_through
from facewright.recognition.margins.margin import Margin, check, check_choice

SHORTEST, LONGEST = 1e-3, 100.0  # lengths are clipped to this range
EPSILON = 1e-3  # of the paper's code: on the deviation, the cosines and the angles


class AdaFace(Margin):
    """Target cos(theta - margin * z) - margin * (1 + z), z the clipped, standardised length of the embedding.

    The buffers `mean` and `std` are running figures of the lengths, moved on from the batch before they are used; a
    batch of one has no deviation and moves the mean alone. Lengths carry no gradient. The embeddings have to arrive as
    the network gives them: normalised ones all have length 1, and the margin becomes CosFace's.

    Args:
        margin: the paper's m, in [0, pi / 2).
        concentration: the paper's h.
        momentum: share of the batch in the running figures, t_alpha of the paper's code.
        scale: the paper's s.
        gradient: "exact" is the authors' form, which also keeps all cosines within +-(1 - 0.001) and angles within
            [0.001, pi - 0.001]. "straight-through" is CVLface's: no such bounds, the gradient of scale * cosine.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        margin: float = 0.4,
        concentration: float = 0.333,
        momentum: float = 0.01,
        scale: float = 64.0,
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__(scale=scale)
        check("margin", margin, least=0.0, below=math.pi / 2)
        check("concentration", concentration, least=0.0)
        check("momentum", momentum, above=0.0, below=1.0 + 1e-12)
        check_choice("gradient", gradient, GRADIENTS)
        self.margin = margin
        self.concentration = concentration
        self.momentum = momentum
        self.gradient: Gradient = gradient
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("std", torch.tensor(100.0))

    @torch.no_grad()
    def quality(self, norms: Tensor) -> Tensor:
        """The paper's z by the present running figures, (B,), in [-1, 1]."""
        lengths = norms.clamp(SHORTEST, LONGEST)
        return (self.concentration * (lengths - self.mean) / (self.std + EPSILON)).clamp(-1.0, 1.0)

    def own(self, cosine: Tensor, norms: Tensor, /) -> Tensor:
        if self.training:
            self._observe(norms)
        quality = self.quality(norms).to(cosine)
        if self.gradient == "exact":
            angle = angle_of(cosine.clamp(EPSILON - 1.0, 1.0 - EPSILON)) - self.margin * quality
            return angle.clamp(EPSILON, math.pi - EPSILON).cos() - self.margin * (1.0 + quality)
        moved = (angle_of(cosine) - self.margin * quality).cos() - self.margin * (1.0 + quality)
        return straight_through(moved, cosine)

    def others(self, cosine: Tensor, _own_cosine: Tensor, /) -> Tensor:
        return cosine.clamp(EPSILON - 1.0, 1.0 - EPSILON) if self.gradient == "exact" else cosine

    @torch.no_grad()
    def _observe(self, norms: Tensor) -> None:
        lengths = norms.clamp(SHORTEST, LONGEST).to(self.mean)
        if len(lengths):
            self.mean.lerp_(lengths.mean(), self.momentum)
        if len(lengths) > 1:
            self.std.lerp_(lengths.std(), self.momentum)
