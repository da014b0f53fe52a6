"""Files of named embeddings: `names`, `embeddings` and where they came from."""

import hashlib
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facewright.errors import DataError, InputError
from facewright.training.atomic import atomic_path

UNIT_TOLERANCE = 1e-3
"""How far from 1 a row's length may be: embeddings stored as float16 still pass."""


UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, TypeError, MemoryError, AttributeError)
"""What numpy raises for a file that is cut short, is no .npz, or claims a size that no memory holds."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Named unit vectors; checked when made.

    `provenance` says where they came from: `kind`, `source`, `seed`, and `encoder` with `encoder_sha256` where an
    encoder made them (None where no encoder did).
    """

    names: tuple[str, ...]
    embeddings: np.ndarray  # (N, D) float32, rows of unit length
    provenance: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""  # file they were read from, which errors name

    def __post_init__(self) -> None:
        check_embeddings(self.names, self.embeddings, source=self.source or "embeddings")
        object.__setattr__(self, "embeddings", self.embeddings.astype(np.float32, copy=False))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sha256(self) -> str:
        """Hash of names and values; provenance does not count."""
        digest = hashlib.sha256(json.dumps(list(self.names)).encode())
        digest.update(np.ascontiguousarray(self.embeddings, dtype="<f4").tobytes())
        return digest.hexdigest()


def embedding_sha256(embedding: np.ndarray) -> str:
    """Hash of one embedding (D,), of its float32 bytes in little-endian order."""
    return hashlib.sha256(np.ascontiguousarray(embedding, dtype="<f4").tobytes()).hexdigest()


def write_embeddings(
    path: Path | str, names: Sequence[str], embeddings: np.ndarray, *, provenance: Mapping[str, Any]
) -> None:
    """Write an .npz of `names` (N,), `embeddings` (N, D) unit float32 and `provenance`, whole or not at all.

    The same values give the same bytes. Raises DataError for rows that `check_embeddings` refuses.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: embeddings are written as .npz; change the name")
    check_embeddings(names, embeddings, source=str(path))
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        np.savez(
            opened,
            names=np.array(names, dtype=str),
            embeddings=embeddings.astype(np.float32, copy=False),
            provenance=np.array(json.dumps(dict(provenance), sort_keys=True)),
        )


def read_embeddings(path: Path | str, *, width: int | None = None) -> Embeddings:
    """Read what `write_embeddings` wrote; nothing is unpickled.

    Args:
        path: the .npz file.
        width: D that the caller needs; None takes any.

    Raises:
        InputError: no such file.
        DataError: not such an .npz, cut short, or rows that cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected an .npz; facewright contexts photos makes one of its pictures")
    if not path.is_file():
        raise InputError(f"{path}: no such file of embeddings; make one with facewright embed or facewright contexts")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as opened:
            names, embeddings, provenance = (opened[key] for key in ("names", "embeddings", "provenance"))
        described = json.loads(str(provenance))
    except KeyError as error:
        raise DataError(
            f"{path}: {error.args[0]}; it needs names, embeddings and provenance, as facewright embed writes"
        ) from error
    except UNREADABLE as error:
        raise DataError(f"{path}: not a readable .npz of embeddings ({reason_of(error)}); make it again") from error
    if names.ndim != 1 or names.dtype.kind != "U" or not isinstance(described, dict):
        raise DataError(f"{path}: names must be a list of texts and provenance an object; make it again")
    listed = tuple(str(name) for name in names)
    check_embeddings(listed, embeddings, source=str(path), width=width)
    return Embeddings(listed, embeddings, described, str(path))


def reason_of(error: BaseException) -> str:
    """Why numpy could not read a file, without its advice to unpickle what is no array."""
    return "it is of another kind, or holds objects" if "pickle" in str(error) else str(error)


def check_embeddings(names: Sequence[str], embeddings: np.ndarray, *, source: str, width: int | None = None) -> None:
    """Refuse what cannot condition or match: raises DataError saying what is wrong with which row of `source`."""
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f":
        raise DataError(f"{source}: embeddings must be floats (N, D), got {embeddings.dtype} {embeddings.shape}")
    if len(names) != len(embeddings):
        raise DataError(f"{source}: {len(names)} names for {len(embeddings)} embeddings; make the file again")
    if width is not None and embeddings.shape[1] != width:
        raise DataError(
            f"{source}: embeddings are {embeddings.shape[1]} wide, expected {width}; embed with the encoder that the"
            " model was trained with"
        )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{source}: the name {repeated[0]!r} occurs more than once; give each row a name of its own")
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{source}: the embedding of {names[int(np.argmin(finite))]!r} holds NaN or infinity; remake it"
        )
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    wrong = np.abs(lengths - 1.0) > UNIT_TOLERANCE
    if wrong.any():
        row = int(np.argmax(wrong))
        cure = "remake it" if lengths[row] < UNIT_TOLERANCE else "divide each row by its length"
        raise DataError(f"{source}: the embedding of {names[row]!r} has length {lengths[row]:.4g}, expected 1; {cure}")
