"""Identity-conditioned latent diffusion: noise levels, networks, samplers, training and trained generators."""

from facewright.diffusion.autoencoder import Autoencoder, AutoencoderConfig
from facewright.diffusion.generator import DiffusionConfig, Generator, load
from facewright.diffusion.samplers import ancestral, ddim, ddim_invert, ddim_plan
from facewright.diffusion.schedules import alpha_bars, cosine_betas, linear_betas
from facewright.diffusion.train_autoencoder import AutoencoderTraining, train_autoencoder
from facewright.diffusion.train_generator import (
    GeneratorTraining,
    LatentCache,
    cache_latents,
    decode_and_embed,
    train_generator,
)
from facewright.diffusion.unet import ConditionalUNet, UNetConfig

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "AutoencoderTraining",
    "ConditionalUNet",
    "DiffusionConfig",
    "Generator",
    "GeneratorTraining",
    "LatentCache",
    "UNetConfig",
    "alpha_bars",
    "ancestral",
    "cache_latents",
    "cosine_betas",
    "ddim",
    "ddim_invert",
    "ddim_plan",
    "decode_and_embed",
    "linear_betas",
    "load",
    "train_autoencoder",
    "train_generator",
]
