"""Pictures drawn while a personaliser is trained: the same held-out people, prompts and noise every time, judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from facewright.align import Detector, warp_face
from facewright.diffusion.checks import picture_grid
from facewright.errors import ConfigError
from facewright.personalise.pictures import PictureConfig, Subject, draw_pictures
from facewright.personalise.scoring import Embedder, score_picture
from facewright.personalise.train_people import People
from facewright.personalise.train_personaliser import Trained
from facewright.training.atomic import atomic_path
from facewright.training.processes import current

NAME = "subject"
PERSON = "{person}"


class PromptScorer(Protocol):
    """Judges pictures by their prompts; that of `facewright evaluate personalised` does."""

    @property
    def name(self) -> str: ...
    def score(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> Sequence[float | None]:
        """A score for each picture, uint8 (H, W, 3) RGB; None where it cannot judge the prompt."""
        ...


@dataclass(frozen=True)
class PersonaliserChecks:
    """What is drawn and judged at every validation."""

    people: int = 8  # held-out, each drawn once by every prompt
    prompts: tuple[str, ...] = ("a photo of {person}", "{person} on the beach", "a pencil drawing of {person}")
    steps: int = 20
    guidance: float = 5.0
    batch: int = 4  # pictures of one person and prompt at a time
    pictures: int = 1  # of each person by each prompt
    encoder: Path | None = None  # judges identity; None: the bundled one. It says most when it is not the mapper's
    clip: Path | None = None  # directory of a CLIP model, for the prompt score; None: there is none
    classifier: Path | None = None  # .safetensors of `facewright train prompts`, for a prompt score of its own

    def __post_init__(self) -> None:
        if min(self.people, self.pictures) < 1 or not self.prompts:
            raise ConfigError(
                f"checks need at least 1 person, 1 picture and 1 prompt, got {self.people}, {self.pictures} and "
                f"{len(self.prompts)}"
            )
        for prompt in self.prompts:
            if prompt.count(PERSON) != 1 or NAME in prompt.casefold():
                raise ConfigError(f"a prompt of the checks says {PERSON} once, and no {NAME!r}; got {prompt!r}")
        self.drawing()

    def drawing(self) -> PictureConfig:
        """How the pictures are drawn."""
        return PictureConfig(steps=self.steps, guidance=self.guidance, batch=self.batch)


def drawn_checks(
    people: People,
    pipe: Any,
    checks: PersonaliserChecks,
    *,
    detector: Detector,
    judge: Embedder,
    judge_name: str,
    scorers: Sequence[PromptScorer] = (),
    previews: Path,
) -> Callable[[Trained, int], Mapping[str, float]]:
    """What `train_personaliser` takes as `measure`.

    The figures are `identity_JUDGE`, the mean cosine of the face in a picture to the photo it was asked for with, 0
    where there is no face; `without_face`, the share of those; and `prompt_SCORER`, the mean of each scorer's prompt
    scores, left out where it can judge none of the prompts.

    Args:
        people: of whom those held out are drawn.
        pipe: the base model.
        checks: what is drawn.
        detector: finds the faces.
        judge: embeds them.
        judge_name: what the figure is called.
        scorers: judge the pictures by their prompts, where "a person" stands for the name.
        previews: folder of the pictures, one file a validation.

    Raises:
        ConfigError: nobody is held out.
    """
    held_out = np.flatnonzero(people.held_out)
    _, first = np.unique(people.person[held_out], return_index=True)
    rows = held_out[first][: checks.people]
    if not len(rows):
        raise ConfigError("checks draw people who are held out, and nobody is; raise recipe.held_out or leave them out")
    crops = [
        warp_face(people.folder.picture(people.ids[people.photo[row]]), people.points[row]) for row in rows.tolist()
    ]
    references = judge.embed(np.stack(crops))

    def measure(trained: Trained, images: int) -> Mapping[str, float]:
        pictures, prompts, cosines = list[np.ndarray](), list[str](), list[float | None]()
        unet = pipe.unet
        pipe.unet = trained.denoiser or unet
        try:
            for row, reference in zip(rows.tolist(), references, strict=True):
                identity = torch.from_numpy(people.embedding[row, 0]).to(pipe.device)
                subject = Subject(NAME, trained.mapper.words(identity))
                for number, prompt in enumerate(checks.prompts):
                    drawn = draw_pictures(
                        pipe,
                        prompt.replace(PERSON, NAME),
                        [subject],
                        checks.drawing(),
                        numbers=range(number * checks.pictures, (number + 1) * checks.pictures),
                        fuse=trained.mapper.fuse,
                    )
                    pictures += list(drawn.images)
                    prompts += [prompt.replace(PERSON, "a person")] * len(drawn.images)
                    for image in drawn.images:
                        score = score_picture(image, {NAME: reference}, detector=detector, encoder=judge)
                        cosines.append(score.cosines[NAME])
        finally:
            pipe.unet = unet
        figures = {
            f"identity_{judge_name.replace(' ', '_')}": float(np.mean([cosine or 0.0 for cosine in cosines])),
            "without_face": float(np.mean([cosine is None for cosine in cosines])),
        }
        for scorer in scorers:
            found = [score for score in scorer.score(pictures, prompts) if score is not None]
            if found:
                figures[f"prompt_{scorer.name.replace(' ', '_')}"] = float(np.mean(found))
        if current().first:
            grid = picture_grid(np.stack(pictures), columns=len(checks.prompts) * checks.pictures)
            with atomic_path(previews / f"{images:09d}.png") as temporary:
                Image.fromarray(grid).save(temporary, format="PNG")
        return figures

    return measure
