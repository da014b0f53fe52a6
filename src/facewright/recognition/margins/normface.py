"""NormFace: normalised embeddings and centres, no margin (Wang et al. 2017)."""

from torch import Tensor

from facewright.recognition.margins.margin import Margin


class NormFace(Margin):
    """Logits are scaled cosines; the scale is fixed.

    Args:
        scale: the paper's s.
    """

    def own(self, cosine: Tensor, _norms: Tensor, /) -> Tensor:
        return cosine
