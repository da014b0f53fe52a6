"""Which classes a process holds, and the centres they begin with."""

from dataclasses import dataclass

import torch
from torch import Tensor

from facewright.errors import ConfigError
from facewright.training.seeds import seed_of

SPREAD = 0.01  # standard deviation that centres begin with, as in all public trainers
BLOCK = 4096  # classes whose first centres are drawn together


@dataclass(frozen=True)
class Share:
    """The classes start ... stop - 1 of `classes`."""

    classes: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= self.classes:
            raise ConfigError(
                f"a share of {self.classes} classes cannot be {self.start} ... {self.stop - 1}; every process needs at "
                "least one class: use fewer processes"
            )

    @classmethod
    def of(cls, classes: int, rank: int, count: int) -> "Share":
        """One of `count` contiguous shares; the first ones hold a class more where the division leaves a rest."""
        size, rest = divmod(classes, count)
        start = rank * size + min(rank, rest)
        return cls(classes, start, start + size + (rank < rest))

    def __len__(self) -> int:
        return self.stop - self.start

    def columns(self, labels: Tensor) -> Tensor:
        """Places of these classes (B,) within the share, -1 for classes of other shares."""
        return torch.where((labels >= self.start) & (labels < self.stop), labels - self.start, -1)


def first_centres(share: Share, width: int, *, seed: int) -> Tensor:
    """Normal centres (len(share), width) that depend on seed and class alone, not on how the classes are split."""
    centres = torch.empty(len(share), width)
    for block in range(share.start // BLOCK, (share.stop - 1) // BLOCK + 1):
        generator = torch.Generator().manual_seed(seed_of("class centres", seed, block))
        rows = torch.randn(BLOCK, width, generator=generator)
        low, high = max(share.start, block * BLOCK), min(share.stop, (block + 1) * BLOCK)
        centres[low - share.start : high - share.start] = rows[low - block * BLOCK : high - block * BLOCK]
    return centres.mul_(SPREAD)
