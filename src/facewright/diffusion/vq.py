"""The VQ-f4 autoencoder of latent diffusion (Rombach et al. 2022) in two halves, as IDiff-Face splits it.

Pictures are RGB in [-1, 1] and four times as wide and high as the latents. Diffusion works on the encoder's continuous
output, unscaled; the decoder first replaces every position by the nearest of its codes. Module names follow the public
checkpoints.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import ConfigError
from facewright.training.norms import GroupNorm

GROUPS = 32
CHUNK = 4096  # positions whose distances to all codes are held at once


@dataclass(frozen=True)
class VQConfig:
    """Sizes of both halves; the defaults are the public model's."""

    width: int = 128  # of the first level
    multipliers: tuple[int, ...] = (1, 2, 4)  # of each level, relative to `width`
    blocks: int = 2  # residual blocks a level in the encoder; one more in the decoder
    channels: int = 3  # of the latent and of a code
    codes: int = 8192

    def __post_init__(self) -> None:
        if self.width % GROUPS:
            raise ConfigError(f"width must be a multiple of {GROUPS}, got {self.width}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the picture to the latent."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)


def _norm(width: int) -> GroupNorm:
    return GroupNorm(GROUPS, width, eps=1e-6)


class ResidualBlock(nn.Module):
    """Norm, swish and convolution, twice, added to the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = _norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = _norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut: nn.Module = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Norm and single-head attention over all positions, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        def rows(y: Tensor) -> Tensor:
            return y.flatten(2).transpose(1, 2)[:, None]

        h = self.norm(x)
        h = F.scaled_dot_product_attention(rows(self.q(h)), rows(self.k(h)), rows(self.v(h)))
        return x + self.proj_out(h[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]))


class Middle(nn.Module):
    """Residual block, attention, residual block at the latent's resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width)
        self.attn_1 = Attention(width)
        self.block_2 = ResidualBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    """Half the resolution; zeros are padded at the right and at the bottom only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbour, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one resolution, and the step to the next."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, down: bool = False, up: bool = False) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(outputs if k else inputs, outputs) for k in range(blocks))
        self.downsample: nn.Module = Downsample(outputs) if down else nn.Identity()
        self.upsample: nn.Module = Upsample(outputs) if up else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return self.upsample(self.downsample(x))


class _Encoder(nn.Module):
    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(inputs, outputs, config.blocks, down=level < len(widths) - 1)
            for level, (inputs, outputs) in enumerate(zip((widths[0], *widths[:-1]), widths, strict=True))
        )
        self.mid = Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class _Decoder(nn.Module):
    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(config.channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(inputs, outputs, config.blocks + 1, up=level > 0)
            for level, (inputs, outputs) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True))
        )
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(list(self.up)):  # numbered like the encoder's: the last is the smallest
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Quantiser(nn.Module):
    """Replaces every position of a latent by its nearest code."""

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, channels)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, C, H, W) to codes of that shape and their numbers, int64 (B, H, W).

        Distances are float32 whatever the precision around; the gradient of the codes goes to the latents unchanged.
        """
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            table = self.embedding.weight.float()
            half = table.square().sum(1) / 2  # |z - e|^2 / 2 without |z|^2 / 2, the same for every code
            rows = z.detach().float().permute(0, 2, 3, 1).reshape(-1, z.shape[1])
            numbers = torch.cat([(half - chunk @ table.T).argmin(1) for chunk in rows.split(CHUNK)])
        numbers = numbers.view(len(z), *z.shape[2:])
        codes = self.embedding(numbers).permute(0, 3, 1, 2)
        return z + (codes - z).detach() if z.requires_grad else codes, numbers


class VQEncoder(nn.Module):
    """Pictures (B, 3, 4 H, 4 W) in [-1, 1] to continuous latents (B, 3, H, W)."""

    def __init__(self, config: VQConfig | None = None) -> None:
        super().__init__()
        self.config = config or VQConfig()
        self.encoder = _Encoder(self.config)
        self.quant_conv = nn.Conv2d(self.config.channels, self.config.channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(images))


class VQDecoder(nn.Module):
    """Latents (B, 3, H, W) to pictures (B, 3, 4 H, 4 W), about in [-1, 1] and not clamped."""

    def __init__(self, config: VQConfig | None = None) -> None:
        super().__init__()
        self.config = config or VQConfig()
        self.quantize = Quantiser(self.config.codes, self.config.channels)
        self.post_quant_conv = nn.Conv2d(self.config.channels, self.config.channels, 1)
        self.decoder = _Decoder(self.config)

    def forward(self, latents: Tensor, *, quantise: bool = True) -> Tensor:
        """Decode; without `quantise` the latents are taken as they are."""
        if quantise:
            latents, _ = self.quantize(latents)
        return self.decoder(self.post_quant_conv(latents))
