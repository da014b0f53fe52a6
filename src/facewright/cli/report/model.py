"""What a report says, before it has a form."""

from dataclasses import dataclass

import numpy as np

from facewright.cli.report.gallery import Gallery
from facewright.errors import ConfigError


@dataclass(frozen=True)
class Figure:
    """One headline number: as it is to be read, what it is, and how it was measured."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Person:
    """The faces of one identity.

    `faces` is uint8 (K, H, W, 3) RGB; `similarity`, where known, holds the cosine of each face to the identity that it
    was made for, (K,) in [-1, 1].
    """

    name: str
    faces: np.ndarray
    similarity: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.faces.dtype != np.uint8 or self.faces.ndim != 4 or self.faces.shape[-1] != 3 or not len(self.faces):
            raise ConfigError(
                f"faces of {self.name} must be uint8 (K, H, W, 3) with K of 1 or more, "
                f"got {self.faces.dtype} {self.faces.shape}"
            )
        if self.similarity is not None and self.similarity.shape != (len(self.faces),):
            raise ConfigError(
                f"{self.name} has {len(self.faces)} faces and similarities of shape {self.similarity.shape}; "
                "give one a face"
            )


@dataclass(frozen=True)
class Histogram:
    """Cosines of pairs of one person (genuine) and of two people (impostor), and the threshold drawn between them."""

    title: str
    genuine: np.ndarray  # (M,) in [-1, 1]
    impostor: np.ndarray  # (L,) in [-1, 1]
    threshold: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name, scores in (("genuine", self.genuine), ("impostor", self.impostor)):
            if not scores.size or not np.isfinite(scores).all():
                raise ConfigError(f"{self.title}: {name} scores must be finite numbers, one or more; got {scores.size}")


@dataclass(frozen=True)
class Curve:
    """One line of a ROC: false match rate (log axis) against true match rate, both (K,) in [0, 1].

    `impostors` is the number of impostor pairs: the line starts at the rate of one false match among them.
    """

    label: str
    false_match: np.ndarray
    true_match: np.ndarray
    impostors: int

    def __post_init__(self) -> None:
        if self.false_match.shape != self.true_match.shape or self.false_match.ndim != 1 or not self.false_match.size:
            raise ConfigError(
                f"curve {self.label} needs two vectors of one length, "
                f"got {self.false_match.shape} and {self.true_match.shape}"
            )


@dataclass(frozen=True)
class Table:
    """Rows of text under a header of the same width; a column of numbers is aligned as such."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ConfigError(f"table {self.title} has {len(self.header)} columns and a row of {len(row)}: {row}")


@dataclass(frozen=True)
class Step:
    """One thing that was done, and the seconds it took."""

    title: str
    detail: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """A whole report, in reading order."""

    title: str
    lede: str
    people: tuple[Person, ...]
    figures: tuple[Figure, ...] = ()
    histogram: Histogram | None = None
    roc: tuple[Curve, ...] = ()
    roc_note: str = ""
    tables: tuple[Table, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    steps: tuple[Step, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()  # what a reader must know before quoting a number
    command: str = ""  # makes the same report again

    def __post_init__(self) -> None:
        if not self.people:
            raise ConfigError("a report needs the faces of one person or more")
