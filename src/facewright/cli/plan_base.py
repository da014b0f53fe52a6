"""The networks of a base model of personalised pictures as its configs describe them, before any weights are there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facewright.cli.plan_named import Architecture, Known
from facewright.errors import DataError, InputError
from facewright.personalise.base import read_base
from facewright.personalise.base_networks import imported

Config = Mapping[str, Any]
"""As diffusers or transformers writes it to config.json."""


@dataclass(frozen=True)
class BaseShapes:
    """What a base model is made of."""

    denoiser: Config
    autoencoder: Config
    texts: tuple[Config, ...]
    """One, or two of Stable Diffusion XL."""

    @property
    def word_width(self) -> int:
        """Of the words that a mapper for this base makes."""
        return sum(int(text["hidden_size"]) for text in self.texts)

    @property
    def factor(self) -> int:
        """By how much a latent is smaller than its picture."""
        return int(2 ** (len(self.autoencoder["block_out_channels"]) - 1))

    @property
    def picture(self) -> int:
        """The side of the base model's own pictures, in pixels."""
        own = self.denoiser["sample_size"]
        return self.factor * int(own if isinstance(own, int) else own[0])

    def make_denoiser(self) -> Any:
        """An untrained `UNet2DConditionModel`."""
        return imported("diffusers").UNet2DConditionModel.from_config(dict(self.denoiser))

    def make_autoencoder(self) -> Any:
        """An untrained `AutoencoderKL`."""
        return imported("diffusers").AutoencoderKL.from_config(dict(self.autoencoder))

    def make_text_encoders(self) -> list[Any]:
        """Untrained `CLIPTextModel`s; the second has a projection, as in Stable Diffusion XL."""
        transformers = imported("transformers")
        kinds = (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection)
        made = zip(kinds, self.texts, strict=False)
        return [kind(transformers.CLIPTextConfig.from_dict(dict(text))) for kind, text in made]

    def record(self) -> Architecture:
        """As what is known of a base model that is not there yet."""
        return {"base": self}


STABLE_DIFFUSION_1 = BaseShapes(
    denoiser={
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    autoencoder={
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 512,
    },
    texts=(
        {
            "vocab_size": 49_408,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "projection_dim": 768,
        },
    ),
)
"""Of Stable Diffusion 1.1 to 1.5: 859,520,964, 83,653,863 and 123,060,480 parameters."""
BY_NAME = "stable-diffusion-v1-"
"""What the directories of those are called on the hub."""


def read_shapes(base: Path, known: Known) -> BaseShapes:
    """The networks of a base model: of an earlier stage, of its directory's configs, or known by its name.

    Raises:
        InputError: there is none of these, or the directory is no base model.
        DataError: the directory is not whole.
    """
    if base in known:
        made = known[base]["base"]
        assert isinstance(made, BaseShapes)
        return made
    if not base.exists() and base.name.startswith(BY_NAME):
        return STABLE_DIFFUSION_1
    if not base.exists():
        raise InputError(
            f"{base}: the base model is not there, and it alone says what is to be counted; give another by"
            f" base=DIRECTORY, or base={BY_NAME}5, which is known by its name"
        )
    read_base(base)
    texts = [base / name for name in ("text_encoder", "text_encoder_2")]
    return BaseShapes(
        _config(base / "unet"), _config(base / "vae"), tuple(_config(text) for text in texts if text.is_dir())
    )


def _config(folder: Path) -> Config:
    try:
        read = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder / 'config.json'} cannot be read ({error}); get the base model of {folder.parent} again"
        ) from error
    assert isinstance(read, dict)
    return read
