"""ElasticFace: the margin of each sample is drawn anew at each step (Boutros et al. 2022)."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from facewright.recognition.margins.angles import add_angle
from facewright.recognition.margins.margin import Margin, check, check_choice
from facewright.training.seeds import seed_of

Plus = Literal["rank", "published"]


class ElasticFace(Margin):
    """Margins from a normal distribution, one a sample.

    They depend on `seed` and the buffer `draws`, the number of batches seen, so that a resumed run and every process
    of a sharded head draw the same.

    Args:
        mean: of the margins.
        std: of the margins.
        scale: the paper's s.
        plus: the "+" variant gives small margins to samples near their class. "rank" does that; "published" is the
            order that the authors' code gives, which indexes the sorted margins by the sorting order of the cosines
            instead of by their rank and so shuffles them. None: margins stay as drawn.
        seed: of the margins.
        draw: gives the margins of a batch of this many samples, (B,), instead of the normal distribution.
    """

    draws: Tensor

    def __init__(
        self,
        *,
        mean: float,
        std: float,
        scale: float = 64.0,
        plus: Plus | None = None,
        seed: int = 0,
        draw: Callable[[int], Tensor] | None = None,
    ) -> None:
        super().__init__(scale=scale)
        check("mean", mean, least=0.0, below=2.0)
        check("std", std, least=0.0)
        check_choice("plus", plus, (None, "rank", "published"))
        self.mean = mean
        self.std = std
        self.plus: Plus | None = plus
        self.seed = seed
        self.draw = draw or self._normal
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def margins(self, own_cosine: Tensor) -> Tensor:
        """Draw the margins of a batch and share them out among its samples, (B,)."""
        margins = self.draw(len(own_cosine)).to(own_cosine)
        if self.training:
            self.draws += 1
        if self.plus is None:
            return margins
        margins, nearest = margins.sort().values, own_cosine.detach().argsort(descending=True)
        return margins[nearest] if self.plus == "published" else torch.empty_like(margins).scatter(0, nearest, margins)

    def own(self, cosine: Tensor, _norms: Tensor, /) -> Tensor:
        return self.moved(cosine, self.margins(cosine))

    @abstractmethod
    def moved(self, cosine: Tensor, margins: Tensor) -> Tensor:
        """Apply one margin a sample."""

    def _normal(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of("elasticface", self.seed, int(self.draws)))
        return self.mean + self.std * torch.randn(count, generator=generator)


class ElasticArcFace(ElasticFace):
    """ElasticFace-Arc: target cos(theta + margin) at every angle; the paper uses std 0.05, and 0.0175 with "+".

    Margins are radians; other arguments are those of `ElasticFace`.
    """

    def __init__(
        self,
        *,
        mean: float = 0.5,
        std: float = 0.05,
        scale: float = 64.0,
        plus: Plus | None = None,
        seed: int = 0,
        draw: Callable[[int], Tensor] | None = None,
    ) -> None:
        super().__init__(mean=mean, std=std, scale=scale, plus=plus, seed=seed, draw=draw)

    def moved(self, cosine: Tensor, margins: Tensor) -> Tensor:
        return add_angle(cosine, margins, beyond="none")


class ElasticCosFace(ElasticFace):
    """ElasticFace-Cos: target cosine - margin; the paper uses std 0.05, and 0.02 with "+".

    Arguments are those of `ElasticFace`.
    """

    def __init__(
        self,
        *,
        mean: float = 0.35,
        std: float = 0.05,
        scale: float = 64.0,
        plus: Plus | None = None,
        seed: int = 0,
        draw: Callable[[int], Tensor] | None = None,
    ) -> None:
        super().__init__(mean=mean, std=std, scale=scale, plus=plus, seed=seed, draw=draw)

    def moved(self, cosine: Tensor, margins: Tensor) -> Tensor:
        return cosine - margins
