"""What every margin is: two functions of cosines, so that the classes may lie in one table or be split in many."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from facewright.errors import ConfigError


class Margin(nn.Module, ABC):
    """Cosines, labels and embedding norms to logits; what changes while training is a buffer.

    A margin says what becomes of a sample's cosine to its own class (`own`) and to the others (`others`). No step
    needs all classes at once, so a head may hold a share or a sample of them.
    """

    def __init__(self, *, scale: float = 64.0) -> None:
        super().__init__()
        check("scale", scale, above=0.0)
        self.scale = scale

    @abstractmethod
    def own(self, cosine: Tensor, norms: Tensor, /) -> Tensor:
        """Target logits before scaling; moves the running state on, when training.

        Args:
            cosine: of each sample to its own class, (B,), in [-1, 1], for the batch of all processes.
            norms: lengths of the embeddings, (B,).

        Returns:
            (B,).
        """

    def others(self, cosine: Tensor, _own_cosine: Tensor, /) -> Tensor:
        """Logits of the other classes before scaling; called after `own`.

        Args:
            cosine: to any classes, (B, C). In the column of the own class the result does not count.
            _own_cosine: of each sample to its own class, (B,), as `own` was given it.

        Returns:
            (B, C).
        """
        return cosine

    def extra_loss(self, _norms: Tensor, /) -> Tensor | None:
        """What is added to each sample's cross-entropy, (B,), given the embeddings' lengths (B,); None: nothing."""
        return None

    def settings(self) -> dict[str, bool | float | str | None]:
        """The plain values that it was built with, by name: what tells two margins of one class apart."""
        plain = {name: value for name, value in vars(self).items() if name != "training" and not name.startswith("_")}
        return {name: value for name, value in plain.items() if isinstance(value, bool | int | float | str | None)}

    def forward(self, cosine: Tensor, labels: Tensor, norms: Tensor, *, own_cosine: Tensor | None = None) -> Tensor:
        """Scaled logits.

        Args:
            cosine: embedding to class-centre cosines, (B, C), in [-1, 1], C at least 1.
            labels: column of each sample's own class, (B,), int64; -1 where it is not among the columns.
            norms: lengths of the embeddings, (B,).
            own_cosine: cosines to the own classes, (B,); needed where a label is -1.

        Returns:
            Logits, (B, C).
        """
        if own_cosine is None:
            own_cosine = cosine.gather(1, labels[:, None])[:, 0]
            moved = self.own(own_cosine, norms)[:, None]
            return self.scale * self.others(cosine, own_cosine).scatter(1, labels[:, None], moved)
        moved = self.own(own_cosine, norms)
        logits = self.others(cosine, own_cosine)
        columns = labels.clamp_min(0)[:, None]
        values = torch.where(labels[:, None] >= 0, moved[:, None], logits.gather(1, columns))
        return self.scale * logits.scatter(1, columns, values)


def check(
    name: str, value: float, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> None:
    """Raise a ConfigError unless `value` is a number with least <= value, above < value and value < below."""
    if not (least <= value < below and value > above):
        low = f"[{least:g}" if least > above else f"({above:g}"
        raise ConfigError(f"{name} must be in {low}, {below:g}), got {value}")


def check_choice(name: str, value: str | None, known: tuple[str | None, ...]) -> None:
    """Raise a ConfigError unless `value` is one of `known`."""
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
