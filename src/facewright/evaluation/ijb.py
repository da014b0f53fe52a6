"""The lists of IJB-B and IJB-C as the field passes them on: faces with templates and media, pairs, five points.

`NAME_face_tid_mid.txt` has lines `image template medium`; `NAME_template_pair_label.txt` has `template template 0|1`,
15.7 million of them for IJB-C; `NAME_name_5pts_score.txt` has `image x1 y1 ... x5 y5 score`, points in pixels of the
image in `loose_crop`. Both lists of faces are in the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from facewright.errors import DataError, InputError

FACES, PAIRS, POINTS = "_face_tid_mid.txt", "_template_pair_label.txt", "_name_5pts_score.txt"
BLOCK = 1 << 24  # bytes of a list read at once


@dataclass(frozen=True)
class IjbLists:
    """Where the three lists of one benchmark are; `points` is None where the images are aligned already."""

    name: str
    faces: Path
    pairs: Path
    points: Path | None


@dataclass(frozen=True, eq=False)
class IjbFaces:
    """The listed faces, in order."""

    images: tuple[str, ...]
    templates: np.ndarray  # (N,) int64
    media: np.ndarray  # (N,) int64
    points: np.ndarray | None  # (N, 5, 2) float64, x then y, pixels
    scores: np.ndarray | None  # (N,) float32, of the detector


def find_lists(meta: Path | str) -> IjbLists:
    """The three lists in a folder (`meta` of the benchmark, or the benchmark's own folder with `meta` below it).

    Raises:
        InputError: a list is missing or there are several; the message names the folder.
    """
    folder = Path(meta)
    folder = folder / "meta" if (folder / "meta").is_dir() else folder
    faces, pairs = (_only(folder, ending) for ending in (FACES, PAIRS))
    if faces is None or pairs is None:
        missing = FACES if faces is None else PAIRS
        raise InputError(f"{folder}: holds no list named *{missing}; give the benchmark's meta folder")
    return IjbLists(faces.name.removesuffix(FACES), faces, pairs, _only(folder, POINTS))


def read_faces(lists: IjbLists) -> IjbFaces:
    """The faces of a benchmark.

    Raises:
        DataError: a line is not of its form, or the two lists of faces name other images; names file and line.
    """
    table = _table(lists.faces, {"image": pa.string(), "template": pa.int64(), "medium": pa.int64()})
    images = tuple(table["image"].to_pylist())
    points = scores = None
    if lists.points is not None:
        columns = {f"p{number}": pa.float64() for number in range(10)}
        placed = _table(lists.points, {"image": pa.string(), **columns, "score": pa.float32()})
        named = placed["image"].to_pylist()
        differs = next((row for row, both in enumerate(zip(images, named, strict=False)) if both[0] != both[1]), None)
        if len(named) != len(images) or differs is not None:
            row = min(len(images), len(named)) if differs is None else differs
            raise DataError(
                f"{lists.points}, line {row + 1}: does not name the image of the same line of {lists.faces.name};"
                " both lists hold the same faces in the same order"
            )
        points = np.stack([placed[name].to_numpy() for name in columns], axis=1).reshape(-1, 5, 2)
        scores = placed["score"].to_numpy()
    return IjbFaces(images, table["template"].to_numpy(), table["medium"].to_numpy(), points, scores)


def read_pairs(path: Path | str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of templates, a block of the file at a time: first, second and whether they are one person.

    Raises:
        DataError: a line is not of its form; names the file and, for a wrong label, the line.
    """
    path = Path(path)
    columns = {"first": pa.int64(), "second": pa.int64(), "label": pa.int64()}
    done = 0
    for batch in _batches(path, columns):
        first, second, label = (batch.column(number).to_numpy() for number in range(3))
        wrong = np.flatnonzero((label != 0) & (label != 1))
        if wrong.size:
            raise DataError(f"{path}, line {done + wrong[0] + 1}: a label is 0 or 1, got {label[wrong[0]]}")
        done += len(label)
        yield first, second, label == 1


def _only(folder: Path, ending: str) -> Path | None:
    found = sorted(folder.glob(f"*{ending}"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder}: holds several lists of one kind ({names}); give a folder with one benchmark")
    return found[0] if found else None


def _table(path: Path, columns: dict[str, pa.DataType]) -> pa.Table:
    return pa.Table.from_batches(list(_batches(path, columns)))


def _batches(path: Path, columns: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    if not path.is_file():
        raise InputError(f"{path}: no such list")
    form = " ".join(columns)
    try:
        with path.open("rb") as opened:
            separator = "\t" if b"\t" in opened.readline() else " "
        reader = pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=list(columns), block_size=BLOCK, use_threads=False),
            parse_options=pa_csv.ParseOptions(delimiter=separator, quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=columns, strings_can_be_null=False, null_values=[], quoted_strings_can_be_null=False
            ),
        )
        with reader:
            yield from reader
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a list with lines of the form {form!r} ({error}); restore the file") from error
