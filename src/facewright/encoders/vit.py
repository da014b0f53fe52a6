"""The face transformers of arcface_torch, with their keys: no class token, all tokens feed the embedding.

Input (B, 3, 112, 112), RGB in [-1, 1]; output (B, embedding), not normalised.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import ConfigError

HEADS = 8
PATCH = 9  # 12 x 12 patches of a crop; its last 4 rows and columns are not seen
SIZES = {"vit_t": (256, 12), "vit_s": (512, 12), "vit_b": (512, 24), "vit_l": (768, 24), "vit_h": (1024, 48)}


class PatchEmbedding(nn.Module):
    """Cut the picture into patches and project each, (B, 3, H, W) to (B, T, D)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention over tokens."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = activation
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each after a layer norm and added to its input; `drop` leaves a sample's branch out."""

    def __init__(
        self, width: int, heads: int, *, qkv_bias: bool, activation: nn.Module, epsilon: float, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = Attention(width, heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = Mlp(width, activation)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._dropped(self.attn(self.norm1(x)))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, branch: Tensor) -> Tensor:
        """Stochastic depth (Huang et al. 2016): while training, zero whole samples and scale up the others."""
        if not self.training or self.drop == 0:
            return branch
        keep = branch.new_empty(len(branch), 1, 1).bernoulli_(1 - self.drop)
        return branch * keep / (1 - self.drop)


class FaceTransformer(nn.Module):
    """A plain transformer over 144 patches whose normed tokens are joined and projected twice.

    Args:
        width: D; a multiple of the 8 heads.
        depth: blocks.
        embedding: width of the output.
        image_size: pixels.
        drop_path: share of branches left out while training, rising linearly to this value over the depth.
        masked: share of tokens left out while training; the learned mask token stands in for them at the end.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        *,
        embedding: int = 512,
        image_size: int = 112,
        drop_path: float = 0.0,
        masked: float = 0.0,
    ) -> None:
        super().__init__()
        if width % HEADS:
            raise ConfigError(f"width must be a multiple of the {HEADS} heads, got {width}")
        if not (0 <= drop_path < 1 and 0 <= masked < 1):
            raise ConfigError(f"drop_path and masked must be in [0, 1), got {drop_path} and {masked}")
        tokens = (image_size // PATCH) ** 2
        self.masked = masked
        self.patch_embed = PatchEmbedding(width, PATCH)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(
            Block(
                width,
                HEADS,
                qkv_bias=False,
                activation=nn.ReLU6(),
                epsilon=1e-5,
                drop=drop_path * index / max(depth - 1, 1),
            )
            for index in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(tokens * width, width, bias=False),
            nn.BatchNorm1d(width, eps=2e-5),
            nn.Linear(width, embedding, bias=False),
            nn.BatchNorm1d(embedding, eps=2e-5),
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch of crops."""
        x = self.patch_embed(x) + self.pos_embed
        kept = self._kept_tokens(x) if self.training and self.masked else None
        tokens = x if kept is None else x.gather(1, kept)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        if kept is not None:
            tokens = self.mask_token.to(tokens.dtype).expand_as(x).scatter(1, kept, tokens)
        return self.feature(tokens.flatten(1))

    def _kept_tokens(self, x: Tensor) -> Tensor:
        """Index of the tokens that are not masked, at random for each sample, (B, K, D)."""
        count = int(x.shape[1] * (1 - self.masked))
        order = torch.rand(x.shape[:2], device=x.device).argsort(1)
        return order[:, :count, None].expand(-1, -1, x.shape[2])


NETWORKS: dict[str, Callable[[], nn.Module]] = {name: partial(FaceTransformer, *size) for name, size in SIZES.items()}
