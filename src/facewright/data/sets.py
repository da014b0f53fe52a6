"""A labelled set on disk: a manifest of one row an image, the pictures, the settings and a card."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from facewright.data.images import centre_crop
from facewright.errors import DataError, InputError
from facewright.training.atomic import atomic_path

MANIFEST = "manifest.parquet"
CONFIG = "config.json"
CARD = "card.md"
CROP_SIZE = 112


@dataclass(frozen=True, slots=True)
class SetRow:
    """One image of a set."""

    identity: int  # the label
    name: str  # of the identity
    index: int  # which image of the identity
    file: str  # below the set's folder, with forward slashes
    seed: int  # of the image's noise
    context_sha256: str  # of the embedding it was conditioned on
    generator_sha256: str
    sampler: str
    steps: int
    guidance: float
    similarity: float | None  # cosine of the image's embedding to its context; None when no encoder measured it
    kept: bool = True
    reason: str = ""  # why it was not kept


SCHEMA = pa.schema(
    [
        ("identity", pa.int64()),
        ("name", pa.string()),
        ("index", pa.int64()),
        ("file", pa.string()),
        ("seed", pa.int64()),
        ("context_sha256", pa.string()),
        ("generator_sha256", pa.string()),
        ("sampler", pa.string()),
        ("steps", pa.int64()),
        ("guidance", pa.float64()),
        ("similarity", pa.float64()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class FaceSet:
    """A set that was read and checked; pictures are opened when asked for."""

    path: Path
    config: Mapping[str, Any]
    rows: tuple[SetRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def identities(self) -> np.ndarray:
        """Labels, (N,) int64, one a row."""
        return np.array([row.identity for row in self.rows], dtype=np.int64)

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool: False where a filter has dropped the row."""
        return np.array([row.kept for row in self.rows], dtype=bool)

    def image(self, number: int) -> np.ndarray:
        """The picture of row `number`, (H, W, 3) uint8 RGB; raises DataError naming a damaged file."""
        path = self.path / self.rows[number].file
        try:
            with Image.open(path) as opened:
                return np.asarray(opened.convert("RGB"))
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise DataError(
                f"{path}: not a readable picture ({error}); delete it and run facewright sample again"
            ) from error

    def crops(self, numbers: Sequence[int] | None = None) -> np.ndarray:
        """Aligned crops of the given rows (all by default), (N, 112, 112, 3) uint8 RGB.

        A larger picture is cut to its central 112 x 112, where the generator puts the crop (config key `crop`).
        """
        chosen = range(len(self.rows)) if numbers is None else numbers
        crops = np.empty((len(chosen), CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8)
        for place, number in enumerate(chosen):
            image = self.image(number)
            if min(image.shape[:2]) < CROP_SIZE:
                raise DataError(
                    f"{self.path / self.rows[number].file}: {image.shape[1]} x {image.shape[0]} px, smaller than a crop"
                    f" of {CROP_SIZE} px; sample the set at {CROP_SIZE} px or more"
                )
            crops[place] = centre_crop(image, CROP_SIZE)
        return crops


def image_file(identity: int, index: int) -> str:
    """Where the folder form keeps an image: images/000007/003.png."""
    return f"images/{identity:06d}/{index:03d}.png"


def read_set(path: Path | str) -> FaceSet:
    """Read and check a set.

    Raises:
        InputError: no set there.
        DataError: manifest or config damaged, two rows for one image, a file outside the set, or missing pictures.
    """
    path = Path(path)
    rows = read_manifest(path)
    missing = [row.file for row in rows if not (path / row.file).is_file()]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(rows)} pictures in {MANIFEST} are missing, the first is {missing[0]};"
            " run the facewright sample command of the set again to remake them"
        )
    return FaceSet(path, read_config(path), rows)


def read_manifest(path: Path | str) -> tuple[SetRow, ...]:
    """The rows of a set's manifest, without looking at the pictures; raises as `read_set` does."""
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise InputError(f"{path}: not a set, it has no {MANIFEST}; make one with facewright sample")
    try:
        table = pq.read_table(file, memory_map=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file}: cut short or damaged ({error}); delete it and run the facewright sample command of the set again"
        ) from error
    absent = [name for name in SCHEMA.names if name not in table.column_names]
    if absent:
        raise DataError(f"{file}: has no column {absent[0]!r}; it is not the manifest of a set in the folder form")
    try:
        columns = table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{file}: a column has the wrong type ({error}); remake the manifest") from error
    for name in SCHEMA.names:
        if name != "similarity" and columns[name].null_count:
            raise DataError(f"{file}: column {name!r} has empty entries; remake the manifest")
    rows = tuple(SetRow(*values) for values in zip(*(columns[name].to_pylist() for name in SCHEMA.names), strict=True))
    _check_rows(rows, file)
    return rows


def write_manifest(path: Path | str, rows: Iterable[SetRow]) -> None:
    """Write a set's manifest in order of identity and index, whole or not at all; the same rows give the same bytes."""
    ordered = sorted(rows, key=lambda row: (row.identity, row.index))
    file = Path(path) / MANIFEST
    _check_rows(ordered, file)
    names = [entry.name for entry in fields(SetRow)]
    table = pa.table({name: [getattr(row, name) for row in ordered] for name in names}, schema=SCHEMA)
    with atomic_path(file) as temporary:
        pq.write_table(table, temporary)


def read_config(path: Path | str) -> dict[str, Any]:
    """The settings that a set was made with; raises DataError naming a missing or damaged file."""
    file = Path(path) / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read ({error}); restore it, or sample the set anew in another folder"
        ) from error
    if not isinstance(config, dict):
        raise DataError(f"{file}: expected a JSON object, got {type(config).__name__}; restore the file")
    return config


def write_config(path: Path | str, config: Mapping[str, Any]) -> None:
    """Write a set's settings, keys sorted, whole or not at all."""
    with atomic_path(Path(path) / CONFIG) as temporary:
        temporary.write_text(json.dumps(dict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_image(path: Path | str, row: SetRow, image: np.ndarray) -> None:
    """Write the picture of a row, (H, W, 3) uint8 RGB, as PNG, whole or not at all."""
    with atomic_path(Path(path) / row.file) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def _check_rows(rows: Sequence[SetRow], file: Path) -> None:
    for what, counts in (
        ("image", Counter((row.identity, row.index) for row in rows)),
        ("file", Counter(row.file for row in rows)),
    ):
        if repeated := [key for key, count in counts.items() if count > 1]:
            raise DataError(f"{file}: the {what} {repeated[0]} has more than one row; remake the manifest")
    for row in rows:
        parts = PurePosixPath(row.file)
        if parts.is_absolute() or ".." in parts.parts or "\\" in row.file:
            raise DataError(f"{file}: the file {row.file!r} lies outside the set; remake the manifest")
