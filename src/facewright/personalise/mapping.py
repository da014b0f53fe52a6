"""The mapping network of Face2Diffusion (Shiohara & Yamasaki 2024): an identity becomes two word embeddings.

Module names follow the public checkpoint.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facewright.errors import ConfigError


@dataclass(frozen=True)
class MappingConfig:
    """Sizes; the defaults are the public model's."""

    identity_width: int = 1536  # of the multi-scale identity embedding
    expression_width: int = 64
    width: int = 1536  # of the hidden layers
    word_width: int = 768  # of the text encoder's token embeddings
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ConfigError(f"layers must be at least 1, got {self.layers}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")


class Branch(nn.Module):
    """The layers that make one word."""

    def __init__(self, config: MappingConfig) -> None:
        super().__init__()
        inputs = config.identity_width + config.expression_width
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Linear(config.width if layer else inputs, config.width),
                    nn.Dropout(config.dropout),
                    nn.LeakyReLU(0.2),
                )
                for layer in range(config.layers)
            )
        )
        self.fc_out = nn.Linear(config.width, config.word_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_out(self.layers(x))


class Mapping(nn.Module):
    """Identity, and where wanted an expression, to the two words that stand for a person in a prompt."""

    def __init__(self, config: MappingConfig | None = None) -> None:
        super().__init__()
        self.config = config or MappingConfig()
        self.null_exp = nn.Parameter(torch.zeros(self.config.expression_width))
        self.i2t_first = Branch(self.config)
        self.i2t_last = Branch(self.config)

    def forward(
        self, identity: Tensor, expression: Tensor | None = None, *, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The two words, (B, word_width) each.

        Args:
            identity: embeddings of the multi-scale identity encoder, (B, identity_width).
            expression: (B, expression_width), or None: the learned stand-in for every row.
            given: (B,), 1 where the expression counts and 0 where the stand-in does; None: all count.
        """
        if expression is None:
            expression = self.null_exp.expand(len(identity), -1)
        elif given is not None:
            share = given.to(expression.dtype)[:, None]
            expression = expression * share + self.null_exp * (1 - share)
        both = torch.cat([identity, expression], 1)
        return self.i2t_first(both), self.i2t_last(both)
