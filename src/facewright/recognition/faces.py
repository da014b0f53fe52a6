"""The faces that a recogniser is trained on: from a pack or any format of data sets, decoded when they are needed."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from threading import local
from typing import Protocol

import numpy as np

from facewright.data.formats import Decoder, Records, open_records
from facewright.data.formats.records import unless_skipped
from facewright.data.images import centre_crop
from facewright.data.packs import FacePack, read_pack
from facewright.errors import ConfigError, DataError, InputError
from facewright.recognition.recipe import AUTOMATIC, PACK, RecogniserRecipe, check_data
from facewright.training.seeds import seed_of

log = logging.getLogger(__name__)

CROP_SIZE = 112
FEWEST = 2  # pictures of a part of a batch that a batch norm can be trained on
NAMED = 10  # labels without a picture that are named in the log


class Source(Protocol):
    """Pictures by number; any number of threads may read at once."""

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crops uint8 (n, 112, 112, 3) RGB, and which of the (N,) numbers they are, ascending places (n,)."""
        ...


class PackSource:
    """The central crops of a pack."""

    def __init__(self, pack: FacePack) -> None:
        self._images = pack.images

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As of `Source`; none is ever missing."""
        return centre_crop(self._images[numbers], CROP_SIZE), np.arange(len(numbers))


class RecordSource:
    """Pictures of a data set, decoded and cut to their central crop.

    Args:
        records: of any format.
        skip: leave out what cannot be read; `skipped` then says why, by number. Else a damaged picture is a DataError.
    """

    def __init__(self, records: Records, *, skip: bool) -> None:
        self.records = records
        self.skip = skip
        self.skipped: dict[int, str] = {}
        self._threads = local()

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As of `Source`."""
        crops = np.empty((len(numbers), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        places: list[int] = []
        for place, number in enumerate(numbers.tolist()):
            try:
                crops[len(places)] = self._crop(number)
            except DataError as error:
                self.refuse(number, error)
                continue
            places.append(place)
        return crops[: len(places)], np.array(places, np.int64)

    def refuse(self, number: int, error: DataError) -> None:
        """Raise the error, or note it where damaged pictures are skipped."""
        if not self.skip:
            raise unless_skipped(error) from error
        if number not in self.skipped:
            self.skipped[number] = str(error)
            log.warning("skipped: %s", error)

    def _crop(self, number: int) -> np.ndarray:
        where = self.records.where(number)
        if not hasattr(self._threads, "decoder"):  # one for each thread, since it reuses its memory
            self._threads.decoder = Decoder()
        pixels: np.ndarray = self._threads.decoder.decode(self.records.read(number).image, where)
        if min(pixels.shape[:2]) < CROP_SIZE:
            raise DataError(
                f"{where}: {pixels.shape[1]} x {pixels.shape[0]} px, smaller than a crop of {CROP_SIZE} px; align it "
                "again"
            )
        return centre_crop(pixels, CROP_SIZE)


@dataclass(frozen=True, eq=False)
class Faces:
    """Pictures of some people."""

    source: Source
    numbers: np.ndarray  # (N,) int64, of the source
    labels: np.ndarray  # (N,) int64, contiguous from 0

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def people(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crops uint8 (n, 112, 112, 3) RGB and labels (n,) of these rows, without those that are skipped."""
        crops, places = self.source.read(self.numbers[rows])
        return crops, self.labels[rows[places]]

    def of(self, chosen: np.ndarray) -> "Faces":
        """The faces where `chosen` (N,) is true, their labels again from 0."""
        labels = np.unique(self.labels[chosen], return_inverse=True)[1]
        return replace(self, numbers=self.numbers[chosen], labels=labels)


@dataclass(frozen=True, eq=False)
class TrainingFaces:
    """What a recipe names: faces to train on, and other people's to validate on."""

    training: Faces
    held_out: Faces

    @property
    def skipped(self) -> dict[int, str]:
        """Why pictures were left out so far, by their number in the data set."""
        return getattr(self.training.source, "skipped", {})


def open_faces(recipe: RecogniserRecipe) -> TrainingFaces:
    """Open the data of a recipe; pictures are read when they are asked for.

    Raises:
        InputError: nothing there.
        ConfigError: it is of another format or size than the recipe says.
        DataError: labels have gaps and the recipe refuses them, a record is damaged, there are no labels, or fewer than
            two people to train on.
    """
    path = recipe.data
    if not path.exists():
        raise InputError(f"{path} does not exist; make a pack with facewright pack, or give recipe.data=SET")
    is_pack = (path / "index.npz").is_file() if recipe.format == AUTOMATIC else recipe.format == PACK
    faces, held_out = _of_pack(read_pack(path), recipe) if is_pack else _of_records(_open(recipe), recipe)
    check_data(recipe, people=faces.people, faces=len(faces))
    found = TrainingFaces(training=faces.of(~held_out), held_out=faces.of(held_out))
    if found.training.people < 2:
        raise DataError(
            f"{path} holds {found.training.people} people to train on; a recogniser needs at least 2 to tell apart"
        )
    return found


def _of_pack(pack: FacePack, recipe: RecogniserRecipe) -> tuple[Faces, np.ndarray]:
    if recipe.held_out_people:
        raise ConfigError(f"{recipe.data} is a pack and has people held out already; give recipe.held_out_people=0")
    known = np.flatnonzero(pack.labels >= 0)
    labels = np.unique(pack.labels[known], return_inverse=True)[1]
    return Faces(PackSource(pack), known, labels), pack.held_out[known]


def _open(recipe: RecogniserRecipe) -> Records:
    records = open_records(recipe.data, gaps="refuse" if recipe.gaps == "refuse" else "keep")
    if recipe.format not in (AUTOMATIC, records.format):
        raise ConfigError(f"{recipe.data} holds {records.format}, and the recipe says format = {recipe.format!r}")
    if records.pairs or records.latents:
        held = "pairs" if records.pairs else "tensors"
        raise DataError(f"{recipe.data}: holds {held}, and no pictures of labelled people; name a set of those")
    return records


def _of_records(records: Records, recipe: RecogniserRecipe) -> tuple[Faces, np.ndarray]:
    source = RecordSource(records, skip=recipe.damaged == "skip")
    for number in np.flatnonzero(records.labels < 0).tolist():
        source.refuse(number, _why(records, number))
    numbers = np.flatnonzero(records.labels >= 0)
    known, labels = np.unique(records.labels[numbers], return_inverse=True)
    if len(known) and known[-1] >= len(known):
        missing = np.setdiff1d(np.arange(known[-1]), known)
        some = ", ".join(map(str, missing[:NAMED].tolist())) + (" ..." if len(missing) > NAMED else "")
        log.warning(
            "%s: %d of %d labels have no picture (%s); the others are renumbered",
            records.path,
            len(missing),
            known[-1] + 1,
            some,
        )
    return Faces(source, numbers, labels), np.isin(labels, _held_out_people(labels, recipe))


def _why(records: Records, number: int) -> DataError:
    try:
        records.read(number)
    except DataError as error:
        return error
    return DataError(f"{records.where(number)}: its label cannot be read; restore it")


def _held_out_people(labels: np.ndarray, recipe: RecogniserRecipe) -> list[int]:
    """People of two pictures or more, chosen by their labels alone, so that runs with other seeds hold out the same."""
    several = np.flatnonzero(np.bincount(labels) > 1).tolist()
    if len(several) < recipe.held_out_people:
        raise ConfigError(
            f"{recipe.data} holds {len(several):,} people with two pictures or more, so {recipe.held_out_people:,} "
            "cannot be held out; lower recipe.held_out_people"
        )
    return sorted(several, key=lambda person: seed_of("held out person", person))[: recipe.held_out_people]


def describe(path: Path, faces: TrainingFaces) -> str:
    """One line on what is trained on."""
    training, held_out = faces.training, faces.held_out
    return (
        f"{path}: {len(training):,} faces of {training.people:,} people to train on, {len(held_out):,} of "
        f"{held_out.people:,} held out"
    )
