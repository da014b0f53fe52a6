"""Lists of pairs in the form of LFW's pairs.txt, and the aligned crops that they name."""

import csv
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from facewright.data.formats.pixels import unreadable
from facewright.errors import DataError, InputError

ImageName = tuple[str, int]
"""A person's name and the number of the image, as in `Abel_Pacheco` 4."""

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_STEM = re.compile(r"(.+)_0*(\d+)")
_TAR_ERRORS = (tarfile.TarError, zlib.error, EOFError, OSError)


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of images in file order, each image listed once."""

    images: tuple[ImageName, ...]
    first: np.ndarray  # (P,) int64, index into `images`
    second: np.ndarray  # (P,) int64
    issame: np.ndarray  # (P,) bool
    folds: int  # contiguous, of equal size

    def rows(self) -> np.ndarray:
        """Indices into `images` with pair k at 2k and 2k + 1, (2 P,) int64."""
        return np.stack([self.first, self.second], axis=1).ravel()


def read_pairs(path: Path | str) -> PairList:
    """Read a list of pairs.

    The first line holds the number of folds F and of pairs of each kind in a fold M. Then follow, for each fold, M
    lines `NAME i j` (one person) and M lines `NAME1 i NAME2 j` (two people), fields parted by tabs or spaces.

    Raises:
        InputError: no such file.
        DataError: a line that is not of this form or stands where the other kind belongs; names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such list of pairs; give a file in the form of LFW's pairs.txt")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: not a readable text file ({error})") from error
    while lines and not lines[-1].strip():
        lines.pop()
    folds, each = _read_header(path, lines)
    if len(lines) - 1 != 2 * folds * each:
        raise DataError(
            f"{path}: line 1 promises {folds} folds of {each} + {each} pairs, {2 * folds * each} lines,"
            f" but {len(lines) - 1} follow; restore the file"
        )
    numbers: dict[ImageName, int] = {}
    pairs = np.empty((len(lines) - 1, 2), np.int64)
    issame = np.arange(len(pairs)) % (2 * each) < each
    for place, line in enumerate(lines[1:]):
        names = _read_pair(f"{path}, line {place + 2}", line, same=bool(issame[place]))
        pairs[place] = [numbers.setdefault(name, len(numbers)) for name in names]
    return PairList(tuple(numbers), pairs[:, 0].copy(), pairs[:, 1].copy(), issame, folds)


def read_crops(
    source: Path | str,
    images: Sequence[ImageName],
    *,
    manifest: Path | str | None = None,
    size: int = 112,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Read the named images from a folder or a tar file.

    An image is the picture whose file name is NAME_0004 (leading zeros do not count) with any picture suffix, in
    whatever folder. With a manifest only the files that it lists count, and the person is its `identity` column.

    Args:
        source: a folder, or a tar file (plain or compressed); nothing is unpacked to disk.
        images: which images, each once.
        manifest: a CSV with columns `file` (path inside the source) and `identity`, or None.
        size: height and width that every picture must have, pixels.
        progress: called with (done, total).

    Returns:
        (len(images), size, size, 3) uint8 RGB, in the order of `images`.

    Raises:
        InputError: no such source or manifest.
        DataError: an image is missing, there twice, unreadable or of another size.
    """
    source = Path(source)
    wanted = {name: place for place, name in enumerate(images)}
    if len(wanted) != len(images):
        raise DataError("an image is asked for twice; list each image once")
    listed = None if manifest is None else _read_manifest(Path(manifest))
    crops = np.empty((len(images), size, size, 3), np.uint8)
    found: dict[ImageName, str] = {}
    for file, opened in _walk(source):
        name = _name_of(file) if listed is None else listed.get(file)
        if name is None or name not in wanted:
            continue
        if name in found:
            raise DataError(f"{source}: both {found[name]} and {file} are image {name[1]} of {name[0]}; remove one")
        crops[wanted[name]] = _decode(f"{source}: {file}", opened(), size)
        found[name] = file
        if progress is not None:
            progress(len(found), len(images))
    missing = [name for name in images if name not in found]
    if missing:
        person, number = missing[0]
        raise DataError(
            f"{source}: {len(missing)} of {len(images)} images are missing, the first is image {number} of {person}"
            f" (a file named {person}_{number:04d}.jpg or .png); add them or give the source that the pairs belong to"
        )
    return crops


def _read_header(path: Path, lines: list[str]) -> tuple[int, int]:
    fields = lines[0].split() if lines else []
    if len(fields) != 2 or not all(field.isascii() and field.isdigit() and int(field) > 0 for field in fields):
        raise DataError(
            f"{path}, line 1: expected the number of folds and of pairs of each kind in a fold, such as 10 300,"
            f" got {lines[0] if lines else 'an empty file'!r}"
        )
    return int(fields[0]), int(fields[1])


def _read_pair(where: str, line: str, *, same: bool) -> tuple[ImageName, ImageName]:
    fields = line.split()
    form = "NAME i j" if same else "NAME1 i NAME2 j"
    if len(fields) != (3 if same else 4):
        raise DataError(f"{where}: expected a pair of {'one person' if same else 'two people'}, {form}, got {line!r}")
    names, numbers = ([fields[0]] * 2, fields[1:]) if same else (fields[0::2], fields[1::2])
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise DataError(f"{where}: image numbers are positive whole numbers, {form}, got {line!r}")
    first, second = ((name, int(number)) for name, number in zip(names, numbers, strict=True))
    if first == second or (first[0] == second[0]) != same:
        raise DataError(f"{where}: expected two images of {'one person' if same else 'two people'}, got {line!r}")
    return first, second


def _read_manifest(path: Path) -> dict[str, ImageName]:
    if not path.is_file():
        raise InputError(f"{path}: no such manifest; it lists the files of the images, with columns file and identity")
    listed: dict[str, ImageName] = {}
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            if not {"file", "identity"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path}, line 1: a manifest needs the columns file and identity")
            for row in reader:
                file, identity = row["file"], row["identity"]
                number = _name_of(file or "")
                if not identity or number is None:
                    raise DataError(
                        f"{path}, line {reader.line_num}: expected an identity and a file that ends in a number,"
                        f" such as Abel_Pacheco_0004.jpg, got {file!r} of {identity!r}"
                    )
                listed[str(PurePosixPath(file))] = (identity, number[1])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable CSV ({error})") from error
    return listed


def _name_of(file: str) -> ImageName | None:
    path = PurePosixPath(file)
    parts = _STEM.fullmatch(path.stem) if path.suffix.lower() in PICTURES else None
    return (parts[1], int(parts[2])) if parts else None


def _walk(source: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every regular file of a folder or tar: its path inside and a function that reads it."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield path.relative_to(source).as_posix(), path.read_bytes
        return
    if not source.is_file():
        raise InputError(f"{source}: no such folder or tar file of images")
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isfile():
                    yield str(PurePosixPath(member.name)), partial(_member_bytes, source, archive, member)
    except _TAR_ERRORS as error:
        raise DataError(f"{source}: not a readable tar file ({error}); fetch it again") from error


def _member_bytes(source: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    assert opened is not None, "only regular files are asked for"
    try:
        with opened:
            return opened.read()
    except _TAR_ERRORS as error:
        raise DataError(f"{source}: cut short or damaged at {member.name} ({error}); fetch it again") from error


def _decode(where: str, data: bytes, size: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.size != (size, size):
                raise DataError(
                    f"{where}: a picture of {opened.width} x {opened.height} px, expected an aligned crop of"
                    f" {size} x {size}; run facewright align first"
                )
            return np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise unreadable(error, where) from error
