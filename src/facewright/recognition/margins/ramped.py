"""A margin that comes in bit by bit, so that a network from scratch can first tell the people apart without it."""

import torch
from torch import Tensor

from facewright.recognition.margins.margin import Margin


class RampedMargin(Margin):
    """A share of a margin: logits are mixed from those without it and those with it.

    With `share` r the target is (1 - r) cosine + r own(cosine), and other classes likewise. That is CosFace with the
    margin r m exactly, and ArcFace with the angle r m to first order in m. A margin that adds a term to the loss
    (MagFace) adds it whole.

    Args:
        margin: in full.
        share: in [0, 1]; whoever trains sets it before each step, from the number of images seen alone.
    """

    def __init__(self, margin: Margin, *, share: float = 1.0) -> None:
        super().__init__(scale=margin.scale)
        self.margin = margin
        self.share = share

    def own(self, cosine: Tensor, norms: Tensor, /) -> Tensor:
        return self._mixed(cosine, self.margin.own(cosine, norms))

    def others(self, cosine: Tensor, own_cosine: Tensor, /) -> Tensor:
        return self._mixed(cosine, self.margin.others(cosine, own_cosine))

    def extra_loss(self, norms: Tensor, /) -> Tensor | None:
        return self.margin.extra_loss(norms)

    def settings(self) -> dict[str, bool | float | str | None]:
        return {name: value for name, value in super().settings().items() if name != "share"}  # that follows the run

    def _mixed(self, cosine: Tensor, moved: Tensor) -> Tensor:
        return moved if moved is cosine or self.share >= 1 else torch.lerp(cosine, moved, self.share)
