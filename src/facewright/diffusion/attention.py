"""Attention blocks of the denoiser: over the positions of a feature map, and to tokens made from the identity.

Module names follow the public IDiff-Face checkpoints.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from facewright.training.norms import GroupNorm

GROUPS = 32


class Heads(nn.Module):
    """Multi-head attention of positions (B, L, C) to themselves, or to tokens (B, T, D) where those are given.

    The projections are kept as the public checkpoints have them, as convolutions over one position.
    """

    def __init__(self, width: int, *, head_width: int = 32, token_width: int | None = None) -> None:
        super().__init__()
        self.head_width = head_width
        source = width if token_width is None else token_width
        self.to_q, self.to_k, self.to_v, self.proj_out = (
            nn.Conv1d(inputs, width, 1) for inputs in (width, source, source, width)
        )

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        def split(layer: nn.Conv1d, y: Tensor) -> Tensor:
            return _projected(layer, y).unflatten(2, (-1, self.head_width)).transpose(1, 2)

        source = x if tokens is None else tokens
        y = F.scaled_dot_product_attention(split(self.to_q, x), split(self.to_k, source), split(self.to_v, source))
        return _projected(self.proj_out, y.transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """Group norm, attention over all positions, added to the input."""

    def __init__(self, width: int, *, head_width: int = 32) -> None:
        super().__init__()
        self.norm = GroupNorm(GROUPS, width)
        self.attention = Heads(width, head_width=head_width)

    def forward(self, x: Tensor) -> Tensor:
        return x + _map_of(self.attention(_positions_of(self.norm(x))), like=x)


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
        tokens = self.c_norm(self.c_proj_in(context).unflatten(1, (-1, self.head_width))).transpose(1, 2)
        h = _positions_of(self.x_proj_in(x))
        h = h + self.self_attention(self._norm(h, x))
        h = h + self.cross_attention(self._norm(h, x), tokens)
        h = h + self.ff(self._norm(h, x))
        return x + self.x_proj_out(_map_of(h, like=x))

    def _norm(self, h: Tensor, x: Tensor) -> Tensor:
        return _positions_of(self.x_norm(_map_of(h, like=x)))


def _positions_of(x: Tensor) -> Tensor:
    """A map (B, C, H, W) as its positions (B, H W, C), which costs nothing where it is in channels-last."""
    return x.flatten(2).transpose(1, 2).contiguous()


def _map_of(positions: Tensor, *, like: Tensor) -> Tensor:
    """Positions (B, H W, C) as a map (B, C, H, W) of the size of another, in channels-last."""
    return positions.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def _projected(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution over one position, of (B, L, C); as a matrix product it is faster, above all in bfloat16."""
    return F.linear(x, layer.weight.squeeze(2), layer.bias)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weight and bias 0, for the end of a branch that shall begin without effect."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
