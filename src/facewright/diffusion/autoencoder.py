"""The small autoencoder of the bundled generator: 128 px pictures to 16 x 16 latents and back.

Most of the arithmetic happens at 16 x 16 to 64 x 64; pixels are folded into channels (sub-pixel convolution, Shi et
al. 2016) at both ends, which a CPU likes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.training.norms import GroupNorm


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes; widths are those at 64 x 64, 32 x 32 and 16 x 16."""

    channels: int = 8  # of the latent
    encoder_widths: tuple[int, int, int] = (32, 64, 128)
    decoder_widths: tuple[int, int, int] = (32, 64, 128)


class ConvResidual(nn.Module):
    """Two 3 x 3 convolutions added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = GroupNorm(8, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Autoencoder(nn.Module):
    """Encoder and decoder; `mean` and `std` (per latent channel) make latents unit normal for the diffusion."""

    factor = 8  # pixels to one of the latent

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        high, mid, low = config.encoder_widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, high, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(high, mid, 3, 2, 1),
            ConvResidual(mid),
            nn.Conv2d(mid, low, 3, 2, 1),
            ConvResidual(low),
            ConvResidual(low),
            nn.Conv2d(low, config.channels, 1),
        )
        high, mid, low = config.decoder_widths
        self.decoder = nn.Sequential(
            nn.Conv2d(config.channels, low, 3, padding=1),
            ConvResidual(low),
            ConvResidual(low),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(low, mid, 3, padding=1),
            ConvResidual(mid),
            ConvResidual(mid),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(mid, high, 3, padding=1),
            ConvResidual(high),
            nn.SiLU(),
            nn.Conv2d(high, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("std", torch.ones(1, config.channels, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, 128, 128) in [-1, 1] RGB to latents (B, C, 16, 16), about unit normal."""
        return (self.encoder(images).float() - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, 16, 16) to images (B, 3, 128, 128), clipped to [-1, 1]."""
        return self.decoder(latents * self.std + self.mean).float().clamp(-1, 1)
