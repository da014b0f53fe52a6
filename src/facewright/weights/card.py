"""The card of a model: what it is, what made it, how its input looks, what it measures."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from facewright.errors import ConfigError, DataError

FORMAT = 1
"""Version of the card's layout; raised when an older reader would misread a newer card."""


@dataclass(frozen=True)
class InputConvention:
    """What the network expects: channel order, value range, and picture size in pixels."""

    colour: str = "RGB"
    low: float = -1.0
    high: float = 1.0
    height: int = 112
    width: int = 112

    def __post_init__(self) -> None:
        if self.colour not in ("RGB", "BGR"):
            raise ConfigError(f"input colour must be 'RGB' or 'BGR', got {self.colour!r}")
        if not self.low < self.high:
            raise ConfigError(f"input range must rise, got {self.low} to {self.high}")
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"input size must be positive, got {self.height} x {self.width}")


@dataclass(frozen=True)
class Card:
    """Facts that travel inside a weights file.

    `sha256`, `stored` and `created` describe the file and are filled in by `save_weights`.
    """

    name: str
    kind: str  # the role: encoder, autoencoder, generator, contexts, mapper
    architecture: Mapping[str, Any]  # config of the network, JSON values
    data: str  # what it was trained on
    licence: str
    recipe: str  # how it was trained
    input: InputConvention | None = InputConvention()  # None: it takes no picture
    measured: Mapping[str, float | str] = field(default_factory=dict)  # figure by name, the unit in the name
    encoder_sha256: str | None = None  # weights of the encoder whose embeddings it was trained with
    sha256: str = ""  # of the stored tensors
    stored: str = "float32"  # or float16: matrices and kernels halved, vectors float32
    created: str = ""  # ISO 8601, UTC

    def __post_init__(self) -> None:
        for key in ("name", "kind", "data", "licence", "recipe"):
            if not getattr(self, key).strip():
                raise ConfigError(f"a card's {key} must be said, got an empty text")

    def to_json(self) -> str:
        """The card as one JSON object, keys sorted; raises ConfigError when a value is not plain JSON."""
        try:
            return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"card of {self.name!r} holds a value that is not plain JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Self:
        """Read what `to_json` wrote; `source` names the file in errors (DataError)."""
        try:
            values = json.loads(text)
            number = values.pop("format")
            if number > FORMAT:
                raise DataError(
                    f"{source}: its card has format {number}, this facewright reads up to {FORMAT}; upgrade facewright"
                )
            known = {entry.name for entry in fields(cls)}
            if unknown := sorted(values.keys() - known):
                raise DataError(f"{source}: its card has the unknown entry {unknown[0]!r}")
            if values["input"] is not None:
                values["input"] = InputConvention(**values["input"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
            raise DataError(f"{source}: its card cannot be read ({error}); get the file again") from error

    def to_markdown(self) -> str:
        """The same facts for a reader."""
        lines = [
            f"# {self.name}",
            "",
            f"- kind: {self.kind}",
            f"- architecture: {_listed(self.architecture)}",
            f"- stored as: {self.stored}",
            f"- sha256 of the tensors: `{self.sha256}`",
            f"- created: {self.created}",
        ]
        if (shape := self.input) is not None:
            size = f"{shape.height} x {shape.width} px"
            lines.append(f"- input: {shape.colour}, values {shape.low:g} to {shape.high:g}, {size}")
        if self.encoder_sha256:
            lines.append(f"- conditioned on embeddings of the encoder `{self.encoder_sha256}`")
        lines += ["", "## Data", "", self.data, "", "## Recipe", "", self.recipe, "", "## Licence", "", self.licence]
        lines += ["", "## Measured", ""]
        lines += [f"- {name}: {value}" for name, value in sorted(self.measured.items())] or ["Nothing measured yet."]
        return "\n".join(lines) + "\n"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(values.items()))
