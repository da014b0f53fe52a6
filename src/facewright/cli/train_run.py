"""What all trainings share: what they are told, what they keep of it, and how they write their weights."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from facewright import __version__
from facewright.cli.console import Progress, progress_bar
from facewright.training.processes import current
from facewright.weights import Card, save_weights

NOT_SAID = "not said"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every training is told; all of it goes on the card."""

    name: str
    data: str = NOT_SAID
    licence: str = NOT_SAID


def write_weights(path: Path, state: Mapping[str, torch.Tensor], card: Card) -> Path:
    """Write weights with their card, on the first process alone; gives `path`."""
    if current().first:
        save_weights(path, state, card, half=True)
    return path


def first_progress(title: str) -> AbstractContextManager[Progress | None]:
    """A bar on the first process, nothing on the others."""
    return progress_bar(title) if current().first else nullcontext()


def settings_of(config: Any) -> dict[str, Any]:
    """The resolved config as JSON values; the schedule, which the trainer keeps itself, is left out of the recipe."""
    values = json.loads(json.dumps(asdict(config), default=lambda path: str(path.resolve())))
    values["recipe"].pop("schedule")
    return dict(values)


def recipe_text(how: str, recipe: Any) -> str:
    """How a network was made, with every setting."""
    settings = ", ".join(f"{key} {value}" for key, value in flat(asdict(recipe)))
    return f"{how}; {settings}; facewright {__version__}, torch {torch.__version__}"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names; of a path only the last part, which names no machine."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value.name if isinstance(value, Path) else value


def sha256_of(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
