"""The miniature world's captions: what is known of people and pictures, in words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facewright.errors import ConfigError, InputError
from facewright.personalise.world_styles import BACKGROUNDS, PHOTO, STYLES, background_of

GENDERS = ("man", "woman")
AGES = ("child", "young", "middle aged", "old")
AGE_LIMITS = (13, 35, 60)
"""Years at which `AGES` change: a child is below 13, who is old is 60 or more."""
PERSON = "person"
_NOUNS = {"man": "boy", "woman": "girl", PERSON: "child"}  # of children
_SAID_OF = {
    **{noun: (None if noun == PERSON else noun, None) for noun in (*GENDERS, PERSON)},
    **{child: (None if noun == PERSON else noun, "child") for noun, child in _NOUNS.items()},
}
_PHRASE = re.compile(rf"an? (?:({'|'.join(AGES[1:])}) )?(?:(\w+) )?({'|'.join(_SAID_OF)})")

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
    named: float = 0.0  # by name instead, where there is one

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is a share from 0 to 1, got {value}")


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


# How captions are read. The longest templates first: "a photo of {} at night" also fits "a photo of {}".
_READ = sorted(
    ((style, *template.split("{}")) for style in STYLES for template in templates(style)),
    key=lambda each: -len(each[1]) - len(each[2]),
)


def caption_of(phrases: Sequence[str], style: str = PHOTO, *, template: int = 0) -> str:
    """A picture in words.

    Args:
        phrases: its people from left to right, such as `phrase_of` makes, or names.
        style: of `STYLES`.
        template: which of `templates(style)`.
    """
    return templates(style)[template].format(joined(phrases))


def read_caption(text: str) -> tuple[str, tuple[Known, ...]] | None:
    """What a caption of the world says: its style and its people from left to right, or None where it is no such one.

    The opposite of `caption_of` and `phrase_of`. Capitals and a full stop at the end make no difference; one word
    between a person's age and noun is taken for the group.
    """
    text = " ".join(text.casefold().split()).removesuffix(".")
    for style, opening, ending in _READ:
        end = len(text) - len(ending)
        if len(opening) < end and text.startswith(opening) and text.endswith(ending):
            found = [_PHRASE.fullmatch(part) for part in re.split(r", | and ", text[len(opening) : end])]
            people = tuple(_said(phrase) for phrase in found if phrase is not None)
            if len(people) == len(found):
                return style, people
    return None


def _said(phrase: re.Match[str]) -> Known:
    adjective, group, noun = phrase.groups()
    gender, age = _SAID_OF[noun]
    return Known(gender, age or adjective, group)


def vocabulary(groups: Sequence[str] = ()) -> tuple[str, ...]:
    """Every word that a caption can hold, sorted.

    Args:
        groups: words of the manifests.
    """
    texts = [text for style in STYLES for text in templates(style)]
    texts += [*BACKGROUNDS, *AGES, *GENDERS, PERSON, *_NOUNS.values(), *groups, "an", "and", ","]
    return tuple(sorted({word for text in texts for word in text.replace("{}", " ").split()}))
