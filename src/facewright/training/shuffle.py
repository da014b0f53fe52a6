"""Endless shuffled order of samples that can start anywhere."""

import torch
from torch import Tensor

from facewright.training.seeds import seed_of


class EndlessShuffle:
    """Every epoch is a fresh permutation that depends on (seed, epoch) alone.

    `take(start, count)` gives samples start ... start + count - 1 of the endless order, so a resumed run sees exactly
    what the unbroken run would have seen.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        if length < 1:
            raise ValueError("cannot shuffle an empty set")
        self.length = length
        self.seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def take(self, start: int, count: int) -> Tensor:
        """Indices (count,), int64."""
        parts = []
        while count > 0:
            epoch, offset = divmod(start, self.length)
            if epoch != self._epoch:
                generator = torch.Generator().manual_seed(seed_of("epoch", self.seed, epoch))
                self._order, self._epoch = torch.randperm(self.length, generator=generator), epoch
            part = self._order[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(parts)
