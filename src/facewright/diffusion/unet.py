"""The denoiser of IDiff-Face: a U-Net on latents, conditioned on time and on an identity embedding.

The embedding enters by the scale and shift of group norms ("adagn") or by attention ("cross-attention"). Module names
follow the public checkpoints. Level widths are cumulative: each multiplier multiplies the previous width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.diffusion.attention import GROUPS, ContextAttention, SelfAttention, zeroed
from facewright.diffusion.begun import holding
from facewright.errors import ConfigError
from facewright.training.norms import GroupNorm

CONDITIONS = ("adagn", "cross-attention")


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a denoiser; the defaults are the bundled generator's."""

    channels: int = 8  # of the latent
    width: int = 64  # of the first level
    multipliers: tuple[int, ...] = (1, 2, 2)
    attention: tuple[bool, ...] = (False, True, True)
    blocks: int = 2  # residual blocks a level on the way down; one more on the way up
    context_inputs: int | None = 512  # width of the identity embedding; None: unconditional
    context_width: int = 256  # width of the projected context
    context_scale: float = 1.0  # multiplies the unit embedding, whose components are otherwise near 0.04
    partial_dropout: float = 0.25  # contextual partial dropout (CPD)
    condition: str = "adagn"  # how the context enters: adagn or cross-attention
    head_width: int = 32  # channels of an attention head
    learn_empty_context: bool = False  # learn what stands for a missing context; otherwise zero

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ConfigError(f"condition must be {' or '.join(CONDITIONS)}, got {self.condition!r}")
        if self.context_inputs is None and (self.condition == "cross-attention" or self.learn_empty_context):
            raise ConfigError("without context_inputs there is no context to attend to or to learn; set context_inputs")
        if self.condition == "cross-attention" and self.context_width % GROUPS:
            raise ConfigError(f"context_width must be a multiple of {GROUPS}, got {self.context_width}")
        if len(self.multipliers) != len(self.attention):
            raise ConfigError("multipliers and attention must have one entry a level")
        if self.width % GROUPS:
            raise ConfigError(f"width must be a multiple of {GROUPS}, got {self.width}")
        if self.head_width < 1 or self.width % self.head_width:
            raise ConfigError(f"head_width must divide width {self.width}, got {self.head_width}")
        if not 0 <= self.partial_dropout < 1:
            raise ConfigError(f"partial_dropout must be in [0, 1), got {self.partial_dropout}")


def published_config(condition: str | None = "cross-attention") -> UNetConfig:
    """Sizes of the public IDiff-Face denoisers; condition None is the unconditional one."""
    return UNetConfig(
        channels=3,
        width=96,
        multipliers=(1, 2, 2, 2),
        attention=(False, True, True, True),
        context_inputs=None if condition is None else 512,
        condition=condition or "adagn",
    )


class TimeEmbedding(nn.Module):
    """Sinusoids of the integer time (cosines first), then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.lin1 = nn.Linear(width, 4 * width)
        self.lin2 = nn.Linear(4 * width, 4 * width)

    def forward(self, times: Tensor) -> Tensor:
        """times (B,) to (B, 4 * width)."""
        half = self.width // 2
        steps = torch.arange(half, dtype=torch.float32, device=times.device)
        angles = times.float()[:, None] * torch.exp(-math.log(10_000.0) * steps / half)
        waves = torch.cat([angles.cos(), angles.sin()], 1)
        return self.lin2(F.silu(self.lin1(waves.to(self.lin1.weight.dtype))))


class AdaptiveNorm(nn.Module):
    """Group norm, then the given scale and shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = GroupNorm(GROUPS, width)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return self.norm(x) * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """Two convolutions; time, and in the adagn form the context, scale and shift the second norm."""

    def __init__(self, inputs: int, outputs: int, config: UNetConfig) -> None:
        super().__init__()
        scaled = config.context_inputs is not None and config.condition == "adagn"
        self.norm1 = GroupNorm(GROUPS, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.width, outputs))
        self.context_emb = nn.Sequential(nn.SiLU(), nn.Linear(config.context_width, outputs)) if scaled else None
        self.scale_emb = nn.Linear(outputs, outputs)
        self.shift_emb = nn.Linear(outputs, outputs)
        self.norm2 = AdaptiveNorm(outputs)
        self.conv2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut: nn.Module = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        e = self.time_emb(time)
        if self.context_emb is not None:
            e = e + self.context_emb(context)
        h = self.norm2(h, self.scale_emb(e)[:, :, None, None], self.shift_emb(e)[:, :, None, None])
        return self.shortcut(x) + self.conv2(F.silu(h))


class Level(nn.Module):
    """A residual block and, at some resolutions, attention."""

    def __init__(self, inputs: int, outputs: int, config: UNetConfig, *, attention: bool) -> None:
        super().__init__()
        self.res = ResidualBlock(inputs, outputs, config)
        self.attn = _attention(outputs, config) if attention else None

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        return _attend(self.attn, self.res(x, time, context), context)


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, width: int, config: UNetConfig) -> None:
        super().__init__()
        self.res1 = ResidualBlock(width, width, config)
        self.attn = _attention(width, config)
        self.res2 = ResidualBlock(width, width, config)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        return self.res2(_attend(self.attn, self.res1(x, time, context), context), time, context)


def _attention(width: int, config: UNetConfig) -> SelfAttention | ContextAttention:
    if config.condition == "cross-attention":
        return ContextAttention(width, context_width=config.context_width, head_width=config.head_width)
    return SelfAttention(width, head_width=config.head_width)


def _attend(block: SelfAttention | ContextAttention | None, x: Tensor, context: Tensor | None) -> Tensor:
    if block is None:
        return x
    return block(x, context) if isinstance(block, ContextAttention) else block(x)


class Downsample(nn.Module):
    """Half the resolution by a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the resolution by a transposed convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(width, width, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DescendingPath(nn.Module):
    """The first half of the U-Net: time and context embeddings, the way down and the middle.

    Contextual partial dropout zeroes single components of the projected context while training (one mask for all
    blocks, kept components scaled by 1 / (1 - p)).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.time_emb = TimeEmbedding(width)
        self.context_emb = (
            None if config.context_inputs is None else nn.Linear(config.context_inputs, config.context_width)
        )
        self.empty_context_embedding = (
            nn.Parameter(torch.zeros(config.context_width)) if config.learn_empty_context else None
        )
        self.partial_dropout = nn.Dropout(config.partial_dropout)
        self.image_proj = nn.Conv2d(config.channels, width, 3, padding=1)
        down: list[nn.Module] = []
        widths = [width]
        for level, multiplier in enumerate(config.multipliers):
            outputs = width * multiplier
            for _ in range(config.blocks):
                down.append(Level(width, outputs, config, attention=config.attention[level]))
                width = outputs
                widths.append(width)
            if level < len(config.multipliers) - 1:
                down.append(Downsample(width))
                widths.append(width)
        self.down = nn.ModuleList(down)
        self.map_widths = tuple(widths)  # of the stem and of the maps after every module of the way down
        self.middle = Middle(width, config)

    def project(
        self, context: Tensor | None, *, count: int, drop: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor | None:
        """Project embeddings to the context of the blocks, with the dropouts of training.

        Args:
            context: identity embeddings, (B, D), or None for the empty context, which is zero unless it is learned.
            count: B.
            drop: (B,) bool, rows that get the empty context.
            keep: (B, context_width), factors to use in place of a fresh mask of partial dropout.

        Returns:
            (B, context_width), or None where the network has no context.
        """
        if self.context_emb is None:
            return None
        empty = self.empty_context_embedding
        if context is None:
            if empty is not None:
                return empty.expand(count, -1)
            return self.context_emb.weight.new_zeros(count, self.config.context_width)
        projected = self.context_emb(context * self.config.context_scale)
        if drop is not None:
            projected = torch.where(drop[:, None], 0.0 if empty is None else empty, projected)
        return self.partial_dropout(projected) if keep is None else projected * keep

    def descend(self, h: Tensor, time: Tensor, context: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """From the stem to the maps after it and after every module of the way down, and the middle's map."""
        maps = [h]
        for module in self.down:
            h = module(h, time, context) if isinstance(module, Level) else module(h)
            maps.append(h)
        return maps, self.middle(h, time, context)


class ConditionalUNet(DescendingPath):
    """Predicts the noise in a latent, given its time and the identity embedding.

    With no context, or where `drop` is set, the projected context is empty, which is what classifier-free guidance
    compares with.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        width = config.width * math.prod(config.multipliers)
        up: list[nn.Module] = []
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            attention, lower = config.attention[level], width // multiplier
            for _ in range(config.blocks):
                up.append(Level(2 * width, width, config, attention=attention))
            up.append(Level(width + lower, lower, config, attention=attention))
            width = lower
            if level > 0:
                up.append(Upsample(width))
        self.up = nn.ModuleList(up)
        self.norm = GroupNorm(GROUPS, width)
        self.final = zeroed(nn.Conv2d(width, config.channels, 3, padding=1))

    def ascend(self, h: Tensor, maps: list[Tensor], time: Tensor, context: Tensor | None) -> Tensor:
        """From the middle's map and those of the way down to the noise estimate."""
        skips = list(maps)
        for module in self.up:
            h = module(torch.cat([h, skips.pop()], 1), time, context) if isinstance(module, Level) else module(h)
        return self.final(F.silu(self.norm(h)))

    def forward(self, x: Tensor, times: Tensor, context: Tensor | None = None, *, drop: Tensor | None = None) -> Tensor:
        """Noise estimate, (B, C, H, W).

        Args:
            x: noisy latents, (B, C, H, W).
            times: integer times, (B,).
            context: identity embeddings, (B, D), or None for the empty context.
            drop: (B,) bool, rows whose whole context is left out.
        """
        c = self.project(context, count=len(x), drop=drop)
        t = self.time_emb(times)
        maps, middle = self.descend(self.image_proj(x), t, c)
        return self.ascend(middle, maps, t, c)


def unet_with(config: UNetConfig, state: Mapping[str, Tensor]) -> ConditionalUNet:
    """The network with these weights, copied, in eval mode and the layout that convolutions like."""
    return holding(ConditionalUNet(config), state)
