"""Read the context files of other projects: embeddings in the forms that IDiff-Face and its kin write.

| form | names |
| --- | --- |
| .npz of this project | its own |
| torch.save of a mapping from name to vector, whatever the suffix (IDiff-Face calls it .npy) | the keys |
| .npy matrix (N, D) | image_names.pkl beside it (CASIA), else the row numbers |
| folder of one .npy vector a picture | file names up to the first dot |

Keys of the form text/INTEGER... are put in the order of the integer, as the public sampler does; others keep theirs.
Rows that are not of unit length are divided by it.
"""

import _codecs
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError  # what numpy lets through for a header that ends early
from typing import Any

import numpy as np

from facewright.data.embeddings import UNIT_TOLERANCE, UNREADABLE, Embeddings, read_embeddings, reason_of
from facewright.data.formats.safe_pickle import read_pickle
from facewright.errors import DataError, InputError

CASIA_NAMES = "image_names.pkl"
_NUMBERED = re.compile(r"[^/]*/(\d+)(?:\.\w+)?(?:/.*)?")
_BROKEN = (*UNREADABLE, RuntimeError, LookupError, AssertionError, OverflowError, TokenError)


def read_contexts(path: Path | str, *, width: int | None = None) -> Embeddings:
    """Read a context file of any form.

    Args:
        path: the file, or the folder of one file a picture.
        width: D that the caller needs; None takes any.

    Returns:
        Unit float32 rows; the provenance says `kind` "imported", the file and whether rows were normalised. An .npz of
        this project is returned as it is.

    Raises:
        InputError: nothing there.
        DataError: another form, damaged, a pickle that names code (nothing is run), or rows that cannot be used.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return read_embeddings(path, width=width)
    if path.is_dir():
        found = _read_folder(path)
    elif not path.is_file():
        raise InputError(f"{path}: no such context file")
    elif zipfile.is_zipfile(path) or path.suffix in (".pt", ".pth", ".ckpt"):
        found = _in_order(_read_torch(path))
    else:
        found = _read_matrix(path)
    names, rows = tuple(found), list(found.values())
    shapes = {row.shape for row in rows}
    if not rows or len(shapes) > 1 or any(row.ndim != 1 or row.dtype.kind != "f" for row in rows):
        raise DataError(
            f"{path}: expected vectors of floats of one length, got {', '.join(map(str, sorted(shapes))) or 'none'}"
        )
    matrix, normalised = _unit(np.stack(rows))
    if width is not None and matrix.shape[1] != width:
        raise DataError(f"{path}: contexts are {matrix.shape[1]} wide, expected {width}; they are of another encoder")
    return Embeddings(names, matrix, {"kind": "imported", "source": path.name, "normalised": normalised}, str(path))


def _unit(rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """Rows of unit length in float32, and whether they had to be divided; zero and NaN are left for the check."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if (np.abs(lengths - 1) <= UNIT_TOLERANCE).all():
        return rows.astype(np.float32, copy=False), False
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32), True


def _in_order(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By the integer after the first slash where every key has one."""
    numbers = {name: match for name in found if (match := _NUMBERED.fullmatch(name))}
    if len(numbers) < len(found):
        return dict(found)
    return {name: found[name] for name in sorted(found, key=lambda name: int(numbers[name][1]))}


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    """A mapping that torch.save wrote, of tensors or NumPy arrays; torch's own safe loader refuses anything else."""
    import torch

    allowed: list[Any] = [np.ndarray, np.dtype, _codecs.encode, *(type(np.dtype(code)) for code in ("f2", "f4", "f8"))]
    rebuild = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    allowed += [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # remarks on odd pickles, which say nothing more than the error
            value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"names {named[1]}, which is code" if named else "holds something other than vectors"
        raise DataError(f"{path}: {what}: refused, nothing was run; do not trust this file") from error
    except _BROKEN as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cut short or damaged ({first}); get the file again") from error
    if not isinstance(value, Mapping):
        raise DataError(f"{path}: holds {type(value).__name__}, expected a mapping from name to vector")
    found = {str(name): _vector(row, f"{path}: {name!r}") for name, row in value.items()}
    if len(found) != len(value):
        raise DataError(f"{path}: two of its names read alike as text; give each vector a name of its own")
    return found


def _vector(row: object, where: str) -> np.ndarray:
    import torch

    if isinstance(row, torch.Tensor):
        row = row.detach().float().numpy()
    if not isinstance(row, np.ndarray) or row.dtype.kind != "f":
        raise DataError(f"{where} is {type(row).__name__}, expected a vector of floats")
    return row.reshape(-1) if row.ndim == 2 and row.shape[0] == 1 else row


def _read_matrix(path: Path) -> dict[str, np.ndarray]:
    matrix = _read_npy(path)
    if matrix.ndim != 2:
        raise DataError(f"{path}: holds {matrix.dtype} {matrix.shape}, expected a matrix with one row a context")
    listed = path.parent / CASIA_NAMES
    names = _read_names(listed) if listed.is_file() else [str(number) for number in range(len(matrix))]
    if len(names) != len(matrix):
        raise DataError(f"{path}: {len(matrix)} rows, but {listed.name} beside it has {len(names)} names; restore both")
    found = dict(zip(names, matrix, strict=True))
    if len(found) != len(names):
        raise DataError(f"{listed}: a name occurs more than once; restore the file")
    return found


def _read_names(path: Path) -> list[str]:
    names = read_pickle(path.read_bytes(), str(path))
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise DataError(f"{path}: expected a pickled list of names; restore the file")
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _read_folder(path: Path) -> dict[str, np.ndarray]:
    files = sorted(path.glob("*.npy"))
    if not files:
        raise DataError(f"{path}: holds no .npy file; expected one vector for each picture")
    found: dict[str, np.ndarray] = {}
    for file in files:
        name = file.name.partition(".")[0]
        if name in found:
            raise DataError(f"{file}: another file is named {name} up to its first dot; rename one")
        found[name] = _read_npy(file).squeeze()
    return found


def _read_npy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as opened:
            array = np.load(opened, allow_pickle=False)
    except _BROKEN as error:
        raise DataError(f"{path}: not a readable .npy of numbers ({reason_of(error)}); get the file again") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: an archive of several arrays, expected one; read it as .npz")
    return array
