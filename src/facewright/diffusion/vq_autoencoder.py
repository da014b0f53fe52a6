"""The VQ-f4 autoencoder as one network with the same face as the small one: 128 px to 3 x 32 x 32 latents and back."""

import torch
from torch import Tensor, nn

from facewright.diffusion.vq import VQConfig, VQDecoder, VQEncoder


class VQAutoencoder(nn.Module):
    """Encoder and decoder; `mean` and `std` (per latent channel) make latents unit normal for the diffusion.

    The public model is used unscaled, which mean 0 and std 1, the state at the start, stand for. The decoder replaces
    every position by its nearest code first.
    """

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.factor = 2 ** (len(config.multipliers) - 1)
        self.encoder = VQEncoder(config)
        self.decoder = VQDecoder(config)
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("std", torch.ones(1, config.channels, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] RGB to continuous latents (B, C, H / factor, W / factor)."""
        return (self.encoder(images).float() - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to images, clipped to [-1, 1]."""
        return self.decoder(latents * self.std + self.mean).float().clamp(-1, 1)
