"""Folders of pictures, one folder for each identity."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facewright.data.formats.list_file import read_picture
from facewright.data.formats.records import PICTURE_SUFFIXES, Record, Records
from facewright.errors import DataError, InputError


class ImageFolder(Records):
    """FOLDER/IDENTITY/PICTURE, labels from 0 in the order of the identities' folders.

    Where all names of a level are whole numbers they are in the order of the numbers, else in that of the text. Files
    that are no pictures by their suffix do not count.
    """

    format = "folder"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._files: list[str] = []
        labels: list[int] = []
        for label, folder in enumerate(class_folders(path)):
            files = _in_order(file.name for file in folder.iterdir() if _is_picture(file))
            if not files:
                raise DataError(f"{folder}: the folder of an identity holds no picture; remove it or add pictures")
            self._files += [f"{folder.name}/{file}" for file in files]
            labels += [label] * len(files)
        if not labels:
            raise InputError(f"{path}: holds no folder of pictures; expected one folder for each identity")
        self.labels = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, number: int) -> Record:
        file = self._files[number]
        return Record(read_picture(self.path / file, self.where(number)), int(self.labels[number]), file)

    def where(self, number: int) -> str:
        return str(self.path / self._files[number])


def class_folders(path: Path) -> list[Path]:
    """The folders in `path`, hidden ones left out, in the order of their labels."""
    return [
        path / name
        for name in _in_order(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != ".")
    ]


def holds_pictures(folder: Path) -> bool:
    """Whether a picture lies directly in `folder`."""
    return any(_is_picture(file) for file in folder.iterdir())


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURE_SUFFIXES and file.name[0] != "." and file.is_file()


def _in_order(names: Iterable[str]) -> list[str]:
    listed = sorted(names)
    stems = [Path(name).stem for name in listed]
    if all(stem.isascii() and stem.isdigit() for stem in stems):
        return sorted(listed, key=lambda name: int(Path(name).stem))
    return listed
