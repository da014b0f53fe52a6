"""What `facewright train` runs for each kind: the config that its file mirrors, and the call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facewright.cli.console import Progress
from facewright.data.packs import read_pack
from facewright.encoders.teacher import OnnxTeacher
from facewright.recognition.distill import DistillConfig, distill
from facewright.weights import Card, save_weights


@dataclass(frozen=True)
class EncoderRun:
    """An encoder, distilled."""

    pack: Path  # aligned faces
    teacher: Path  # .onnx
    recipe: DistillConfig
    name: str = "slimfacenet"  # these three go on the card
    data: str = "not said"
    licence: str = "not said"


def train_encoder(config: EncoderRun, out: Path, device: str, progress: Progress) -> list[str]:
    """Distil, and write the averaged weights with their card to RUN/encoder.safetensors."""
    student = distill(
        read_pack(config.pack), OnnxTeacher(config.teacher), config.recipe, out=out, device=device, progress=progress
    )
    schedule = config.recipe.schedule
    card = Card(
        name=config.name,
        kind="encoder",
        architecture={"network": "slimfacenet"},
        data=config.data,
        licence=config.licence,
        recipe=f"distilled from {config.teacher.name}, {schedule.images} images seen, seed {schedule.seed}",
    )
    path = out / "encoder.safetensors"
    save_weights(path, student.state_dict(), card)
    return [f"averaged weights in {path}"]


RUNS: dict[str, tuple[type[Any], Callable[[Any, Path, str, Progress], list[str]]]] = {
    "encoder": (EncoderRun, train_encoder),
}
