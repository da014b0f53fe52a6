"""The faces a generator learns from: a pack, or a labelled set in any format of the field."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from facewright.data.formats import Decoder, Record, Records, open_records
from facewright.data.formats.image_folder import holds_pictures
from facewright.data.formats.list_file import read_picture
from facewright.data.formats.records import PICTURE_SUFFIXES
from facewright.data.packs import read_pack
from facewright.data.sets import MANIFEST
from facewright.errors import DataError
from facewright.training.seeds import seed_of

SIZE = 128  # pixels; the central 112 are the aligned crop
CROP = 112
CELL = 8  # pixels of a cell of the masks
HELD_OUT_SHARE = 20  # one identity in this many is held out
HASHED = 64  # records whose bytes count in a fingerprint


class Pictures(Protocol):
    """Pictures by their row numbers, uint8 (n, 128, 128, 3) RGB; an array or a file that is read as needed."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...
    def __len__(self) -> int: ...


class TrainingFaces(Protocol):
    """What trainings use of a `data.packs.FacePack`."""

    @property
    def images(self) -> Pictures: ...
    @property
    def held_out(self) -> np.ndarray: ...
    @property
    def sources(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...  # of people, -1 unknown
    @property
    def masks(self) -> np.ndarray: ...


class LooseFaces(Records):
    """A folder of pictures of people whom nobody named: each counts as a person of its own."""

    format = "loose"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
        self.labels = np.arange(len(self._files))

    def __len__(self) -> int:
        return len(self._files)

    def read(self, number: int) -> Record:
        file = self._files[number]
        return Record(read_picture(file, self.where(number)), number, file.name)

    def where(self, number: int) -> str:
        return str(self._files[number])


class RecordPictures:
    """The pictures of a data set, decoded whenever they are asked for; all are `side` px wide and high.

    Those of 112 px get their border repeated outwards to 128.
    """

    def __init__(self, records: Records, side: int) -> None:
        self.records, self.side = records, side
        self._decoder = Decoder()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        pictures = np.empty((len(rows), SIZE, SIZE, 3), np.uint8)
        for picture, number in zip(pictures, np.asarray(rows).tolist(), strict=True):
            where = self.records.where(number)
            pixels = self._decoder.decode(self.records.read(number).image, where)
            if pixels.shape[:2] != (self.side, self.side):
                raise DataError(
                    f"{where}: a picture of {pixels.shape[1]} x {pixels.shape[0]} px, expected {self.side} x"
                    f" {self.side} like the first; align the faces with facewright align or facewright pack"
                )
            edge = (SIZE - self.side) // 2
            picture[:] = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), mode="edge")
        return pictures


class RecordFaces:
    """A data set as training faces; one person in twenty is held out, by the number of the label.

    All pictures must have the size of the first, 112 or 128 px.
    """

    def __init__(self, records: Records) -> None:
        side = len(Decoder().decode(records.read(0).image, records.where(0)))
        if side not in (CROP, SIZE):
            raise DataError(
                f"{records.where(0)}: a picture {side} px high, expected {CROP} or {SIZE}; align the faces with "
                "facewright align or facewright pack"
            )
        self.images = RecordPictures(records, side)
        self.sources = np.zeros(len(records), np.int8)
        self.labels = np.asarray(records.labels, np.int64)
        self.held_out = np.array([seed_of("held out", int(x)) % HELD_OUT_SHARE == 0 for x in records.labels])
        mask = np.ones((SIZE // CELL, SIZE // CELL), np.uint8)
        if side == CROP:
            mask[[0, -1]] = mask[:, [0, -1]] = 0
        self.masks = np.broadcast_to(mask, (len(records), *mask.shape))


def open_faces(path: Path) -> TrainingFaces:
    """Open a pack, a set in any format that `data.formats` knows, or a folder of pictures; pixels are read when used.

    Raises:
        InputError: nothing there, or nothing that is known.
        DataError: it is damaged, or holds no pictures of 112 or 128 px.
    """
    if (path / "index.npz").exists() or not path.exists():
        return read_pack(path)
    return RecordFaces(_records(path))


def _records(path: Path) -> Records:
    if path.is_dir() and not (path / MANIFEST).is_file() and holds_pictures(path):
        return LooseFaces(path)
    records = open_records(path, gaps="keep")
    if records.latents or records.pairs or not len(records):
        raise DataError(f"{path}: holds no training pictures; name a set, a pack or a folder of crops")
    return records


def fingerprint(path: Path) -> str:
    """A hash by which a cache knows the faces it was made of.

    Of a pack it covers the index; of a set the number of pictures, their labels and the bytes of 64 of them.
    """
    if (path / "index.npz").exists():
        with (path / "index.npz").open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    records = _records(path)
    digest = hashlib.sha256(records.labels.tobytes())
    for number in np.unique(np.linspace(0, len(records) - 1, HASHED).astype(int)).tolist():
        digest.update(hashlib.sha256(records.read(number).image).digest())
    return digest.hexdigest()


def training_rows(faces: TrainingFaces) -> np.ndarray:
    """Row numbers of the faces that may be learnt from."""
    return np.flatnonzero(~faces.held_out & (faces.sources >= 0))
