"""One set made by several at once: who makes which batches, and how their rows become one manifest."""

import logging
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from facewright.data.sets import MANIFEST, SetRow, read_manifest, write_manifest
from facewright.errors import ConfigError, DataError, InputError

logger = logging.getLogger(__name__)

PARTS = "parts"
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")  # how atomic_path names what is not whole yet


@dataclass(frozen=True)
class Share:
    """Every `count`-th batch of a set's plan, beginning with batch `number`, counted from 1."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(f"a share is i/n with 1 <= i <= n, such as 1/3, got {self.number}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "2/3"; raises ConfigError for anything else."""
        if not (found := re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)):
            raise ConfigError(f"a share is i/n with 1 <= i <= n, such as 1/3, got {text!r}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def whole(self) -> bool:
        """Whether it is the set itself."""
        return self.count == 1

    def holds(self, batch: int) -> bool:
        """Whether the batch at this place of the plan, counted from 0, belongs to it."""
        return batch % self.count == self.number - 1

    def split(self, worker: int, workers: int) -> "Share":
        """The part of this share that falls to one of several workers, counted from 0."""
        return Share(self.number + self.count * worker, self.count * workers)


WHOLE = Share()


def write_part(out: Path, share: Share, rows: Iterable[SetRow]) -> None:
    """Keep the rows of one share, beside the manifest, until the set is complete."""
    write_manifest(out / PARTS / f"{share.number}-of-{share.count}", rows)


def read_parts(out: Path) -> dict[str, SetRow]:
    """The rows, by file, that shares have kept so far; a damaged part counts as empty (its pictures are read again)."""
    rows: dict[str, SetRow] = {}
    for folder in sorted((out / PARTS).glob("*-of-*")):
        try:
            rows.update((row.file, row) for row in read_manifest(folder))
        except InputError:
            continue  # the share was stopped before its first row, or the set was merged just now
        except DataError as error:
            logger.warning("a part is rebuilt from the pictures: %s", error)
    return rows


def read_listed(out: Path) -> dict[str, SetRow]:
    """The rows of the manifest by file; none where it is missing or damaged, for the pictures can be read again."""
    if not (out / MANIFEST).is_file():
        return {}
    try:
        return {row.file: row for row in read_manifest(out)}
    except DataError as error:
        logger.warning("the manifest is rebuilt from the pictures: %s", error)
        return {}


def merge_parts(out: Path, *, per_identity: int, identities: int) -> dict[str, SetRow]:
    """Make one manifest of all parts once the plan is complete; until then only read them.

    Several may call it at the same moment: all write the same bytes.

    Returns:
        The rows known so far, by file.
    """
    parts = read_parts(out)  # before the manifest: whoever removes the parts has written it
    listed = read_listed(out)
    rows = {**parts, **listed}
    if sum(row.index < per_identity for row in rows.values()) < per_identity * identities:
        return rows
    if parts.keys() - listed.keys():
        write_manifest(out, rows.values())
    shutil.rmtree(out / PARTS, ignore_errors=True)
    for path in (out / "images").rglob(".*"):
        if is_temporary(path):
            path.unlink(missing_ok=True)
    return rows


def is_temporary(path: Path) -> bool:
    """Whether the file is one that a process, killed perhaps, had not finished."""
    return bool(_TEMPORARY.fullmatch(path.name))
