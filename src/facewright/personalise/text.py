"""CLIP's text encoder (Radford et al. 2021) with words given as vectors, as Face2Diffusion puts a person into a prompt.

Module names follow the public checkpoints.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import ConfigError, InputError

ACTIVATIONS = ("quick_gelu", "gelu")


@dataclass(frozen=True)
class TextConfig:
    """Sizes; the defaults are those of CLIP ViT-L/14, the text encoder of Stable Diffusion 1."""

    vocabulary: int = 49_408
    length: int = 77  # tokens of a prompt
    width: int = 768
    hidden: int = 3072  # of the feed-forward layers
    layers: int = 12
    heads: int = 12
    activation: str = "quick_gelu"  # or gelu
    end_token: int = 49_407  # the first one in a prompt is where the pooled state is read

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"heads must divide width {self.width}, got {self.heads}")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"activation must be {' or '.join(ACTIVATIONS)}, got {self.activation!r}")


def insert_words(embeddings: Tensor, words: Tensor, *, positions: Tensor) -> Tensor:
    """Put word vectors in place of tokens; they carry no position embedding then, as in Face2Diffusion.

    Args:
        embeddings: of the tokens with their positions, (B, T, D), as from `TextEncoder.embed`.
        words: (B, K, D), such as the two words of `Mapping`.
        positions: (B,), index of the first of the K tokens that are replaced.

    Returns:
        A new (B, T, D).

    Raises:
        InputError: words lie outside the prompt.
    """
    count, length = words.shape[1], embeddings.shape[1]
    if bool((positions < 0).any()) or bool((positions + count > length).any()):
        raise InputError(f"{count} words at positions {positions.tolist()} do not fit into prompts of {length} tokens")
    rows = positions[:, None] + torch.arange(count, device=positions.device)
    return embeddings.scatter(1, rows[:, :, None].expand_as(words), words.to(embeddings.dtype))


class Attention(nn.Module):
    """Causal multi-head attention."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(config.width, config.width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Linear, GELU or its sigmoid approximation, linear."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.quick = config.activation == "quick_gelu"
        self.fc1 = nn.Linear(config.width, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h) if self.quick else F.gelu(h))


class Layer(nn.Module):
    """Attention and feed-forward, each behind a layer norm and added to its input."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.width)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _Embeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.length, config.width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class _Layers(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class _TextModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Layers(config)
        self.final_layer_norm = nn.LayerNorm(config.width)


class TextEncoder(nn.Module):
    """Token numbers to the states that condition a picture model."""

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__()
        self.config = config or TextConfig()
        self.text_model = _TextModel(self.config)

    def embed(self, ids: Tensor) -> Tensor:
        """Token and position embeddings, (B, T, D).

        Args:
            ids: token numbers, int64 (B, T), T at most `config.length`.
        """
        if ids.shape[1] > self.config.length:
            raise InputError(f"a prompt has at most {self.config.length} tokens, got {ids.shape[1]}; shorten it")
        return self.text_model.embeddings(ids)

    def forward(self, ids: Tensor, *, embeddings: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The last states (B, T, D), normed, and the one at each prompt's first end token, (B, D).

        Args:
            ids: token numbers, int64 (B, T).
            embeddings: what to encode in place of `embed(ids)`, such as the result of `insert_words`.
        """
        x = self.embed(ids) if embeddings is None else embeddings
        states = self.text_model.final_layer_norm(self.text_model.encoder(x))
        ends = (ids == self.config.end_token).int().argmax(1)
        return states, states[torch.arange(len(ids), device=ids.device), ends]
