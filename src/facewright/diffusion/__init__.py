"""Identity-conditioned latent diffusion: noise levels, networks, samplers, training and trained generators."""

from facewright.diffusion.adversarial import CriticTerms
from facewright.diffusion.autoencoder import Autoencoder, AutoencoderConfig
from facewright.diffusion.checks import SampleChecks, held_out_pictures, held_out_rows, picture_grid
from facewright.diffusion.controlnet import ControlledUNet, ControlNet
from facewright.diffusion.faces import TrainingFaces, fingerprint, open_faces
from facewright.diffusion.fast_decoder import FastDecoder, FastDecoderConfig
from facewright.diffusion.generator import DiffusionConfig, Generator, load, load_card
from facewright.diffusion.guidance import guided
from facewright.diffusion.hints import HINTS
from facewright.diffusion.latents import LatentCache, cache_latents
from facewright.diffusion.refinement import Refinement
from facewright.diffusion.samplers import ancestral, ddim, ddim_invert, ddim_invert_exactly, ddim_plan
from facewright.diffusion.samplers_config import SAMPLERS, SamplerConfig, run_sampler, sampler_config
from facewright.diffusion.samplers_dpm import dpm_solver, dpm_solver_single
from facewright.diffusion.samplers_unipc import unipc
from facewright.diffusion.schedules import alpha_bars, cosine_betas, linear_betas, sampling_times
from facewright.diffusion.train_autoencoder import AutoencoderTraining, train_autoencoder
from facewright.diffusion.train_control import ControlTraining, train_control
from facewright.diffusion.train_decoder import DecoderTraining, train_decoder
from facewright.diffusion.train_fewstep import FewStepTraining, train_fewstep
from facewright.diffusion.train_generator import (
    DenoiserTraining,
    GeneratorTraining,
    decode_and_embed,
    kept_averages,
    train_generator,
)
from facewright.diffusion.train_vq import VQTerms
from facewright.diffusion.unet import ConditionalUNet, UNetConfig, published_config
from facewright.diffusion.vq import VQConfig, VQDecoder, VQEncoder
from facewright.diffusion.vq_autoencoder import VQAutoencoder

__all__ = [
    "HINTS",
    "SAMPLERS",
    "Autoencoder",
    "AutoencoderConfig",
    "AutoencoderTraining",
    "ConditionalUNet",
    "ControlNet",
    "ControlTraining",
    "ControlledUNet",
    "CriticTerms",
    "DecoderTraining",
    "DenoiserTraining",
    "DiffusionConfig",
    "FastDecoder",
    "FastDecoderConfig",
    "FewStepTraining",
    "Generator",
    "GeneratorTraining",
    "LatentCache",
    "Refinement",
    "SampleChecks",
    "SamplerConfig",
    "TrainingFaces",
    "UNetConfig",
    "VQAutoencoder",
    "VQConfig",
    "VQDecoder",
    "VQEncoder",
    "VQTerms",
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
    "fingerprint",
    "guided",
    "held_out_pictures",
    "held_out_rows",
    "kept_averages",
    "linear_betas",
    "load",
    "load_card",
    "open_faces",
    "picture_grid",
    "published_config",
    "run_sampler",
    "sampler_config",
    "sampling_times",
    "train_autoencoder",
    "train_control",
    "train_decoder",
    "train_fewstep",
    "train_generator",
    "unipc",
]
