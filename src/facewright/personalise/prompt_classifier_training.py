"""Train the prompt classifier on real faces, as photos and in the styles that the miniature world's code applies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.align import warp_face
from facewright.data.augment import jitter_crop, photometric
from facewright.data.images import to_tensor
from facewright.errors import ConfigError
from facewright.personalise.prompt_classifier import (
    HEADS,
    SIZE,
    PromptClassifier,
    PromptClassifierConfig,
    shown,
)
from facewright.personalise.world_faces import WorldFaces
from facewright.personalise.world_scenes import World, WorldConfig
from facewright.personalise.world_styles import EFFECTS, PHOTO, STYLES, apply_style
from facewright.training.norms import remeasure_batch_norms
from facewright.training.trainer import Losses, Schedule, Trainer

SHIFT = 4  # pixels by which a picture is off its place at random
UNKNOWN = -1  # where a head has nothing to learn
EDGE = 8  # pixels of a packed face around its crop


@dataclass(frozen=True)
class PromptTraining:
    """How the classifier is trained."""

    schedule: Schedule
    network: PromptClassifierConfig = field(default_factory=PromptClassifierConfig)
    held_out: int = 4_000  # pictures of held-out people that it is measured on

    def __post_init__(self) -> None:
        if self.held_out < 1:
            raise ConfigError(f"held_out must be at least 1 picture, got {self.held_out}")


class PromptPictures:
    """Pictures with labels, each following from the seed and its number alone.

    By turns a picture of the world of any people, one of a single person whose gender and age are known, the aligned
    crop of such a person's face out of a picture, and the crop of a face as it is packed.
    """

    def __init__(self, faces: WorldFaces, config: WorldConfig, *, held_out: bool, seed: int) -> None:
        self._faces = faces
        self._any = World(faces, faces.rows(held_out=held_out), config, seed=seed)
        self._known = World(faces, faces.rows(held_out=held_out, known=True), config, seed=seed + 1)

    def load(self, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Pictures uint8 (B, 64, 64, 3) and labels int64 (B, 3) of `HEADS`; `UNKNOWN` where there is none."""
        pictures = [self._picture(number) for number in numbers]
        return np.stack([picture for picture, _ in pictures]), np.array([label for _, label in pictures])

    def is_crop(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the pictures are crops, (B,) bool."""
        return numbers % 4 >= 2

    def _picture(self, number: int) -> tuple[np.ndarray, tuple[int, int, int]]:
        kind = number % 4
        world = self._known if kind else self._any
        scene = world.scene(number, people=1 if kind in (1, 3) else None)
        style = STYLES.index(scene.style)
        if kind == 0:
            return shown(world.draw([scene])[0])[0], (style, UNKNOWN, UNKNOWN)
        figure = scene.figures[number // 4 % len(scene.figures)]
        people = int(self._faces.gender[figure.row]), int(self._faces.age[figure.row])
        if kind == 3:
            face = np.asarray(self._faces.pack.images[figure.row])[None, EDGE:-EDGE, EDGE:-EDGE]
            drawn = scene.style in EFFECTS or scene.style == PHOTO
            return shown(apply_style(face, scene.style))[0], (style if drawn else UNKNOWN, *people)
        image = world.draw([scene])[0][0]
        if kind == 2:
            image = warp_face(image, figure.points())
        return shown(image[None])[0], (style, *people)


def train_prompt_classifier(
    faces: WorldFaces,
    world: WorldConfig,
    config: PromptTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[PromptClassifier, dict[str, float]]:
    """Train by cross-entropy of each head where its label is known; the same call again resumes.

    Args:
        faces: some of whose people's gender and age are known.
        world: what pictures look like.
        config: the recipe; every image of its schedule is a picture of its own.
        out: run folder.
        device: such as "cpu" or "cuda".
        progress: called with (images seen, images in all).
        settings: kept in RUN/config.json; a resumed run must share them.

    Returns:
        The network with its averaged weights, in eval mode on the CPU, and its accuracies on held-out people
        (see `accuracies`).

    Raises:
        ConfigError: nobody's gender and age are known.
    """
    if not len(faces.rows(held_out=False, known=True)) or not len(faces.rows(held_out=True, known=True)):
        raise ConfigError(
            "the classifier needs people whose gender and age are known, and some held out; name a manifest"
        )
    trained = PromptPictures(faces, world, held_out=False, seed=config.schedule.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.schedule.seed)
        network = PromptClassifier(config.network)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(network, config.schedule, out=out, device=device, config={"kind": "prompts", **(settings or {})})

    def load(indices: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = trained.load(indices.tolist())
        return to_tensor(images), torch.from_numpy(labels)

    def losses(loaded: tuple[Tensor, Tensor], generator: torch.Generator) -> Losses:
        images, labels = loaded
        padded = F.pad(images, (SHIFT,) * 4, mode="replicate")
        seen = photometric(
            jitter_crop(padded, SIZE, shift=SHIFT, generator=generator), strength=0.1, generator=generator
        )
        logits = network(seen.to(device).contiguous(memory_format=torch.channels_last))
        return {
            name: F.cross_entropy(logits[name].float(), own.to(device), ignore_index=UNKNOWN)
            for name, own in zip(HEADS, labels.T, strict=True)
            if bool((own != UNKNOWN).any())
        }

    calibration = [load(part)[0] for part in torch.arange(min(1024, config.schedule.images)).split(128)]

    def averaged() -> PromptClassifier:
        network = PromptClassifier(config.network)
        network.load_state_dict(trainer.averaged())
        remeasure_batch_norms(network, calibration)
        return network

    measured = PromptPictures(faces, world, held_out=True, seed=config.schedule.seed)
    trainer.fit(
        losses,
        samples=config.schedule.images,
        load=load,
        progress=progress,
        validate=lambda: accuracies(averaged(), measured, config.held_out),
    )
    done = averaged()
    return done, accuracies(done, measured, config.held_out)


def accuracies(network: PromptClassifier, pictures: PromptPictures, count: int) -> dict[str, float]:
    """The share of right answers of each head, of whole pictures and of crops: `style_picture`, `age_crop` ...

    Args:
        network: in eval mode.
        pictures: labelled.
        count: of them, the first ones.
    """
    right: dict[str, list[bool]] = {}
    for start in range(0, count, 256):
        numbers = np.arange(start, min(start + 256, count))
        images, labels = pictures.load(numbers.tolist())
        crops, judged = pictures.is_crop(numbers), network.judge(images)
        for name, own in zip(HEADS, labels.T, strict=True):
            for crop in (False, True):
                rows = (crops == crop) & (own != UNKNOWN)
                found = right.setdefault(f"{name}_{'crop' if crop else 'picture'}", [])
                found += (judged[name].argmax(1)[rows] == own[rows]).tolist()
    return {name: float(np.mean(found)) for name, found in right.items() if found}
