"""Which prompts personalised pictures are measured on: FastComposer's two protocols, and a file of one's own.

FastComposer (Xiao et al. 2023, section 5) measures one person on 40 prompts of four kinds and pairs of people on 21 of
three kinds, four pictures each. The prompts here have its kinds and their numbers in our own words, so its published
figures are near neighbours and no more.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from facewright.errors import ConfigError, DataError, InputError

PLACE = "{}"
"""Stands in a prompt for each person."""

_SINGLE = {
    "accessory": (
        "{} with a bright red hat",
        "{} in a Santa Claus hat",
        "{} in a scarf of all the colours of the rainbow",
        "{} with a tall black hat and a monocle",
        "{} dressed as a cook",
        "{} dressed as a firefighter",
        "{} in the uniform of the police",
        "{} with pink glasses on",
        "{} in a yellow shirt",
        "{} dressed as a wizard, in purple",
    ),
    "style": (
        "a wall painting of {} by Banksy",
        "{} painted by Vincent van Gogh",
        "{} as graffiti in many colours",
        "a watercolour of {}",
        "{} as an ancient Greek statue of marble",
        "a mural of {} on a street",
        "{} photographed in black and white",
        "a painting of {} made of small dots",
        "{} as a Japanese woodblock print",
        "{} sprayed through a stencil",
    ),
    "action": (
        "{} on the back of a horse",
        "{} with a glass of wine in hand",
        "{} with a piece of cake in hand",
        "{} giving a talk to students",
        "{} with a book, reading",
        "{} at work in the garden behind the house",
        "{} at the stove, making a meal",
        "{} training in a gym",
        "{} out with a dog on a lead",
        "{} taking biscuits out of the oven",
    ),
    "context": (
        "{} among the trees of a jungle",
        "{} in falling snow",
        "{} on a beach",
        "{} on a street of cobblestones",
        "{} on a bed of pink cloth",
        "{} on a floor of wooden boards",
        "{} before the towers of a city",
        "{} before a mountain",
        "{} before a blue house",
        "{} on a purple carpet in a wood",
    ),
}
_MULTI = {
    "style": (
        "{} and {} together, painted by Vincent van Gogh",
        "{} and {} together in a watercolour",
        "{} and {} together as graffiti in many colours",
        "{} and {} together in an oil painting of the Renaissance",
        "{} and {} together as a Japanese woodblock print",
        "{} and {} together, photographed in black and white",
        "{} and {} together in a drawing by pencil",
    ),
    "action": (
        "{} and {} cooking a meal together",
        "{} and {} at a table, eating together",
        "{} and {} reading a book together",
        "{} and {} singing together on a stage",
        "{} and {} dancing together",
        "{} and {} training in a gym together",
        "{} and {} in a garden, planting flowers together",
        "{} and {} raising glasses of wine together",
    ),
    "context": (
        "{} and {} together on a beach",
        "{} and {} together in falling snow",
        "{} and {} together among the trees of a jungle",
        "{} and {} together before the towers of a city",
        "{} and {} together before a mountain",
        "{} and {} together in a library",
    ),
}


@dataclass(frozen=True)
class ProtocolPrompt:
    """A prompt with `{}` for each person."""

    template: str
    category: str = ""

    def named(self, names: Sequence[str]) -> str:
        """The prompt with these names, in their order."""
        first, *rest = self.template.split(PLACE)
        return first + "".join(name + text for name, text in zip(names, rest, strict=True))


@dataclass(frozen=True)
class PromptProtocol:
    """What is drawn of whom, and how."""

    name: str
    prompts: tuple[ProtocolPrompt, ...]
    count: int = 4  # pictures of each prompt and group of people
    steps: int = 50
    guidance: float = 5.0
    alpha: float = 0.5  # share of the steps that see the people
    seed: int = 42

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ConfigError(f"the protocol {self.name} has no prompt; give at least one")
        numbers = [prompt.template.count(PLACE) for prompt in self.prompts]
        for number, prompt in zip(numbers, self.prompts, strict=True):
            if number != numbers[0] or number < 1:
                raise ConfigError(
                    f"the prompts of {self.name} must have one number of {PLACE}, one for each person; "
                    f"{prompt.template!r} has {number}, the first has {numbers[0]}"
                )

    @property
    def people(self) -> int:
        """In each picture."""
        return self.prompts[0].template.count(PLACE)

    def groups(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Everybody alone, or every pair (three, ...) once, in the order of the names.

        Raises:
            InputError: fewer people than a picture shows.
        """
        if len(names) < self.people:
            raise InputError(
                f"the protocol {self.name} shows {self.people} people in a picture, got {len(names)}; add folders"
            )
        return list(combinations(names, self.people))


def _protocol(name: str, prompts: Mapping[str, tuple[str, ...]]) -> PromptProtocol:
    return PromptProtocol(name, tuple(ProtocolPrompt(text, kind) for kind, texts in prompts.items() for text in texts))


SINGLE = _protocol("single", _SINGLE)
"""One person: 10 accessories, 10 styles, 10 actions, 10 contexts."""
MULTI = _protocol("multi", _MULTI)
"""Every pair of people: 7 styles, 8 actions, 6 contexts."""
PROTOCOLS = {protocol.name: protocol for protocol in (SINGLE, MULTI)}


def read_protocol(source: Path | str) -> PromptProtocol:
    """A protocol by name, or a .csv of one's own with the column prompt and, if wanted, category.

    Raises:
        InputError: neither a known name nor a file.
        DataError: the file has no such column, or is no text.
        ConfigError: the prompts do not all show one number of people.
    """
    if str(source) in PROTOCOLS:
        return PROTOCOLS[str(source)]
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source} is no protocol; name {' or '.join(PROTOCOLS)}, or a .csv with a column prompt")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV file of UTF-8 text ({error})") from error
    if not rows or "prompt" not in rows[0]:
        raise DataError(f"{path} holds no row under a column prompt; write one prompt a line below that header")
    prompts = [ProtocolPrompt((row["prompt"] or "").strip(), (row.get("category") or "").strip()) for row in rows]
    return PromptProtocol(path.stem, tuple(prompts))
