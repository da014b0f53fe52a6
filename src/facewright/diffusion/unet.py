"""The denoiser of IDiff-Face: a U-Net on latents, conditioned on time and on an identity embedding (AdaGN form).

Module names follow the public checkpoints. Level widths are cumulative: each multiplier multiplies the previous width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import ConfigError

GROUPS = 32
HEAD_WIDTH = 32


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
    partial_dropout: float = 0.25  # contextual partial dropout (CPD)

    def __post_init__(self) -> None:
        if len(self.multipliers) != len(self.attention):
            raise ConfigError("multipliers and attention must have one entry a level")
        if self.width % GROUPS:
            raise ConfigError(f"width must be a multiple of {GROUPS}, got {self.width}")
        if not 0 <= self.partial_dropout < 1:
            raise ConfigError(f"partial_dropout must be in [0, 1), got {self.partial_dropout}")


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
        return self.lin2(F.silu(self.lin1(waves)))


class AdaptiveNorm(nn.Module):
    """Group norm, then the given scale and shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return self.norm(x) * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """Two convolutions; time and context scale and shift the second norm."""

    def __init__(self, inputs: int, outputs: int, *, time_width: int, context_width: int | None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb = nn.Sequential(nn.SiLU(), nn.Linear(time_width, outputs))
        self.context_emb = (
            None if context_width is None else nn.Sequential(nn.SiLU(), nn.Linear(context_width, outputs))
        )
        self.scale_emb = nn.Linear(outputs, outputs)
        self.shift_emb = nn.Linear(outputs, outputs)
        self.norm2 = AdaptiveNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        e = self.time_emb(time)
        if self.context_emb is not None:
            e = e + self.context_emb(context)
        h = self.norm2(h, self.scale_emb(e)[:, :, None, None], self.shift_emb(e)[:, :, None, None])
        return self.shortcut(x) + self.conv2(F.silu(h))


class Heads(nn.Module):
    """Multi-head attention over positions, (B, C, L) to (B, C, L), with 32 channels a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.proj_out = (nn.Conv1d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(1, (-1, HEAD_WIDTH)).transpose(2, 3)

        y = F.scaled_dot_product_attention(split(self.to_q(x)), split(self.to_k(x)), split(self.to_v(x)))
        return self.proj_out(y.transpose(2, 3).flatten(1, 2))


class SelfAttention(nn.Module):
    """Group norm, attention over all positions, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.attention = Heads(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x.flatten(2))).view_as(x)


class Level(nn.Module):
    """A residual block and, at some resolutions, attention."""

    def __init__(self, inputs: int, outputs: int, *, attention: bool, time_width: int, context: int | None) -> None:
        super().__init__()
        self.res = ResidualBlock(inputs, outputs, time_width=time_width, context_width=context)
        self.attn = SelfAttention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        return self.attn(self.res(x, time, context))


class Downsample(nn.Module):
    """Half the resolution by a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 2, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the resolution by a transposed convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(width, width, 4, 2, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        return self.conv(x)


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, width: int, *, time_width: int, context: int | None) -> None:
        super().__init__()
        self.res1 = ResidualBlock(width, width, time_width=time_width, context_width=context)
        self.attn = SelfAttention(width)
        self.res2 = ResidualBlock(width, width, time_width=time_width, context_width=context)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None) -> Tensor:
        return self.res2(self.attn(self.res1(x, time, context)), time, context)


class ConditionalUNet(nn.Module):
    """Predicts the noise in a latent, given its time and the identity embedding.

    Contextual partial dropout zeroes single components of the projected context while training (one mask for all
    blocks, kept components scaled by 1 / (1 - p)); with no context, or where `drop` is set, the projected context is
    zero, which is what classifier-free guidance compares with.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, time_width = config.width, 4 * config.width
        context = None if config.context_inputs is None else config.context_width
        self.time_emb = TimeEmbedding(width)
        self.context_emb = None if config.context_inputs is None else nn.Linear(config.context_inputs, config.context_width)
        self.partial_dropout = nn.Dropout(config.partial_dropout)
        self.image_proj = nn.Conv2d(config.channels, width, 3, padding=1)
        shared = {"time_width": time_width, "context": context}

        down: list[nn.Module] = []
        for level, multiplier in enumerate(config.multipliers):
            outputs = width * multiplier
            for _ in range(config.blocks):
                down.append(Level(width, outputs, attention=config.attention[level], **shared))  # type: ignore[arg-type]
                width = outputs
            if level < len(config.multipliers) - 1:
                down.append(Downsample(width))
        self.down = nn.ModuleList(down)
        self.middle = Middle(width, **shared)  # type: ignore[arg-type]

        up: list[nn.Module] = []
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            attention, lower = config.attention[level], width // multiplier
            for _ in range(config.blocks):
                up.append(Level(2 * width, width, attention=attention, **shared))  # type: ignore[arg-type]
            up.append(Level(width + lower, lower, attention=attention, **shared))  # type: ignore[arg-type]
            width = lower
            if level > 0:
                up.append(Upsample(width))
        self.up = nn.ModuleList(up)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.final = nn.Conv2d(width, config.channels, 3, padding=1)
        nn.init.zeros_(self.final.weight)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]

    def project(self, context: Tensor | None, *, count: int, drop: Tensor | None = None) -> Tensor | None:
        """Project embeddings (B, D) to (B, context_width), with the dropouts of training; None: the empty context."""
        if self.context_emb is None:
            return None
        if context is None:
            return self.context_emb.weight.new_zeros(count, self.config.context_width)
        projected = self.context_emb(context)
        if drop is not None:
            projected = torch.where(drop[:, None], 0.0, projected)
        return self.partial_dropout(projected)

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
        h = self.image_proj(x)
        skips = [h]
        for module in self.down:
            h = module(h, t, c)
            skips.append(h)
        h = self.middle(h, t, c)
        for module in self.up:
            if isinstance(module, Level):
                h = torch.cat([h, skips.pop()], 1)
            h = module(h, t, c)
        return self.final(F.silu(self.norm(h)))
