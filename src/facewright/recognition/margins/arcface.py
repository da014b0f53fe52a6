"""ArcFace: an additive angular margin on the true class (Deng et al. 2019, Eq. 3)."""

import math

from torch import Tensor

from facewright.recognition.margins.angles import BEYOND, GRADIENTS, Beyond, Gradient, add_angle, straight_through
from facewright.recognition.margins.margin import Margin, check, check_choice


class ArcFace(Margin):
    """Each sample is pushed away from its own class by an angle.

    arcface_torch's published runs are `beyond="none", gradient="straight-through"`.

    Args:
        margin: radians, in [0, pi / 2).
        scale: the paper's s.
        beyond: what happens past theta + margin = pi, see `add_angle`.
        gradient: "exact" is the gradient of the value. "straight-through" is that of scale * cosine, as published by
            arcface_torch: it never blows up near +-1 and never changes sign, but does not belong to the value.
    """

    def __init__(
        self,
        *,
        margin: float = 0.5,
        scale: float = 64.0,
        beyond: Beyond = "linear",
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__(scale=scale)
        check("margin", margin, least=0.0, below=math.pi / 2)
        check_choice("beyond", beyond, BEYOND)
        check_choice("gradient", gradient, GRADIENTS)
        self.margin = margin
        self.beyond: Beyond = beyond
        self.gradient: Gradient = gradient

    def own(self, cosine: Tensor, _norms: Tensor, /) -> Tensor:
        moved = add_angle(cosine, self.margin, beyond=self.beyond)
        return moved if self.gradient == "exact" else straight_through(moved, cosine)
