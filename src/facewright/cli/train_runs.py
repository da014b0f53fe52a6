"""What `facewright train` runs for each kind: the config that its file mirrors, and the call."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facewright import __version__, diffusion, encoders, recognition
from facewright.cli.console import progress_bar
from facewright.data.images import centre_crop
from facewright.data.packs import read_pack
from facewright.diffusion.generator import architecture
from facewright.encoders.teacher import OnnxTeacher
from facewright.errors import ConfigError, DataError
from facewright.training.atomic import atomic_path
from facewright.weights import Card, InputConvention, load_weights, save_weights


@dataclass(frozen=True)
class EncoderRun:
    """An encoder, distilled."""

    pack: Path  # aligned faces
    teacher: Path  # .onnx
    recipe: recognition.DistillConfig
    name: str = "slimfacenet"  # this and what follows goes on the card
    data: str = "not said"
    licence: str = "not said"


@dataclass(frozen=True)
class AutoencoderRun:
    """The autoencoder of a generator."""

    pack: Path  # aligned faces
    recipe: diffusion.AutoencoderTraining
    name: str = "autoencoder"  # this and what follows goes on the card
    data: str = "not said"
    licence: str = "not said"


@dataclass(frozen=True)
class GeneratorRun:
    """A generator, on latents of one autoencoder and embeddings of one encoder."""

    pack: Path  # aligned faces
    autoencoder: Path  # .safetensors of `facewright train autoencoder`
    recipe: diffusion.GeneratorTraining
    encoder: Path | None = None  # .safetensors; None: the bundled encoder
    name: str = "generator"  # this and what follows goes on the card
    data: str = "not said"
    licence: str = "not said"


@dataclass(frozen=True)
class RecogniserRun:
    """A recogniser from scratch."""

    recipe: recognition.RecognitionConfig
    name: str = "recogniser"  # this and what follows goes on the card
    data: str = "not said"
    licence: str = "not said"


def train_encoder(config: EncoderRun, out: Path, device: str) -> Path:
    """Distil, and write the averaged weights with their card to RUN/encoder.safetensors."""
    pack, teacher = read_pack(config.pack), OnnxTeacher(config.teacher)
    with progress_bar("training the encoder") as progress:
        student = recognition.distill(
            pack, teacher, config.recipe, out=out, device=device, progress=progress, settings=_settings(config)
        )
    how = f"distilled from {config.teacher.name} (sha256 {_sha256(config.teacher)})"
    card = Card(
        name=config.name,
        kind="encoder",
        architecture={"network": "slimfacenet"},
        data=config.data,
        licence=config.licence,
        recipe=_recipe(how, config.recipe),
    )
    save_weights(out / "encoder.safetensors", student.state_dict(), card, half=True)
    return out / "encoder.safetensors"


def train_autoencoder(config: AutoencoderRun, out: Path, device: str) -> Path:
    """Train, and write the averaged weights with their card to RUN/autoencoder.safetensors."""
    pack = read_pack(config.pack)
    with progress_bar("training the autoencoder") as progress:
        network = diffusion.train_autoencoder(
            pack, config.recipe, out=out, device=device, progress=progress, settings=_settings(config)
        )
    card = Card(
        name=config.name,
        kind="autoencoder",
        architecture=asdict(config.recipe.network),
        data=config.data,
        licence=config.licence,
        recipe=_recipe("absolute error of pixels and edges, noise on the latents", config.recipe),
        input=InputConvention(height=128, width=128),
    )
    save_weights(out / "autoencoder.safetensors", network.state_dict(), card, half=True)
    return out / "autoencoder.safetensors"


def train_generator(config: GeneratorRun, out: Path, device: str) -> Path:
    """Encode the pack once, train the denoiser, and write both networks to RUN/generator.safetensors at every save."""
    autoencoder, autoencoder_card = _load_autoencoder(config.autoencoder)
    encoder = encoders.load(config.encoder or "bundled", device=device)
    made_with = {"autoencoder": autoencoder_card.sha256, "encoder": encoder.sha256}
    cache = _latents(config.pack, autoencoder, encoder, path=out / "latents.npz", made_with=made_with)
    how = f"denoiser trained on latents of {autoencoder_card.name} (sha256 {autoencoder_card.sha256})"
    card = Card(
        name=config.name,
        kind="generator",
        architecture=architecture(autoencoder.config, config.recipe.network, config.recipe.diffusion),
        data=config.data,
        licence=config.licence,
        recipe=f"{_recipe(how, config.recipe)}. Its autoencoder: {autoencoder_card.recipe}",
        input=None,
        encoder_sha256=encoder.sha256,
    )

    def keep(denoiser: diffusion.ConditionalUNet) -> None:
        parts = {"autoencoder": autoencoder, "denoiser": denoiser}
        tensors = {f"{part}.{name}": value for part, net in parts.items() for name, value in net.state_dict().items()}
        save_weights(out / "generator.safetensors", tensors, card, half=True)

    settings = {**_settings(config), "made_with": made_with}
    judge = diffusion.decode_and_embed(
        copy.deepcopy(autoencoder).to(device), encoder.requires_grad_(requires_grad=False)
    )
    with progress_bar("training the generator") as progress:
        denoiser = diffusion.train_generator(
            cache,
            config.recipe,
            out=out,
            device=device,
            progress=progress,
            settings=settings,
            on_save=keep,
            identify=judge,
        )
    keep(denoiser)
    return out / "generator.safetensors"


def train_recogniser(config: RecogniserRun, out: Path, device: str) -> Path:
    """Train, and write the averaged weights with their card to RUN/recogniser.safetensors, which is an encoder."""
    with progress_bar("training the recogniser") as progress:
        trained = recognition.train(config.recipe, out=out, device=device, progress=progress)
    card = Card(
        name=config.name,
        kind="encoder",
        architecture={"network": "slimfacenet"},
        data=config.data,
        licence=config.licence,
        recipe=_recipe("ArcFace from scratch", config.recipe),
    )
    save_weights(out / "recogniser.safetensors", trained.network.state_dict(), card, half=True)
    return out / "recogniser.safetensors"


def _load_autoencoder(path: Path) -> tuple[diffusion.Autoencoder, Card]:
    state, card = load_weights(path, kind="autoencoder")
    sizes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in card.architecture.items()
    }
    try:
        network = diffusion.Autoencoder(diffusion.AutoencoderConfig(**sizes))
        network.load_state_dict(state)
    except (TypeError, RuntimeError) as error:
        raise DataError(f"{path}: its card and its tensors do not fit each other ({error})") from error
    return network.eval(), card


def _latents(
    folder: Path,
    autoencoder: diffusion.Autoencoder,
    encoder: encoders.Encoder,
    *,
    path: Path,
    made_with: Mapping[str, str],
) -> diffusion.LatentCache:
    """The pack encoded once, kept at `path` for the next call of the same run; `made_with` are hashes of weights."""
    pack = read_pack(folder)
    made_with = {**made_with, "pack": _sha256(folder / "index.npz")}
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            other = [key for key, value in json.loads(str(kept["made_with"])).items() if value != made_with[key]]
            if other:
                raise ConfigError(f"{path} was made with another {', '.join(other)}; give the same, or another --out")
            return diffusion.LatentCache(*(kept[name] for name in ("latents", "embeddings", "masks", "held_out")))
    with progress_bar("encoding the faces") as progress:
        cache = diffusion.cache_latents(
            pack, autoencoder, lambda faces: encoder.embed(centre_crop(faces, 112)), progress=progress
        )
    with atomic_path(path) as temporary:
        np.savez(temporary, made_with=np.array(json.dumps(made_with)), **asdict(cache))
    return cache


def _settings(config: Any) -> dict[str, Any]:
    """The resolved config as JSON values; the schedule, which the trainer keeps itself, is left out of the recipe."""
    values = json.loads(json.dumps(asdict(config), default=lambda path: str(path.resolve())))
    values["recipe"].pop("schedule")
    return values


def _recipe(how: str, recipe: Any) -> str:
    """How a network was made, with every setting."""
    settings = ", ".join(f"{key} {value}" for key, value in _flat(asdict(recipe)))
    return f"{how}; {settings}; facewright {__version__}, torch {torch.__version__}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names; of a path only the last part, which names no machine."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value.name if isinstance(value, Path) else value


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


RUNS: dict[str, tuple[type[Any], Callable[[Any, Path, str], Path]]] = {
    "encoder": (EncoderRun, train_encoder),
    "autoencoder": (AutoencoderRun, train_autoencoder),
    "generator": (GeneratorRun, train_generator),
    "recogniser": (RecogniserRun, train_recogniser),
}
