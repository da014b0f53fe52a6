"""MSID, the multi-scale identity encoder of Face2Diffusion (Shiohara & Yamasaki 2024), with its keys.

Input (B, 3, 112, 112), RGB in [-1, 1]; output (B, 384 a tap), the class token after several blocks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facewright.encoders.vit import Block, PatchEmbedding
from facewright.errors import ConfigError

WIDTH, DEPTH, HEADS, PATCH, IMAGE_SIZE = 384, 12, 12, 8, 112
TAPS = (2, 5, 8, 11)


class MSID(nn.Module):
    """A small vision transformer whose class token is read after the blocks `taps`, each through norms of its own.

    Args:
        taps: blocks, counted from 0, after which the token is normed (batch norm, then layer norm) and given out.
    """

    def __init__(self, taps: Sequence[int] = TAPS) -> None:
        super().__init__()
        self.taps = tuple(taps)
        _check(self.taps)
        tokens = (IMAGE_SIZE // PATCH) ** 2 + 1
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, WIDTH))
        self.patch_embed = PatchEmbedding(WIDTH, PATCH)
        self.blocks = nn.ModuleList(
            Block(WIDTH, HEADS, qkv_bias=True, activation=nn.GELU(), epsilon=1e-6) for _ in range(DEPTH)
        )
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)  # in every published file, applied by no published code
        self.norms = nn.ModuleDict(
            {f"layer_{tap}": nn.Sequential(nn.BatchNorm1d(WIDTH), nn.LayerNorm(WIDTH)) for tap in self.taps}
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, taps: Sequence[int] | None = None) -> Tensor:
        """The class token after each tap, joined in the order of the blocks.

        Args:
            x: crops, (B, 3, 112, 112).
            taps: blocks to read; a token from a block without norms of its own is given out as it is. None: the
                blocks that have norms.

        Returns:
            (B, 384 * number of taps), not normalised to unit length.
        """
        wanted = self.taps if taps is None else tuple(taps)
        _check(wanted)
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        read = []
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x)
            if index in wanted:
                name = f"layer_{index}"
                read.append(self.norms[name](x[:, 0]) if name in self.norms else x[:, 0])
        return torch.cat(read, 1)


def _check(taps: tuple[int, ...]) -> None:
    if not taps or sorted(set(taps)) != list(taps) or not 0 <= taps[0] <= taps[-1] < DEPTH:
        raise ConfigError(f"taps must be rising block numbers from 0 to {DEPTH - 1}, got {taps}")
