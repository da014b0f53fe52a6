"""What every format gives: encoded pictures with their labels, in the order of the file and by number."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from facewright.errors import DataError

_LOG = logging.getLogger(__name__)

Gaps = Literal["refuse", "keep", "renumber"]
"""What to do when a label below the largest one has no record."""
GAPS: tuple[str, ...] = get_args(Gaps)

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_SIGNATURES = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG\r\n\x1a\n", ".png"), (b"BM", ".bmp"))


@dataclass(frozen=True, slots=True)
class Record:
    """One picture as it is stored, and whose it is."""

    image: bytes  # the encoded file, usually JPEG
    label: int  # identity, from 0; in a set of pairs 1 where the two of a pair match, else 0
    name: str  # of the picture within its set: a path, or the key or number of the record


class Records(ABC):
    """The pictures of one data set; opened by `open_records`.

    Opening refuses what leaves no way to tell the records apart. Reading checks what it touches: a damaged record, or
    one that an index puts past the end of its file, raises DataError naming file and record, and none is left out. Any
    number of threads may read at once.
    """

    format: str
    pairs: bool = False  # pictures 2 k and 2 k + 1 are pair k of a verification set
    latents: bool = False  # the records hold tensors and no encoded pictures

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, number: int) -> Record:
        """Record `number`, from 0 in the order of the set."""

    @abstractmethod
    def where(self, number: int) -> str:
        """File and record, for messages."""

    def __iter__(self) -> Iterator[Record]:
        for number in range(len(self)):
            yield self.read(number)

    @cached_property
    def labels(self) -> np.ndarray:
        """Label of every record, (N,) int64; -1 where the record is damaged, which reading it explains.

        Formats that keep the label beside the picture have to look at every record for this.
        """
        labels = np.full(len(self), -1, np.int64)
        for number in range(len(self)):
            try:
                labels[number] = self._label(number)
            except DataError as error:
                _LOG.debug("no label: %s", error)
        return labels

    def check_labels(self) -> None:  # noqa: B027 - most formats say it once
        """Raise DataError where the format says otherwise whose the pictures are, and contradicts the labels."""

    def _label(self, number: int) -> int:
        """Label of one record, without its picture where the format allows."""
        return self.read(number).label


class Renumbered(Records):
    """The same records with labels 0 ... C - 1 in the order of the labels that occur."""

    def __init__(self, records: Records) -> None:
        super().__init__(records.path)
        self.format, self.latents = records.format, records.latents
        self._records = records
        self._known = np.unique(records.labels[records.labels >= 0])

    def __len__(self) -> int:
        return len(self._records)

    def read(self, number: int) -> Record:
        record = self._records.read(number)
        return replace(record, label=int(np.searchsorted(self._known, record.label)))

    def where(self, number: int) -> str:
        return self._records.where(number)

    @cached_property
    def labels(self) -> np.ndarray:
        labels = self._records.labels
        return np.where(labels >= 0, np.searchsorted(self._known, labels), -1)


def settle_gaps(records: Records, gaps: Gaps) -> Records:
    """Apply the policy for labels that no record has; such a label would be a class that is never trained.

    Raises:
        DataError: there are gaps and the policy is to refuse them; or, unless they are kept, the labels are
            contradicted (`Records.check_labels`).
    """
    if gaps == "keep" or records.pairs:
        return records
    records.check_labels()
    known = np.unique(records.labels[records.labels >= 0])
    if not len(known) or known[-1] == len(known) - 1:
        return records
    if gaps == "renumber":
        return Renumbered(records)
    missing = int(np.argmax(known != np.arange(len(known))))
    beyond = int(np.argmax(records.labels > missing))
    raise DataError(
        f"{records.where(beyond)}: has label {int(records.labels[beyond])}, but no record has label {missing}:"
        f" {len(known):,} of {int(known[-1]) + 1:,} labels occur; add what is missing, or renumber the labels"
        " (--labels renumber, recipe.gaps=renumber)"
    )


def whole_label(value: float | str, where: str) -> int:
    """A label as the whole number it must be; DataError naming the record otherwise."""
    if type(value) is float and value.is_integer() and value >= 0:
        return int(value)
    try:
        number = float(value)
        whole = int(number)
    except (ValueError, OverflowError):
        number, whole = -1.0, -1
    if whole != number or whole < 0:
        raise DataError(f"{where}: the label is {value}, expected a whole number from 0; correct the file")
    return whole


def unless_skipped(error: DataError) -> DataError:
    """The error of a damaged record where it is refused: its own cure, or to skip it."""
    return DataError(f"{error}, or skip damaged records (--damaged skip, recipe.damaged=skip)")


def index_name(record: Record) -> str:
    """The record's name for a line of an index; DataError where it would break the line."""
    if any(character in record.name for character in "\t\r\n"):
        raise DataError(f"the name {record.name!r} has a tab or line break in it, which no index can hold; rename it")
    return record.name


def picture_suffix(image: bytes, where: str) -> str:
    """What a file of these bytes is called, by its first bytes: .jpg, .png, .webp or .bmp.

    Raises:
        DataError: it is none of them; names `where`.
    """
    for signature, suffix in _SIGNATURES:
        if image.startswith(signature):
            return suffix
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return ".webp"
    raise DataError(f"{where}: no JPEG, PNG, WebP or BMP; replace it")
