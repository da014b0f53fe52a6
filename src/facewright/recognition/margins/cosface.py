"""CosFace: a margin on the cosine of the true class (Wang et al. 2018, Eq. 4)."""

from torch import Tensor

from facewright.recognition.margins.margin import Margin, check


class CosFace(Margin):
    """The true class's cosine counts as `margin` less.

    Args:
        margin: in [0, 2). 0.40 in TFace and arcface_torch, 0.35 in the paper and ElasticFace.
        scale: the paper's s.
    """

    def __init__(self, *, margin: float = 0.4, scale: float = 64.0) -> None:
        super().__init__(scale=scale)
        check("margin", margin, least=0.0, below=2.0)
        self.margin = margin

    def own(self, cosine: Tensor, _norms: Tensor, /) -> Tensor:
        return cosine - self.margin
