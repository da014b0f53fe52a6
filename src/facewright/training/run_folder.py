"""The folder of a training run: `config.json`, `metrics.jsonl`, `last.pt` and `best.pt`."""

import errno
import json
import logging
import os
import pickle
import re
import time
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import torch

from facewright.errors import ConfigError, DataError, WorkError
from facewright.training.atomic import atomic_path, os_error_behind
from facewright.training.schedule import Schedule

log = logging.getLogger(__name__)

LAST, BEST = "last.pt", "best.pt"
_BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, KeyError, ValueError, EOFError, NotImplementedError)
"""What readers raise on bytes that are no checkpoint."""


class RunFolder:
    """One run's files; every one is written whole or not at all, but for the metrics, to which rows are added."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        """Whether a checkpoint of this name was saved."""
        return (self.path / name).exists()

    def open(self, config: Mapping[str, Any]) -> None:
        """Make the folder, and write the config; refuse where another config's run has saved something.

        A folder whose config.json is of something else, such as a set, is refused too. A setting that the earlier
        config does not name, because its version did not know it, is no difference: a field of the schedule must then
        have its default, and any other is named in the log.
        """
        self.check(config, whole=True)
        self.path.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEST):
            for left in self.path.glob(f".{name}.*"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
        with atomic_path(self.path / "config.json") as path:
            path.write_text(json.dumps(config, indent=2) + "\n")

    def check(self, config: Mapping[str, Any], *, whole: bool = False) -> None:
        """Refuse what `open` would refuse; nothing is written. For those who keep something in the folder before it.

        Args:
            config: what `open` will be given, as JSON values, or a part of it.
            whole: whether it is all of it; otherwise only the top-level settings that it names are compared.
        """
        earlier = self._earlier()
        if earlier is None or not self.has(LAST):
            return
        if changed := [key for key in _changes(earlier, config) if whole or key in config]:
            raise ConfigError(
                f"{self.path} holds a run with another {', '.join(changed)}; give the same config to resume it, or "
                "another --out"
            )

    def _earlier(self) -> dict[str, Any] | None:
        """What config.json holds, if it is there; DataError where it is damaged, ConfigError where it is no run's."""
        file = self.path / "config.json"
        if not file.exists():
            return None
        try:
            earlier = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(
                f"{file} cannot be read ({error}); delete it to go on with the config given, or name another --out"
            ) from error
        if not isinstance(earlier, dict) or not isinstance(earlier.get("schedule"), dict):
            raise ConfigError(
                f"{self.path} holds something other than a training run, such as a set or a pack, as its {file.name} "
                "tells; name another folder"
            )
        return earlier

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Write a checkpoint.

        Raises:
            WorkError: it could not be written, as on a full disk; the one saved before is kept.
        """
        path = self.path / name
        try:
            # To a stream of Python's: of a path torch says no more than that it wrote less than it should.
            with atomic_path(path) as temporary, temporary.open("wb") as stream:
                torch.save(dict(state), stream)
        except (OSError, RuntimeError) as error:
            if (cause := os_error_behind(error)) is None:
                raise
            raise _unwritten(path, cause) from error

    def load(self, name: str, device: torch.device) -> dict[str, Any]:
        """Read a checkpoint; nothing in it is executed.

        Raises:
            DataError: the file is cut short or damaged, holds code, or is no checkpoint.
        """
        path = self.path / name
        damaged = self._unusable(name, "it is cut short, damaged or no checkpoint")
        try:
            with zipfile.ZipFile(path) as opened:
                if opened.testzip() is not None:  # torch does not look at the checksums
                    raise damaged
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickles that it refuses in the next moment
                state = torch.load(path, map_location=device, weights_only=True)
        except torch.OutOfMemoryError:
            raise
        except pickle.UnpicklingError as error:
            named = re.search(r"GLOBAL ([\w.]+)", str(error))
            code = f"{named[1]}, which is code" if named else "something other than tensors and plain values"
            raise self._unusable(name, f"it holds {code}: refused, nothing was run") from error
        except _BROKEN as error:
            raise damaged from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # what a place outside the file gives
                raise
            raise damaged from error
        if not isinstance(state, dict):
            raise damaged
        return state

    def unfit(self, name: str, error: Exception) -> DataError:
        """What to say of a checkpoint whose content does not fit the run that is to go on."""
        found = re.search(r"(?:key\(s\) in state_dict: \"|size mismatch for )([\w.]+)", str(error))
        first = found[1] if found else error.args[0] if isinstance(error, KeyError) else None
        where = "" if first is None else f", first in {first!r}"
        return self._unusable(name, f"it was saved by another network, optimiser or version{where}")

    def _unusable(self, name: str, reason: str) -> DataError:
        return DataError(f"{self.path / name} cannot be resumed from: {reason}; delete it to start the run anew")

    def add_metrics(self, images: int, values: Mapping[str, float]) -> None:
        """Add a row: images seen, the time, and the values.

        Raises:
            WorkError: it could not be written whole, as on a full disk, and was not written at all.
        """
        row = {"images": images, "unix_s": round(time.time(), 1), **values}
        file = self.path / "metrics.jsonl"
        before = file.stat().st_size if file.exists() else 0
        try:
            with file.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError as error:
            with suppress(OSError):
                os.truncate(file, before)
            raise _unwritten(file, error) from error


def _unwritten(path: Path, error: OSError) -> WorkError:
    return WorkError(
        f"{path}: could not be written ({error.strerror or error}); what was saved before is kept: make room or allow "
        "writing there, then run the same command again"
    )


def _changes(earlier: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The names of the top-level settings that differ."""
    return sorted(
        key
        for key in earlier.keys() | config.keys()
        if key not in earlier or key not in config or _differ(earlier[key], config[key], key)
    )


def _differ(earlier: Any, now: Any, where: str) -> bool:
    if not (isinstance(earlier, Mapping) and isinstance(now, Mapping)):
        return bool(earlier != now)
    if earlier.keys() - now.keys() or any(_differ(earlier[key], now[key], f"{where}.{key}") for key in earlier):
        return True
    new = sorted(now.keys() - earlier.keys())
    if where == "schedule":
        return any(now[key] != _DEFAULTS.get(key) for key in new)
    if new:
        goes_on = ", ".join(f"{where}.{key} = {now[key]}" for key in new)
        log.warning("the run goes on with settings that were not known when it was begun: %s", goes_on)
    return False


_DEFAULTS: dict[str, Any] = json.loads(
    json.dumps({field.name: field.default for field in fields(Schedule) if field.default is not MISSING})
)
