"""A generator small enough for tests, whose every weight matters."""

import numpy as np
import torch

from facewright.diffusion import (
    Autoencoder,
    AutoencoderConfig,
    ConditionalUNet,
    DiffusionConfig,
    Generator,
    LatentCache,
    UNetConfig,
)
from facewright.weights import Card

AUTOENCODER = AutoencoderConfig(channels=4, encoder_widths=(8, 8, 16), decoder_widths=(8, 8, 16))
DENOISER = UNetConfig(
    channels=4, width=32, multipliers=(1, 2), attention=(False, True), blocks=1, context_inputs=16, context_width=32
)


def stirred(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module in eval mode, its weights moved so that nothing is zero any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return module.eval()


def tiny_unet(config: UNetConfig = DENOISER) -> ConditionalUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ConditionalUNet(config)
    stirred(network)
    return network


def tiny_autoencoder() -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Autoencoder(AUTOENCODER)
    return network.eval()


def tiny_card() -> Card:
    return Card("tiny", "generator", {}, "drawn", "Apache-2.0", "by hand", input=None, encoder_sha256="e" * 64)


def tiny_generator(target: str = "velocity") -> Generator:
    return Generator(tiny_autoencoder(), tiny_unet(), DiffusionConfig(target=target), tiny_card()).eval()


def tiny_cache(count: int = 24, *, side: int = 8, width: int = 16, held_out: int = 4, seed: int = 0) -> LatentCache:
    """Latents that follow from their embeddings, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((count, 2, width)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=2, keepdims=True)
    colours = np.tanh(3 * embeddings[:, :, :4])[..., None, None]
    latents = colours + 0.1 * rng.standard_normal((count, 2, 4, side, side))
    return LatentCache(
        latents.astype(np.float16), embeddings, np.ones((count, 16, 16), np.uint8), np.arange(count) < held_out
    )
