"""A small decoder that stands in for a generator's own: latents to pixels with convolutions at low resolution alone.

Almost all of the arithmetic happens at the latent's resolution; pixels are unfolded from channels in one step at the
end (Shi et al. 2016). There are no norms, so a picture's parts do not wait for statistics of the whole.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.errors import ConfigError


@dataclass(frozen=True)
class FastDecoderConfig:
    """Sizes; the levels go from the latent's resolution, each twice the one before."""

    channels: int = 8  # of the latent
    factor: int = 8  # pixels to one of the latent, a power of 2
    widths: tuple[int, ...] = (96, 48)  # of the levels
    blocks: tuple[int, ...] = (3, 1)  # of the levels

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ConfigError(f"widths and blocks must have one entry a level, got {self.widths} and {self.blocks}")
        if self.factor < 2 or self.factor & (self.factor - 1) or 2 ** (len(self.widths) - 1) > self.factor:
            raise ConfigError(
                f"factor must be a power of 2 that {len(self.widths)} levels do not pass, got {self.factor}"
            )


class PlainBlock(nn.Module):
    """Two 3 x 3 convolutions added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FastDecoder(nn.Module):
    """Latents (B, C, h, w) to pictures (B, 3, factor h, factor w); latents are softly kept within 3 of 0."""

    def __init__(self, config: FastDecoderConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [nn.Conv2d(config.channels, config.widths[0], 3, padding=1)]
        before = config.widths[0]
        for level, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            if level:
                layers += [nn.Conv2d(before, 4 * width, 1), nn.PixelShuffle(2)]
            layers += [PlainBlock(width) for _ in range(blocks)]
            before = width
        left = config.factor // 2 ** (len(config.widths) - 1)
        layers += [nn.ReLU(), nn.Conv2d(before, 3 * left**2, 3, padding=1), nn.PixelShuffle(left)]
        self.body = nn.Sequential(*layers)

    @property
    def last(self) -> Tensor:
        """The weights of the last convolution, by whose gradients losses are balanced."""
        layer = self.body[-2]
        assert isinstance(layer, nn.Conv2d)
        return layer.weight

    def forward(self, latents: Tensor) -> Tensor:
        return self.body(3 * torch.tanh(latents / 3))

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures in float32, clipped to [-1, 1]."""
        return self(latents).float().clamp(-1, 1)
