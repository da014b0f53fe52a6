"""The miniature world's captions: what is known of people and pictures, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facewright.errors import InputError
from facewright.personalise.world_styles import BACKGROUNDS, PHOTO, STYLES, background_of

GENDERS = ("man", "woman")
AGES = ("child", "young", "middle aged", "old")
AGE_LIMITS = (13, 35, 60)
"""Years at which `AGES` change: a child is below 13, who is old is 60 or more."""
PERSON = "person"
_NOUNS = {"man": "boy", "woman": "girl", PERSON: "child"}  # of children

_OPENINGS = ("a photo of {}", "a picture of {}", "a portrait of {}", "{}")
_STYLED = {
    "sepia": ("a sepia photo of {}", "a photo of {} in sepia"),
    "black and white": ("a black and white photo of {}", "a photo of {} in black and white"),
    "pencil": ("a pencil drawing of {}", "a drawing of {} in pencil"),
    "night": ("a photo of {} at night", "{} at night"),
    "blurred": ("a blurred photo of {}", "a blurred picture of {}"),
}


@dataclass(frozen=True)
class Known:
    """What is known of a person; None is unknown."""

    gender: str | None = None  # of GENDERS
    age: str | None = None  # of AGES
    group: str | None = None  # a word of the manifest, such as "asian"

    def __post_init__(self) -> None:
        for value, known in ((self.gender, GENDERS), (self.age, AGES)):
            if value is not None and value not in known:
                raise InputError(f"a person is one of {', '.join(known)}, or it is unknown; got {value!r}")


@dataclass(frozen=True)
class Said:
    """How often what is known is also said."""

    gender: float = 0.85
    age: float = 0.7
    group: float = 0.25


def age_of(years: int) -> str:
    """The word for an age: one of `AGES`."""
    return AGES[int(np.searchsorted(AGE_LIMITS, years, side="right"))]


def phrase_of(known: Known) -> tuple[str, str]:
    """A person in words, and the noun among them: ("an old asian woman", "woman"); children are boys and girls."""
    noun = known.gender or PERSON
    words = [known.age, known.group]
    if known.age == "child":
        noun, words = _NOUNS[noun], [known.group]
    text = " ".join([*(word for word in words if word), noun])
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}", noun


def drawn_phrase(known: Known, said: Said, rng: np.random.Generator) -> tuple[str, str]:
    """As `phrase_of`, of a random part of what is known; a child is always said to be one."""
    gender, age, group = rng.random(3)
    return phrase_of(
        Known(
            known.gender if gender < said.gender else None,
            known.age if age < said.age or known.age == "child" else None,
            known.group if group < said.group else None,
        )
    )


def joined(phrases: Sequence[str]) -> str:
    """People from left to right: "a woman, a man and a boy".

    Raises:
        InputError: nobody.
    """
    if not phrases:
        raise InputError("a caption names at least one person, got none")
    *first, last = phrases
    return f"{', '.join(first)} and {last}" if first else last


def templates(style: str) -> tuple[str, ...]:
    """How a style is said, with {} for the people; the first is the plainest.

    Raises:
        InputError: no such style.
    """
    if background_of(style) is not None:
        colour = style.removesuffix(" background")
        return (f"a photo of {{}} on a {colour} background", f"{{}} on a {colour} background")
    return _OPENINGS if style == PHOTO else _STYLED[style]


def caption_of(phrases: Sequence[str], style: str = PHOTO, *, template: int = 0) -> str:
    """A picture in words.

    Args:
        phrases: its people from left to right, such as `phrase_of` makes, or names.
        style: of `STYLES`.
        template: which of `templates(style)`.
    """
    return templates(style)[template].format(joined(phrases))


def vocabulary(groups: Sequence[str] = ()) -> tuple[str, ...]:
    """Every word that a caption can hold, sorted.

    Args:
        groups: words of the manifests.
    """
    texts = [text for style in STYLES for text in templates(style)]
    texts += [*BACKGROUNDS, *AGES, *GENDERS, PERSON, *_NOUNS.values(), *groups, "an", "and", ","]
    return tuple(sorted({word for text in texts for word in text.replace("{}", " ").split()}))
