"""InsightFace's verification sets: a pickle of (encoded pictures, whether each two of them match)."""

import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facewright.data.formats.records import Record, Records
from facewright.data.formats.safe_pickle import PickledArray, read_pickle
from facewright.errors import DataError, InputError

FOLDS = 10


class PairBin(Records):
    """The pictures of a .bin file: pictures 2 k and 2 k + 1 are pair k, label 1 where they match and 0 where not.

    The file is read as a whole and nothing it names is run, see `safe_pickle`.
    """

    format = "bin"
    pairs = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        value = read_pickle(data, str(path))
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise DataError(f"{path}: holds {type(value).__name__}, expected (pictures, matches); fetch it again")
        pictures, matches = value
        if not isinstance(pictures, list | tuple):
            raise DataError(f"{path}: its pictures are {type(pictures).__name__}, expected a list; fetch it again")
        self.issame = np.array(_flags(matches, path), bool)
        if len(pictures) != 2 * len(self.issame) or not len(pictures):
            raise DataError(
                f"{path}: {len(pictures)} pictures for {len(self.issame)} pairs, expected two a pair; fetch it again"
            )
        self._pictures = pictures
        self.labels = np.repeat(self.issame, 2).astype(np.int64)

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, number: int) -> Record:
        image = _image(self._pictures[number], self.where(number))
        return Record(image, int(self.labels[number]), f"{number // 2:06d}_{number % 2}")

    def where(self, number: int) -> str:
        return f"{self.path}: picture {number} (pair {number // 2})"


def write_pair_bin(records: Iterable[Record], path: Path) -> None:
    """Write pairs as a .bin of byte strings and booleans, which every public reader takes.

    Args:
        records: pictures 2 k and 2 k + 1 are pair k; their label is 1 where they match, else 0, see `are_pairs`.
        path: of the file; the pictures are held in memory until it is written.
    """
    pictures: list[bytes] = []
    labels: list[int] = []
    for record in records:
        pictures.append(record.image)
        labels.append(record.label)
    with path.open("wb") as opened:
        pickle.dump((pictures, [label == 1 for label in labels[::2]]), opened, protocol=4)


def are_pairs(labels: np.ndarray) -> bool:
    """Whether labels (N,) may be those of pairs: 0 or 1, and the same for pictures 2 k and 2 k + 1."""
    return len(labels) % 2 == 0 and bool(np.isin(labels, (0, 1)).all()) and np.array_equal(labels[::2], labels[1::2])


def draw_pairs(labels: np.ndarray, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw distinct pairs in ten folds, each with half matching pairs before half that do not, as LFW's lists have.

    Args:
        labels: (N,) int64.
        count: how many pairs, a multiple of 20.

    Returns:
        Numbers of the pictures (2 count,), pair k at 2 k and 2 k + 1; and whether each pair matches (count,) bool.

    Raises:
        InputError: another count, or the set has too few pairs of a kind.
    """
    if count < 1 or count % (2 * FOLDS):
        raise InputError(f"{count} pairs asked for; ten folds of half matching pairs need a multiple of {2 * FOLDS}")
    chance = np.random.default_rng(seed)
    _, sizes = np.unique(labels, return_counts=True)
    genuine, total = int((sizes * (sizes - 1) // 2).sum()), len(labels) * (len(labels) - 1) // 2
    if min(genuine, total - genuine) < count // 2:
        raise InputError(
            f"{count // 2} pairs of each kind asked for, but the set has {genuine:,} matching pairs and"
            f" {total - genuine:,} others; ask for fewer"
        )
    members = [np.flatnonzero(labels == label) for label in np.flatnonzero(np.bincount(labels) > 1)]
    chances = np.array([len(rows) * (len(rows) - 1) for rows in members], np.float64)
    kinds: list[list[tuple[int, int]]] = []
    for same in (True, False):
        drawn: dict[tuple[int, int], None] = {}
        while len(drawn) < count // 2:
            rows = members[chance.choice(len(members), p=chances / chances.sum())] if same else np.arange(len(labels))
            one, other = sorted(int(row) for row in chance.choice(rows, 2, replace=False))
            if same or labels[one] != labels[other]:
                drawn[one, other] = None
        kinds.append(list(drawn))
    folds = [np.reshape(kind, (FOLDS, -1, 2)) for kind in kinds]
    issame = np.tile(np.repeat([True, False], count // (2 * FOLDS)), FOLDS)
    return np.concatenate(folds, axis=1).reshape(-1), issame


def _flags(matches: object, path: Path) -> list[bool]:
    """Whether each pair matches, from a list or an array of booleans."""
    if isinstance(matches, PickledArray):
        matches = matches.array(f"{path}: matches").ravel().tolist()
    if not isinstance(matches, list | tuple):
        raise DataError(f"{path}: its matches are {type(matches).__name__}, expected a list; fetch it again")
    flags = []
    for pair, flag in enumerate(matches):
        value = flag.array(f"{path}: pair {pair}").item() if isinstance(flag, PickledArray) else flag
        if value not in (0, 1):
            raise DataError(f"{path}: whether pair {pair} matches is {value!r}, expected true or false; fetch it again")
        flags.append(bool(value))
    return flags


def _image(picture: object, where: str) -> bytes:
    """The encoded bytes of one picture: a byte string or a flat array of uint8."""
    kind = "nothing" if picture is None or picture == b"" else f"a value of {type(picture).__name__}"
    if isinstance(picture, PickledArray):
        array = picture.array(where)
        kind = f"an array of {array.dtype} {array.shape}"
        if array.dtype == np.uint8 and max(array.shape, default=0) == array.size:
            picture = array.tobytes()
    if not isinstance(picture, bytes | bytearray) or not picture:
        raise DataError(f"{where}: holds {kind}, expected the bytes of an encoded picture; fetch the file again")
    return bytes(picture)
