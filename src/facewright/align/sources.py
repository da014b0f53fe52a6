"""The photos of a folder, a tar file or a single file, in sorted order."""

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from facewright.align.photos import PHOTO_SUFFIXES, decode_photo, read_photo
from facewright.errors import DataError, InputError

_TAR_SUFFIXES = {".tar", ".tgz", ".tbz2", ".txz"}
_TAR_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Photo:
    """One photo of a source, not read yet."""

    name: str
    """Path inside the folder or the tar, with forward slashes; a single file's own name."""
    size: int
    """Bytes of the file."""
    read: Callable[[], NDArray[np.uint8]]
    """Decode to upright RGB uint8 (H, W, 3); raises DataError that names the source and the photo."""


@contextmanager
def open_photos(source: Path | str, *, skip: Path | None = None) -> Iterator[list[Photo]]:
    """Give the photos of a source, sorted by name.

    A folder is searched with its subfolders for the suffixes in `PHOTO_SUFFIXES`; hidden files are left out. A tar,
    compressed or not, is read in place: nothing is extracted, links and devices are left out, and of two members of one
    name the later counts, as in extraction. Any other file is taken as one photo.

    Args:
        source: folder, tar or photo.
        skip: a folder inside `source` that is not searched (where the crops go).

    Raises:
        InputError: the source does not exist or holds no photo.
        DataError: a tar that is broken.
    """
    path = Path(source)
    with ExitStack() as opened:
        if path.is_dir():
            photos = _in_folder(path, skip)
        elif not path.is_file():
            raise InputError(f"{path} does not exist; give a folder of photos, a tar or a photo")
        elif tarfile.is_tarfile(path) or _TAR_SUFFIXES & set(path.suffixes):
            photos = _in_tar(path, opened)
        else:
            photos = [Photo(path.name, path.stat().st_size, lambda: read_photo(path))]
        if not photos:
            raise InputError(f"{path} holds no photo; expected files ending in {', '.join(sorted(PHOTO_SUFFIXES))}")
        yield sorted(photos, key=lambda photo: photo.name)


def _in_folder(folder: Path, skip: Path | None) -> list[Photo]:
    left_out = None if skip is None else skip.resolve()
    photos = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if not _is_photo(inside.parts) or not path.is_file():
            continue
        if left_out is not None and left_out in path.resolve().parents:
            continue
        photos.append(Photo(inside.as_posix(), path.stat().st_size, lambda path=path: read_photo(path)))  # type: ignore[misc]
    return photos


def _in_tar(path: Path, opened: ExitStack) -> list[Photo]:
    try:
        archive = opened.enter_context(tarfile.open(path))  # noqa: SIM115 - closed with `opened`
        members = {member.name: member for member in archive if member.isreg()}
    except _TAR_ERRORS as problem:
        reason = str(problem).partition("\n")[0].removesuffix(":")  # tarfile adds a line for each compression
        raise DataError(f"{path} is a broken tar file: {reason}; copy it again") from problem

    def read(member: tarfile.TarInfo) -> NDArray[np.uint8]:
        name = f"{path}:{member.name}"
        try:
            stream = cast(BinaryIO, archive.extractfile(member))  # never None for a regular file
            return decode_photo(stream, name=name)
        except _TAR_ERRORS as problem:
            raise DataError(f"{name} cannot be read from the tar: {problem}; copy it again") from problem

    return [
        Photo(name, member.size, lambda member=member: read(member))  # type: ignore[misc]
        for name, member in members.items()
        if _is_photo(tuple(part for part in name.split("/") if part not in {"", ".", ".."}))
    ]


def _is_photo(parts: tuple[str, ...]) -> bool:
    """Whether a path ends like a photo and has no hidden part."""
    return (
        bool(parts)
        and Path(parts[-1]).suffix.lower() in PHOTO_SUFFIXES
        and not any(part.startswith(".") for part in parts)
    )
