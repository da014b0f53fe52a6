"""Files that are either whole or absent."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it over `path` when the block ends well.

    The data is flushed to disk before the rename. If the block raises (a full disk, an interrupt) the temporary file is
    removed and an older file at `path` stays as it was. An OSError of the temporary file names `path` instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        error.filename = str(path)
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, name, temporary):
            error.filename, error.filename2 = str(path), None
        raise


def os_error_behind(error: BaseException) -> OSError | None:
    """The OSError that an error is, or was raised over; None where there is none.

    Writers of other libraries, torch's among them, answer a full disk with an error of their own over the system's.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__cause__ or seen.__context__
    return seen
