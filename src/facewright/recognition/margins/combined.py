"""Combined margin: SphereFace's factor, ArcFace's angle and CosFace's cosine at once (Deng et al. 2019, Eq. 4)."""

import math
from typing import Literal

from torch import Tensor

from facewright.errors import ConfigError
from facewright.recognition.margins.angles import add_angle, angle_of, straight_through
from facewright.recognition.margins.margin import Margin, check, check_choice

Form = Literal["paper", "arcface_torch"]


class CombinedMargin(Margin):
    """Target cos(factor * theta + angle) - cosine.

    Args:
        factor: the paper's m1, at least 1.
        angle: the paper's m2, radians, in [0, pi / 2).
        cosine: the paper's m3, in [0, 2).
        scale: the paper's s.
        hide_above: other classes whose cosine exceeds it are taken for the same person under another label, and their
            logits are 0 without gradient (arcface_torch's inter-class filtering); None: off.
        form: "paper" is the formula with its own gradient. "arcface_torch" is what that trainer computes: with a
            `cosine` margin CosFace alone, whatever the other two; otherwise ArcFace straight through, factor 1.
    """

    def __init__(
        self,
        *,
        factor: float = 1.0,
        angle: float = 0.5,
        cosine: float = 0.0,
        scale: float = 64.0,
        hide_above: float | None = None,
        form: Form = "paper",
    ) -> None:
        super().__init__(scale=scale)
        check("factor", factor, least=1.0)
        check("angle", angle, least=0.0, below=math.pi / 2)
        check("cosine", cosine, least=0.0, below=2.0)
        check_choice("form", form, ("paper", "arcface_torch"))
        if hide_above is not None:
            check("hide_above", hide_above, least=-1.0, below=1.0)
        if form == "arcface_torch" and factor != 1.0 and cosine == 0.0:
            raise ConfigError(f"arcface_torch has no factor other than 1, got {factor}; use form='paper'")
        self.factor = factor
        self.angle = angle
        self.cosine = cosine
        self.hide_above = hide_above
        self.form: Form = form

    def own(self, cosine: Tensor, _norms: Tensor, /) -> Tensor:
        if self.form == "arcface_torch" and self.cosine > 0:
            return cosine - self.cosine
        if self.factor != 1.0:
            return (self.factor * angle_of(cosine) + self.angle).cos() - self.cosine
        moved = add_angle(cosine, self.angle, beyond="none")
        return moved - self.cosine if self.form == "paper" else straight_through(moved, cosine)

    def others(self, cosine: Tensor, _own_cosine: Tensor, /) -> Tensor:
        return cosine if self.hide_above is None else cosine.masked_fill(cosine > self.hide_above, 0.0)
