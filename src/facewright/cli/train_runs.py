"""What `facewright train` runs for each kind: the config that its file mirrors, and the call."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facewright import recognition
from facewright.cli.console import note
from facewright.cli.train_base_model import train_base_model
from facewright.cli.train_run import Run, first_progress, recipe_text, settings_of, sha256_of, write_weights
from facewright.cli.train_runs_base import BaseRun, PromptsRun, train_prompts
from facewright.cli.train_runs_derived import (
    ControlRun,
    DecoderRun,
    FewStepRun,
    FinetuneRun,
    train_control,
    train_decoder,
    train_fewstep,
    train_finetune,
)
from facewright.cli.train_runs_diffusion import AutoencoderRun, GeneratorRun, train_autoencoder, train_generator
from facewright.cli.train_runs_personalise import PersonaliserRun, train_personaliser_run
from facewright.cli.train_validation import BEST_BY, validation
from facewright.data.packs import read_pack
from facewright.encoders.teacher import OnnxTeacher
from facewright.training.processes import current
from facewright.weights import Card


@dataclass(frozen=True, kw_only=True)
class EncoderRun(Run):
    """An encoder, distilled."""

    pack: Path  # aligned faces
    teacher: Path  # .onnx
    recipe: recognition.DistillConfig
    name: str = "slimfacenet"


@dataclass(frozen=True, kw_only=True)
class RecogniserRun(Run):
    """A recogniser from scratch."""

    recipe: recognition.RecogniserRecipe
    name: str = "recogniser"


def train_encoder(config: EncoderRun, out: Path, device: str) -> Path:
    """Distil, and write the averaged weights with their card to RUN/encoder.safetensors."""
    pack, teacher = read_pack(config.pack), OnnxTeacher(config.teacher)
    with first_progress("training the encoder") as progress:
        student = recognition.distill(
            pack, teacher, config.recipe, out=out, device=device, progress=progress, settings=settings_of(config)
        )
    how = f"distilled from {config.teacher.name} (sha256 {sha256_of(config.teacher)})"
    card = Card(
        name=config.name,
        kind="encoder",
        architecture={"network": "slimfacenet"},
        data=config.data,
        licence=config.licence,
        recipe=recipe_text(how, config.recipe),
    )
    return write_weights(out / "encoder.safetensors", student.state_dict(), card)


def train_recogniser(config: RecogniserRun, out: Path, device: str) -> Path:
    """Train, and write the network with its card to RUN/recogniser.safetensors, which is an encoder.

    Where people are held out, the weights are those of the best validation, and those of the end are written to
    RUN/recogniser-last.safetensors.
    """
    faces = recognition.open_faces(config.recipe)
    validate = validation(faces.held_out)
    with first_progress("training the recogniser") as progress:
        trained = recognition.train(
            config.recipe,
            out=out,
            device=device,
            faces=faces,
            progress=progress,
            settings={"name": config.name, "data": config.data, "licence": config.licence},
            validate=validate,
            best_by=None if validate is None else BEST_BY,
            best_is_lowest=True,
        )
    if trained.skipped and current().first:
        note(f"damaged pictures left out: {trained.skipped}")
    how = f"{config.recipe.head.name} from scratch on {trained.faces} faces of {trained.people} people"
    card = Card(
        name=config.name,
        kind="encoder",
        architecture={"network": config.recipe.network},
        data=config.data,
        licence=config.licence,
        recipe=recipe_text(how, config.recipe.for_samples(trained.faces)),
    )
    if trained.best is not None:
        write_weights(out / "recogniser-last.safetensors", trained.last.network.state_dict(), card)
        best = replace(
            card,
            recipe=f"{card.recipe}. The best of the validation, after {int(trained.best['images'])} images",
            measured={BEST_BY: trained.best["value"]},
        )
        return write_weights(out / "recogniser.safetensors", trained.encoder.network.state_dict(), best)
    return write_weights(out / "recogniser.safetensors", trained.encoder.network.state_dict(), card)


RUNS: dict[str, tuple[type[Any], Callable[[Any, Path, str], Path]]] = {
    "encoder": (EncoderRun, train_encoder),
    "autoencoder": (AutoencoderRun, train_autoencoder),
    "generator": (GeneratorRun, train_generator),
    "recogniser": (RecogniserRun, train_recogniser),
    "decoder": (DecoderRun, train_decoder),
    "control": (ControlRun, train_control),
    "fewstep": (FewStepRun, train_fewstep),
    "finetune": (FinetuneRun, train_finetune),
    "personaliser": (PersonaliserRun, train_personaliser_run),
    "base": (BaseRun, train_base_model),
    "prompts": (PromptsRun, train_prompts),
}
