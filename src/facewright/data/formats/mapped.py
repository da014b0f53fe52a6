"""Files mapped into memory, opened when first read."""

import mmap
from functools import lru_cache
from pathlib import Path
from typing import Any

from facewright.errors import DataError, InputError

OPEN_FILES = 64  # shards kept open at once


class MappedFiles:
    """Read-only views of files, the latest `OPEN_FILES` of them kept open; safe to share between threads.

    A copy sent to another process starts with no file open.
    """

    def __init__(self) -> None:
        self.get = lru_cache(maxsize=OPEN_FILES)(_map)

    def __reduce__(self) -> tuple[Any, ...]:
        return (MappedFiles, ())


def _map(path: Path) -> mmap.mmap:
    """The bytes of a file.

    Raises:
        InputError: no such file.
        DataError: empty, or unreadable.
    """
    try:
        with path.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file, though its index names it; restore it") from error
    except ValueError as error:
        raise DataError(f"{path}: the file is empty; fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from error


def read_text(path: Path) -> str:
    """A text file of an index; DataError where it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: not a readable text file ({error}); restore it") from error
