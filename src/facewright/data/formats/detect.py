"""Tell the format of a path and open its records."""

from collections.abc import Callable
from pathlib import Path

from facewright.data.formats.image_folder import ImageFolder, class_folders, holds_pictures
from facewright.data.formats.list_file import ListFile, looks_like_list
from facewright.data.formats.pair_bin import PairBin
from facewright.data.formats.parquet import Parquet
from facewright.data.formats.recordio import RecordIO
from facewright.data.formats.records import Gaps, Records, settle_gaps
from facewright.data.formats.set_folder import SetFolder
from facewright.data.formats.tfrecord import TFRecord
from facewright.data.formats.webdataset import WebDataset
from facewright.data.sets import MANIFEST
from facewright.errors import InputError

FORMATS = ("folder", "list", "recordio", "tfrecord", "webdataset", "parquet", "set", "bin")
_SUFFIXES: dict[str, Callable[[Path], Records]] = {
    ".rec": RecordIO,
    ".tfrecord": TFRecord,
    ".index": TFRecord,
    ".tar": WebDataset,
    ".parquet": Parquet,
    ".bin": PairBin,
    ".lst": ListFile,
}
DEPTH = 3  # how many folders that hold nothing but another folder are gone through


def open_records(
    path: Path | str, *, gaps: Gaps = "refuse", root: Path | None = None, labels: Path | None = None
) -> Records:
    """Open a data set in any format.

    A file is told by its suffix, a text file by its first line; a folder by what lies in it: a set's manifest, one
    .rec, one index of TFRecord, shards, one .bin, a list of pictures, or one folder for each identity. A folder that
    holds nothing else than one folder is gone through.

    Args:
        path: of the file or folder.
        gaps: what to do when a label below the largest one has no record.
        root: what the paths of a list are below; None is the list's own folder.
        labels: for a TFRecord .index, the list of paths and labels; None looks for labels.txt near it.

    Raises:
        InputError: nothing there, or nothing that is known, or several sets.
        DataError: an index or a header is damaged, or labels have gaps; names file and record.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    records = _open_folder(path, root, labels, DEPTH) if path.is_dir() else _open_file(path, root, labels)
    return settle_gaps(records, gaps)


def _open_file(path: Path, root: Path | None, labels: Path | None) -> Records:
    if path.suffix == ".index":
        return TFRecord(path, labels=labels)
    if path.suffix == ".txt":
        return TFRecord(path) if _is_training_list(path) else ListFile(path, root=root)
    if path.suffix == ".lst":
        return ListFile(path, root=root)
    if path.suffix == ".idx":
        return RecordIO(path.with_suffix(".rec"))
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: not a known kind of set; expected {', '.join(_SUFFIXES)}, .txt or a folder")
    return _SUFFIXES[path.suffix](path)


def _open_folder(path: Path, root: Path | None, labels: Path | None, depth: int) -> Records:
    if (path / MANIFEST).is_file():
        return SetFolder(path)
    if found := _one(path, "*.rec"):
        return RecordIO(found)
    texts = sorted(path.glob("*.txt"))
    if training := [text for text in texts if _is_training_list(text)]:
        return TFRecord(_only(path, training))
    if found := _one(path, "*.index") or _one(path, "*/*.index"):
        return TFRecord(found, labels=labels)
    for pattern, opener in (("*.tfrecord", TFRecord), ("*.tar", WebDataset), ("*.parquet", Parquet)):
        if any(path.glob(pattern)):
            return opener(path)
    if found := _one(path, "*.bin"):
        return PairBin(found)
    if lists := [text for text in texts if looks_like_list(text)]:
        return ListFile(_only(path, lists), root=root)
    folders = class_folders(path)
    if any(holds_pictures(folder) for folder in folders):
        return ImageFolder(path)
    if len(folders) == 1 and depth:
        return _open_folder(folders[0], root, labels, depth - 1)
    if not any(path.iterdir()):
        raise InputError(f"{path} is empty; name a set's folder, file or index")
    raise InputError(f"{path}: holds no set in a known format ({', '.join(FORMATS)}); name its file or index")


def _is_training_list(path: Path) -> bool:
    """Whether the first line has the four columns of a TFRecord training list."""
    try:
        with path.open(encoding="utf-8") as opened:
            fields = opened.readline(1 << 12).rstrip().split("\t")
    except (UnicodeDecodeError, OSError):
        return False
    return len(fields) == 4 and all(field.isdigit() for field in fields[1:3])


def _one(path: Path, pattern: str) -> Path | None:
    found = sorted(path.glob(pattern))
    return _only(path, found) if found else None


def _only(path: Path, found: list[Path]) -> Path:
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:5])
        raise InputError(f"{path}: holds {len(found)} sets ({names}); name one of them")
    return found[0]
