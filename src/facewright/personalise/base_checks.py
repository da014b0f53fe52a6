"""Pictures that a base model under training makes of fixed prompts, and whether they show what was asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facewright.errors import ConfigError
from facewright.personalise.pictures import PictureConfig, draw_pictures
from facewright.personalise.world_captions import GENDERS, Known, caption_of, phrase_of
from facewright.personalise.world_styles import PHOTO, STYLES
from facewright.training.precision import arithmetic

Answers = Callable[[np.ndarray], Mapping[str, list[str]]]
"""Pictures uint8 (B, H, W, 3) to the style, gender and age of each, as `PromptClassifier.answers` says them."""

_AGES = ("young", "middle aged", "old")


@dataclass(frozen=True)
class BaseChecks:
    """What is drawn at every save."""

    pictures: int = 1  # of each prompt
    steps: int = 20
    guidance: float = 3.0  # 1 is none

    def __post_init__(self) -> None:
        if self.pictures < 1:
            raise ConfigError(f"pictures must be at least 1, got {self.pictures}")


@dataclass(frozen=True)
class CheckPrompt:
    """A prompt and what its picture shall show."""

    style: str
    people: tuple[Known, ...]

    @property
    def prompt(self) -> str:
        """In words."""
        return caption_of([phrase_of(known)[0] for known in self.people], self.style)


def check_prompts() -> list[CheckPrompt]:
    """One person of each gender in every style, and two people in four of them."""
    alone = [
        CheckPrompt(style, (Known(gender, _AGES[(place + turn) % len(_AGES)]),))
        for turn, gender in enumerate(GENDERS)
        for place, style in enumerate(STYLES)
    ]
    both = (Known("woman", "young"), Known("man", "old"))
    pairs = [CheckPrompt(style, both[::turn]) for style in (PHOTO, STYLES[-1]) for turn in (1, -1)]
    return [*alone, *pairs]


def draw_checks(pipe: Any, checks: BaseChecks, *, answers: Answers | None) -> tuple[np.ndarray, dict[str, float]]:
    """Draw the check prompts.

    Args:
        pipe: a base model.
        checks: how.
        answers: judges the pictures; None: nobody does.

    Returns:
        Pictures uint8 (N, H, W, 3), those of a prompt together; and the shares of right answers `prompt_style`, over
        all of them, `prompt_gender` and `prompt_age`, over those of one person.
    """
    prompts = check_prompts()
    config = PictureConfig(steps=checks.steps, guidance=checks.guidance, batch=checks.pictures)
    with arithmetic("auto", pipe.device):
        images = np.concatenate(
            [draw_pictures(pipe, each.prompt, (), config, numbers=range(checks.pictures)).images for each in prompts]
        )
    if answers is None:
        return images, {}
    asked = [each for each in prompts for _ in range(checks.pictures)]
    told = answers(images)
    alone = [place for place, each in enumerate(asked) if len(each.people) == 1]
    right = {
        "style": [told["style"][place] == each.style for place, each in enumerate(asked)],
        "gender": [told["gender"][place] == asked[place].people[0].gender for place in alone],
        "age": [told["age"][place] == asked[place].people[0].age for place in alone],
    }
    return images, {f"prompt_{name}": float(np.mean(values)) for name, values in right.items()}
