"""The networks of a small base model: Stable Diffusion's parts, as diffusers and transformers have them."""

from dataclasses import dataclass
from importlib import import_module
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from facewright.diffusion.denoising import check_target
from facewright.errors import ConfigError, InputError
from facewright.training.norms import use_float_group_norms

LARGEST = 30_000_000  # parameters of all networks together
PREDICTIONS = {"noise": "epsilon", "velocity": "v_prediction"}
"""What a denoiser puts out, in diffusers' words."""


@dataclass(frozen=True)
class AutoencoderSizes:
    """Of an `AutoencoderKL` without attention; each width after the first halves the picture."""

    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: int = 1  # residual blocks a width in the encoder; one more in the decoder
    channels: int = 8  # of the latents
    groups: int = 8  # of the group norms

    def __post_init__(self) -> None:
        _check_widths(self.widths, self.groups)

    @property
    def factor(self) -> int:
        """By how much a latent is smaller than its picture."""
        return int(2 ** (len(self.widths) - 1))


@dataclass(frozen=True)
class TextSizes:
    """Of a `CLIPTextModel`."""

    length: int = 32  # tokens of a prompt
    width: int = 192
    layers: int = 4
    head_width: int = 32

    def __post_init__(self) -> None:
        if self.width % self.head_width:
            raise ConfigError(f"head_width must divide width {self.width}, got {self.head_width}")


@dataclass(frozen=True)
class DenoiserSizes:
    """Of a `UNet2DConditionModel`; each width after the first halves the latent."""

    widths: tuple[int, ...] = (64, 128, 256)
    attention: tuple[bool, ...] = (True, True, False)  # whether a width reads the prompt; the middle always does
    blocks: int = 1  # residual blocks a width on the way down; one more on the way up
    head_width: int = 32
    groups: int = 16  # of the group norms
    pooled: bool = False  # the prompt as a whole, pooled by attention, also scales and shifts what every block does
    time_width: int | None = None  # of what scales and shifts; None: four times the first width

    def __post_init__(self) -> None:
        _check_widths(self.widths, self.groups)
        if len(self.attention) != len(self.widths) or not any(self.attention):
            raise ConfigError(f"attention must have one entry a width, one of them true, got {self.attention}")
        if any(width % self.head_width for width in self.widths):
            raise ConfigError(f"head_width must divide every width of {self.widths}, got {self.head_width}")


def imported(name: str) -> Any:
    """diffusers or transformers, imported now; their classes have no types.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"base models need the package {name}; install facewright[personalise]") from error


def _check_widths(widths: tuple[int, ...], groups: int) -> None:
    if len(widths) < 2 or any(width < 1 or width % groups for width in widths):
        raise ConfigError(f"widths must be two or more multiples of groups = {groups}, got {widths}")


def make_autoencoder(sizes: AutoencoderSizes, *, picture: int) -> Any:
    """An untrained `AutoencoderKL` for pictures of so many pixels a side; its latents need no factor."""
    network = imported("diffusers").AutoencoderKL(
        block_out_channels=sizes.widths,
        layers_per_block=sizes.blocks,
        latent_channels=sizes.channels,
        down_block_types=("DownEncoderBlock2D",) * len(sizes.widths),
        up_block_types=("UpDecoderBlock2D",) * len(sizes.widths),
        norm_num_groups=sizes.groups,
        mid_block_add_attention=False,
        sample_size=picture,
        scaling_factor=1.0,
    )
    use_float_group_norms(network)
    return network


def make_text_encoder(sizes: TextSizes, tokenizer: Any) -> Any:
    """An untrained `CLIPTextModel` for a tokenizer."""
    transformers = imported("transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.width,
        intermediate_size=4 * sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.width // sizes.head_width,
        max_position_embeddings=sizes.length,
        projection_dim=sizes.width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = transformers.CLIPTextModel(config)
    for table in encoder.modules():
        if isinstance(table, nn.Embedding):
            table.is_table = True  # type: ignore[assignment]  # one row a token: not for Muon
    return encoder


def make_denoiser(sizes: DenoiserSizes, *, channels: int, latent: int, text_width: int) -> Any:
    """An untrained `UNet2DConditionModel` whose residual branches and output begin at zero.

    Args:
        sizes: of the network.
        channels: of the latents.
        latent: their side.
        text_width: of the text encoder.
    """
    down = ["CrossAttnDownBlock2D" if reads else "DownBlock2D" for reads in sizes.attention]
    up = ["CrossAttnUpBlock2D" if reads else "UpBlock2D" for reads in reversed(sizes.attention)]
    network = imported("diffusers").UNet2DConditionModel(
        sample_size=latent,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=sizes.widths,
        layers_per_block=sizes.blocks,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=text_width,
        attention_head_dim=tuple(width // sizes.head_width for width in sizes.widths),  # heads, despite its name
        norm_num_groups=sizes.groups,
        time_embedding_dim=sizes.time_width,
        **(_pooled(text_width) if sizes.pooled else {}),
    )
    last = [module for name, module in network.named_modules() if name.endswith(("conv2", "proj_out", "conv_out"))]
    with torch.no_grad():
        for module in last:
            for parameter in module.parameters():
                parameter.zero_()
    use_float_group_norms(network)
    return network


def _pooled(text_width: int) -> dict[str, Any]:
    """In diffusers' words: the pooled prompt joins the time, and both scale and shift."""
    return {
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": gcd(text_width, 8),
        "resnet_time_scale_shift": "scale_shift",
    }


def make_scheduler(target: str, *, timesteps: int = 1000) -> Any:
    """A `DDIMScheduler` of the linear noise levels of `diffusion.linear_betas`."""
    check_target(target)
    scale = 1000 / timesteps
    return imported("diffusers").DDIMScheduler(
        num_train_timesteps=timesteps,
        beta_start=1e-4 * scale,
        beta_end=0.02 * scale,
        beta_schedule="linear",
        prediction_type=PREDICTIONS[target],
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


@torch.no_grad()
def standardise(autoencoder: Any, mean: Tensor, spread: Tensor) -> None:
    """Make latents of a mean and standard deviation unit normal, within the 1 x 1 convolutions beside them.

    So the latents need no factor, and every channel counts alike; the decoded pictures stay what they were.

    Args:
        autoencoder: `AutoencoderKL`, changed in place.
        mean, spread: of each channel of its latents, (C,); the spread is above 0.
    """
    into, out = autoencoder.quant_conv, autoencoder.post_quant_conv
    channels = len(mean)
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= spread[None, :, None, None]
    into.weight[:channels] /= spread[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / spread
    into.bias[channels:] -= 2 * spread.log()  # the logarithm of the variance


def check_size(*networks: nn.Module) -> int:
    """The parameters of all networks together.

    Raises:
        ConfigError: more than a base of this kind may have.
    """
    count = sum(parameter.numel() for network in networks for parameter in network.parameters())
    if count > LARGEST:
        raise ConfigError(f"the base model would have {count:,} parameters, at most {LARGEST:,}; make it smaller")
    return count


def latent_side(picture: int, sizes: AutoencoderSizes, denoiser: DenoiserSizes) -> int:
    """The side of the latents of a picture.

    Raises:
        ConfigError: a picture of that size cannot be halved so often.
    """
    whole = sizes.factor * 2 ** (len(denoiser.widths) - 1)
    if picture % whole:
        raise ConfigError(f"pictures must be a multiple of {whole} px for these networks, got {picture}")
    return picture // sizes.factor
