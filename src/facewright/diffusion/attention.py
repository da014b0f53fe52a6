"""Attention blocks of the denoiser: over the positions of a feature map, and to tokens made from the identity.

Module names follow the public IDiff-Face checkpoints.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from facewright.training.norms import GroupNorm

GROUPS = 32


class Heads(nn.Module):
    """Multi-head attention of positions (B, C, L) to themselves, or to tokens (B, D, T) where those are given."""

    def __init__(self, width: int, *, head_width: int = 32, token_width: int | None = None) -> None:
        super().__init__()
        self.head_width = head_width
        source = width if token_width is None else token_width
        self.to_q, self.to_k, self.to_v, self.proj_out = (
            nn.Conv1d(inputs, width, 1) for inputs in (width, source, source, width)
        )

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(1, (-1, self.head_width)).transpose(2, 3)

        source = x if tokens is None else tokens
        y = F.scaled_dot_product_attention(split(self.to_q(x)), split(self.to_k(source)), split(self.to_v(source)))
        return self.proj_out(y.transpose(2, 3).flatten(1, 2))


class SelfAttention(nn.Module):
    """Group norm, attention over all positions, added to the input."""

    def __init__(self, width: int, *, head_width: int = 32) -> None:
        super().__init__()
        self.norm = GroupNorm(GROUPS, width)
        self.attention = Heads(width, head_width=head_width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x.flatten(2))).view_as(x)


class ContextAttention(nn.Module):
    """Self-attention, attention to the context and a feed-forward layer, added to the input (IDiff-Face).

    The context becomes as many tokens as a head has channels. One group norm serves all three steps. The last
    convolution begins at zero, so an untrained block passes its input on.
    """

    def __init__(self, width: int, *, context_width: int, head_width: int = 32) -> None:
        super().__init__()
        self.x_proj_in = nn.Conv2d(width, width, 1)
        self.c_proj_in = nn.Linear(context_width, context_width * head_width)
        self.x_norm = GroupNorm(GROUPS, width)
        self.c_norm = GroupNorm(GROUPS, context_width)
        self.self_attention = Heads(width, head_width=head_width)
        self.cross_attention = Heads(width, head_width=head_width, token_width=context_width)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.x_proj_out = zeroed(nn.Conv2d(width, width, 1))
        self.head_width = head_width

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W) and the projected context (B, D) to (B, C, H, W)."""
        tokens = self.c_norm(self.c_proj_in(context).unflatten(1, (-1, self.head_width)))
        h = self.x_proj_in(x).flatten(2)
        h = h + self.self_attention(self.x_norm(h))
        h = h + self.cross_attention(self.x_norm(h), tokens)
        h = h + self.ff(self.x_norm(h).transpose(1, 2)).transpose(1, 2)
        return x + self.x_proj_out(h.view_as(x))


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weight and bias 0, for the end of a branch that shall begin without effect."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
