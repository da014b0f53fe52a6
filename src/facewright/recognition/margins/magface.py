"""MagFace: long embeddings get a larger angular margin, and length itself is rewarded (Meng et al. 2021)."""

import math

from torch import Tensor

from facewright.errors import ConfigError
from facewright.recognition.margins.angles import add_angle
from facewright.recognition.margins.margin import Margin, check


class MagFace(Margin):
    """Target cos(theta + m(a)) with a the embedding's length and m linear in it; g(a) is added to the loss.

    Both carry a gradient to the length. The embeddings have to arrive as the network gives them, not normalised.

    Args:
        shortest, longest: lengths are clipped to [shortest, longest], the paper's l_a and u_a.
        smallest, largest: margins there, radians, in [0, pi / 2), the paper's l_m and u_m.
        length_weight: of g(a) = a / longest ** 2 + 1 / a, the paper's lambda_g.
        scale: the paper's s.
    """

    def __init__(
        self,
        *,
        shortest: float = 10.0,
        longest: float = 110.0,
        smallest: float = 0.45,
        largest: float = 0.8,
        length_weight: float = 35.0,
        scale: float = 64.0,
    ) -> None:
        super().__init__(scale=scale)
        check("shortest", shortest, above=0.0)
        check("smallest", smallest, least=0.0)
        check("largest", largest, least=smallest, below=math.pi / 2)
        check("length_weight", length_weight, least=0.0)
        if not longest > shortest:
            raise ConfigError(f"longest must exceed shortest, {shortest:g}, got {longest:g}")
        self.shortest = shortest
        self.longest = longest
        self.smallest = smallest
        self.largest = largest
        self.length_weight = length_weight

    def margins(self, norms: Tensor) -> Tensor:
        """The margins of embeddings of these lengths, radians."""
        slope = (self.largest - self.smallest) / (self.longest - self.shortest)
        return self.smallest + slope * (norms.clamp(self.shortest, self.longest) - self.shortest)

    def own(self, cosine: Tensor, norms: Tensor, /) -> Tensor:
        return add_angle(cosine, self.margins(norms).to(cosine.dtype), beyond="linear")

    def extra_loss(self, norms: Tensor, /) -> Tensor:
        lengths = norms.clamp(self.shortest, self.longest)
        return self.length_weight * (lengths / self.longest**2 + 1.0 / lengths)
