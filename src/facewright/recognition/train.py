"""Train a recogniser from scratch on labelled faces, real or generated, by a recipe."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facewright.data.augment_recipe import augment
from facewright.encoders.encoder import Encoder, width_of
from facewright.errors import DataError
from facewright.recognition.faces import FEWEST, Faces, TrainingFaces, describe, open_faces
from facewright.recognition.heads import MarginHead, PartialFC, RowOptimiser, ShardedHead
from facewright.recognition.margins.ramped import RampedMargin
from facewright.recognition.recipe import RecogniserRecipe
from facewright.training.norms import remeasure_batch_norms
from facewright.training.precision import arithmetic
from facewright.training.schedule import Schedule
from facewright.training.seeds import seed_of
from facewright.training.trainer import Losses, Trainer
from facewright.weights import tensors_sha256

log = logging.getLogger(__name__)

CALIBRATION = 1024  # faces that the batch norms of averaged weights are measured on
CALIBRATION_BATCH = 128


class Recogniser(nn.Module):
    """The network and the class centres."""

    def __init__(self, recipe: RecogniserRecipe, people: int) -> None:
        super().__init__()
        self.network = recipe.make_network()
        self.head = make_head(recipe, people)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gave."""

    encoder: Encoder  # of the best validation, or of the end where there was none
    last: Encoder  # of the end
    best: Mapping[str, float] | None  # images seen and value of the best validation
    people: int  # trained on
    faces: int
    skipped: int  # damaged pictures that this call met and left out


def make_head(recipe: RecogniserRecipe, people: int) -> MarginHead | ShardedHead | PartialFC:
    """The head that a recipe names, over so many people, with first centres.

    A sample of the classes makes it a `PartialFC`, whose rows are updated by the schedule's own kind of optimiser
    (AdamW under Muon, which is for matrices); a share a process a `ShardedHead`; else all centres are one table.
    """
    width, schedule, margin = width_of(recipe.network), recipe.schedule, recipe.head.make_margin()
    if recipe.head.sample_rate < 1:
        rows = _row_optimiser(schedule)
        rate = recipe.head.sample_rate
        return PartialFC(people, width, margin=margin, optimiser=rows, rate=rate, seed=schedule.seed)
    if recipe.head.sharded:
        return ShardedHead(people, width, margin=margin, seed=schedule.seed)
    return MarginHead(people, width, margin=margin)


def train(
    recipe: RecogniserRecipe,
    *,
    out: Path,
    device: str = "cpu",
    faces: TrainingFaces | None = None,
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    validate: Callable[[Encoder], Mapping[str, float]] | None = None,
    best_by: str | None = None,
    best_is_lowest: bool = False,
    loaders: int = 4,
) -> Trained:
    """Train a recogniser; the same call again resumes.

    Pictures are read and decoded ahead of their step, augmented on the device, and embedded in the schedule's
    precision. The margin loss sees the embeddings as the network gives them, in float32.

    Args:
        recipe: data, network, head, augmentation, schedule; where the schedule says what size its lengths were written
            for, they follow the data.
        out: run folder.
        device: such as "cpu" or "cuda".
        faces: what `open_faces(recipe)` gave, where that was called already.
        progress: called with (images seen, images in all).
        settings: kept in RUN/config.json too; a resumed run must share them.
        validate: measures an encoder on people that are neither trained on nor reported, `faces.held_out` say.
        best_by: name of a measure of `validate`; what was best by it is kept in RUN/best.pt and returned.
        best_is_lowest: whether lower is better.
        loaders: threads that read and decode.

    Raises:
        InputError, ConfigError, DataError: as `open_faces`; or the run folder holds another run.
        WorkError: the loss or a gradient is not finite.
    """
    faces = faces or open_faces(recipe)
    training = faces.training
    recipe = recipe.for_samples(len(training))
    log.info("%s", describe(recipe.data, faces))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.schedule.seed)
        module = Recogniser(recipe, training.people)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = {
        "kind": "recogniser",
        "recipe": _settings(recipe),
        "people": training.people,
        "faces": len(training),
        **(settings or {}),
    }
    trainer = Trainer(module, recipe.schedule, out=out, device=device, config=config)
    calibration = cache(lambda: _spread(training, CALIBRATION))

    def encoder_of(weights: Mapping[str, Tensor], name: str) -> Encoder:
        batches = None if trainer.ema is None else calibration()
        return _encoder(recipe, weights, name=name, device=trainer.device, calibration=batches)

    trainer.fit(
        _loss_of(module, trainer, recipe),
        samples=len(training),
        load=lambda rows: _loaded(training, rows.numpy()),
        loaders=loaders,
        progress=progress,
        validate=None if validate is None else lambda: validate(encoder_of(trainer.averaged(), out.name)),
        best_by=best_by,
        best_is_lowest=best_is_lowest,
    )
    last = encoder_of(trainer.averaged(), f"recogniser in {out.name}")
    best = last if trainer.best is None else encoder_of(trainer.best_averaged(), f"best recogniser in {out.name}")
    return Trained(
        encoder=best,
        last=last,
        best=trainer.best,
        people=training.people,
        faces=len(training),
        skipped=len(faces.skipped),
    )


def _loss_of(
    module: Recogniser, trainer: Trainer, recipe: RecogniserRecipe
) -> Callable[[tuple[np.ndarray, np.ndarray], torch.Generator], Losses]:
    """The margin loss of decoded crops and their labels."""
    kind, margin = trainer.device.type, module.head.margin

    def losses(batch: tuple[np.ndarray, np.ndarray], generator: torch.Generator) -> Losses:
        crops, labels = batch
        if isinstance(margin, RampedMargin):
            margin.share = recipe.head.margin_share_at(trainer.images)
        with torch.autocast(kind, enabled=False):
            x = _pixels(crops, trainer.device)
            x = augment(x, recipe.augmentation, images_seen=trainer.images, generator=generator)
        embeddings = module.network(x.contiguous(memory_format=torch.channels_last))
        with torch.autocast(kind, enabled=False):  # bfloat16 has too few digits for cosines times 64
            loss = module.head(embeddings.float(), torch.from_numpy(labels).to(trainer.device))
        return {recipe.head.name: loss}

    return losses


def _loaded(faces: Faces, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    crops, labels = faces.read(rows)
    if len(crops) < min(FEWEST, len(rows)):
        raise DataError(f"of {len(rows)} pictures of a step {len(crops)} can be read; replace the damaged ones")
    return crops, labels


def _pixels(crops: np.ndarray, device: torch.device) -> Tensor:
    """Crops uint8 (B, 112, 112, 3) as the network takes them; four times as many bytes, so only on the device."""
    return torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def _spread(faces: Faces, count: int) -> list[np.ndarray]:
    """Batches of about so many crops from all over the set."""
    rows = np.arange(0, len(faces), max(1, len(faces) // count))[:count]
    parts = np.array_split(rows, max(1, len(rows) // CALIBRATION_BATCH))
    return [faces.read(part)[0] for part in parts]


def _encoder(
    recipe: RecogniserRecipe,
    weights: Mapping[str, Tensor],
    *,
    name: str,
    device: torch.device,
    calibration: list[np.ndarray] | None,
) -> Encoder:
    """The network of a recogniser's weights; its batch norms are measured again where a calibration is given."""
    prefix = "network."
    state = {key.removeprefix(prefix): value.clone() for key, value in weights.items() if key.startswith(prefix)}
    with torch.device("meta"):
        network = recipe.make_network()
    network.load_state_dict(state, assign=True)
    if calibration is not None:
        generators = [device] if device.type == "cuda" else []  # dropout draws
        with torch.random.fork_rng(devices=generators), arithmetic(recipe.schedule.precision, device):
            torch.manual_seed(seed_of("calibration"))
            remeasure_batch_norms(network, (_pixels(crops, device) for crops in calibration))
    sha256 = tensors_sha256(network.state_dict())
    return Encoder(network, name=name, sha256=sha256, width=width_of(recipe.network))


def _row_optimiser(schedule: Schedule) -> RowOptimiser:
    settings = {"lr": schedule.learning_rate, "weight_decay": schedule.weight_decay}
    if schedule.optimiser == "sgd":
        return RowOptimiser(torch.optim.SGD, momentum=schedule.momentum, **settings)
    return RowOptimiser(torch.optim.AdamW, betas=schedule.betas, **settings)


def _settings(recipe: RecogniserRecipe) -> dict[str, Any]:
    """The recipe as JSON values, without the schedule, which the trainer keeps itself."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(recipe), default=lambda path: str(path.resolve())))
    del values["schedule"]
    return values
