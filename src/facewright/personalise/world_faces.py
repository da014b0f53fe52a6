"""The faces of the miniature world: a pack, and what manifests or a classifier know of its people."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facewright.data.packs import FacePack, read_pack
from facewright.errors import ConfigError, DataError, InputError
from facewright.personalise.world_captions import AGES, GENDERS, Known, age_of

GREY = 12.0
"""Faces whose mean difference of the largest and smallest colour channel is below this are taken as grey photos."""
_GENDER_WORDS = {"male": "man", "man": "man", "m": "man", "female": "woman", "woman": "woman", "f": "woman"}
_NOT_SAID = frozenset({"", "others", "other", "unknown"})
_CHUNK = 1024


@dataclass(frozen=True)
class Manifest:
    """A CSV file about one source of a pack; a row belongs to the face whose file it names."""

    file: Path  # with a column `file`
    source: int  # number of the source within the pack, from 0
    age: str | None = None  # column of years
    gender: str | None = None  # column of male or female
    group: str | None = None  # column of a word, such as asian


@dataclass(frozen=True)
class WorldFaces:
    """Faces and what is known of them; arrays have a row for each face of the pack.

    pack: the faces.
    gender: int8, index into GENDERS, -1 unknown.
    age: int8, index into AGES, -1 unknown.
    group: int16, index into groups, -1 unknown.
    groups: words.
    usable: bool; False for rows without a face and for grey photos.
    files: str; what each photo is called within its source.
    names: str, empty for who has none; None where nobody has one.
    """

    pack: FacePack
    gender: np.ndarray
    age: np.ndarray
    group: np.ndarray
    groups: tuple[str, ...]
    usable: np.ndarray
    files: np.ndarray
    names: np.ndarray | None = None

    def known(self, row: int) -> Known:
        """What is known of the person on a face."""
        gender, age, group = int(self.gender[row]), int(self.age[row]), int(self.group[row])
        return Known(
            GENDERS[gender] if gender >= 0 else None,
            AGES[age] if age >= 0 else None,
            self.groups[group] if group >= 0 else None,
        )

    def rows(self, *, held_out: bool, known: bool = False) -> np.ndarray:
        """Usable faces of people who are, or are not, held out; with `known`, those whose gender and age are known."""
        chosen = self.usable & (self.pack.held_out == held_out)
        if known:
            chosen &= (self.gender >= 0) & (self.age >= 0)
        return np.flatnonzero(chosen)


def read_world_faces(folder: Path, manifests: Sequence[Manifest] = ()) -> WorldFaces:
    """Open a pack and look its people up.

    Args:
        folder: of the pack.
        manifests: CSV files about its sources.

    Raises:
        InputError: a manifest does not exist.
        DataError: the pack is not whole; a manifest lacks a column or holds a wrong value; or none of its files is in
            the pack.
        ConfigError: the pack has no such source.
    """
    pack = read_pack(folder)
    with np.load(folder / "index.npz", allow_pickle=False) as index:
        sources, files = index["source"], index["files"]
    gender, age = np.full(len(files), -1, np.int8), np.full(len(files), -1, np.int8)
    group, groups = np.full(len(files), -1, np.int16), list[str]()
    for manifest in manifests:
        if not (sources == manifest.source).any():
            raise ConfigError(f"{manifest.file} is said to be about source {manifest.source}, which {folder} has not")
        rows = {str(files[row]): row for row in np.flatnonzero(sources == manifest.source)}
        found = 0
        for where, cells in _table(manifest):
            row = rows.get(cells["file"])
            if row is None:
                continue
            found += 1
            if manifest.gender:
                gender[row] = _gender(cells[manifest.gender], where)
            if manifest.age:
                age[row] = AGES.index(age_of(_years(cells[manifest.age], where)))
            if manifest.group and (word := cells[manifest.group].strip().lower()) not in _NOT_SAID:
                if word not in groups:
                    groups.append(word)
                group[row] = groups.index(word)
        if not found:
            raise DataError(f"{manifest.file}: none of its files is in source {manifest.source} of {folder}")
    return WorldFaces(pack, gender, age, group, tuple(groups), (pack.sources >= 0) & ~_grey(pack), files)


def with_guesses(
    faces: WorldFaces, guess: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], *, sure: float = 0.9
) -> WorldFaces:
    """The same faces, with a classifier's word for what no manifest says.

    Args:
        faces: as of `read_world_faces`.
        guess: uint8 crops (B, 112, 112, 3) to probabilities (B, 2) of the genders and (B, 4) of the ages.
        sure: below this probability nothing is said.
    """
    gender, age = faces.gender.copy(), faces.age.copy()
    rows = np.flatnonzero(faces.usable & ((gender < 0) | (age < 0)))
    for start in range(0, len(rows), _CHUNK):
        own = rows[start : start + _CHUNK]
        for guessed, known in zip(guess(faces.pack.images[own][:, 8:120, 8:120]), (gender, age), strict=True):
            best = np.where(guessed.max(1) >= sure, guessed.argmax(1), -1)
            known[own] = np.where(known[own] >= 0, known[own], best)
    return replace(faces, gender=gender, age=age)


def _grey(pack: FacePack) -> np.ndarray:
    """Which faces have hardly any colour, by every eighth pixel; (N,) bool."""
    colour = []
    for start in range(0, len(pack.images), _CHUNK):
        part = pack.images[start : start + _CHUNK, ::8, ::8]
        colour.append((part.max(3) - part.min(3)).mean((1, 2)))
    return np.concatenate(colour) < GREY


def _table(manifest: Manifest) -> list[tuple[str, dict[str, str]]]:
    """Rows of the CSV file, each with its place."""
    wanted = ["file", *(column for column in (manifest.age, manifest.gender, manifest.group) if column)]
    try:
        with manifest.file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if missing := [column for column in wanted if column not in (reader.fieldnames or ())]:
                raise DataError(
                    f"{manifest.file} has no column {missing[0]}; it has {', '.join(reader.fieldnames or ())}"
                )
            return [(f"{manifest.file}, line {line}", dict(cells)) for line, cells in enumerate(reader, start=2)]
    except FileNotFoundError as error:
        raise InputError(f"{manifest.file} does not exist; name the manifest of a source of the pack") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest.file} is not a CSV file ({error}); get it again") from error


def _gender(text: str, where: str) -> int:
    if text.strip().lower() in _NOT_SAID:
        return -1
    word = _GENDER_WORDS.get(text.strip().lower())
    if word is None:
        raise DataError(f"{where}: the gender must be male or female, got {text!r}")
    return GENDERS.index(word)


def _years(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{where}: the age must be whole years, got {text!r}") from error
