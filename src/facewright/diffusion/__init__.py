"""Identity-conditioned latent diffusion: noise levels, networks, samplers, training and trained generators."""

from facewright.diffusion.autoencoder import Autoencoder, AutoencoderConfig
from facewright.diffusion.controlnet import ControlledUNet, ControlNet
from facewright.diffusion.generator import DiffusionConfig, Generator, load
from facewright.diffusion.guidance import guided
from facewright.diffusion.samplers import ancestral, ddim, ddim_invert, ddim_invert_exactly, ddim_plan
from facewright.diffusion.samplers_config import SAMPLERS, SamplerConfig, run_sampler, sampler_config
from facewright.diffusion.samplers_dpm import dpm_solver, dpm_solver_single
from facewright.diffusion.samplers_unipc import unipc
from facewright.diffusion.schedules import alpha_bars, cosine_betas, linear_betas, sampling_times
from facewright.diffusion.train_autoencoder import AutoencoderTraining, train_autoencoder
from facewright.diffusion.train_generator import (
    GeneratorTraining,
    LatentCache,
    cache_latents,
    decode_and_embed,
    train_generator,
)
from facewright.diffusion.unet import ConditionalUNet, UNetConfig, published_config
from facewright.diffusion.vq import VQConfig, VQDecoder, VQEncoder

__all__ = [
    "SAMPLERS",
    "Autoencoder",
    "AutoencoderConfig",
    "AutoencoderTraining",
    "ConditionalUNet",
    "ControlNet",
    "ControlledUNet",
    "DiffusionConfig",
    "Generator",
    "GeneratorTraining",
    "LatentCache",
    "SamplerConfig",
    "UNetConfig",
    "VQConfig",
    "VQDecoder",
    "VQEncoder",
    "alpha_bars",
    "ancestral",
    "cache_latents",
    "cosine_betas",
    "ddim",
    "ddim_invert",
    "ddim_invert_exactly",
    "ddim_plan",
    "decode_and_embed",
    "dpm_solver",
    "dpm_solver_single",
    "guided",
    "linear_betas",
    "load",
    "published_config",
    "run_sampler",
    "sampler_config",
    "sampling_times",
    "train_autoencoder",
    "train_generator",
    "unipc",
]
