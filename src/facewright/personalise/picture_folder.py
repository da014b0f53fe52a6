"""A folder with the pictures of one prompt: whole after any interruption, and completed by the same call."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facewright.errors import DataError, InputError
from facewright.personalise.prompts import find_people
from facewright.training.atomic import atomic_path

RECORD = "pictures.json"
_WHERE = "file"  # where a photo lies is recorded, and makes no difference to the pictures
_SLICES, _SLICE = 64, 4096  # of each large file, bytes


class PictureFolder:
    """PNG files, and `pictures.json`: how they were made, and a row for each.

    The row of a picture is written after its file, so a row means that its picture is there.
    """

    def __init__(self, path: Path | str) -> None:
        """Open a folder; nothing is written.

        Raises:
            InputError: something else lies in it.
            DataError: its record is damaged.
        """
        self.path = Path(path)
        self.facts: dict[str, Any] = {}
        self._rows: dict[int, dict[str, Any]] = {}
        record = self.path / RECORD
        if record.is_file():
            self.facts = _read(record)
            rows = self.facts.pop("pictures")
            self._rows = {row["number"]: row for row in rows if (self.path / row["file"]).is_file()}
        elif self.path.exists() and (not self.path.is_dir() or _visible(self.path)):
            raise InputError(f"{path} is not an empty folder, and holds no {RECORD} to go on from; name a new one")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of the pictures that are there, by number."""
        return [self._rows[number] for number in sorted(self._rows)]

    def check(self, facts: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the pictures were made with.

        Args:
            facts: some of what `begin` will be given.

        Raises:
            InputError: one differs; the message names the first.
        """
        if not self._rows:
            return
        for name, value in facts.items():
            for setting, before, now in _differences(name, self.facts.get(name), _plain(value)):
                raise InputError(
                    f"{self.path} holds pictures made with {setting} {before}, now it is {now}; "
                    "give the same settings to complete them, or name another folder"
                )

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Check, and write the record before the first picture."""
        self.check(facts)
        self.facts = _plain(facts)
        self._write()

    def missing(self, count: int) -> list[range]:
        """Which of the first `count` pictures are not there, as runs of numbers."""
        runs = list[range]()
        for number in range(count):
            if number in self._rows:
                continue
            if runs and runs[-1].stop == number:
                runs[-1] = range(runs[-1].start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs

    def add(self, number: int, image: np.ndarray, row: Mapping[str, Any]) -> None:
        """Write a picture, uint8 (H, W, 3) RGB, and its row."""
        from PIL import Image

        path = self.path / f"{number:03d}.png"
        with atomic_path(path) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
        self._rows[number] = _plain({"number": number, "file": path.name, **row})
        self._write()

    def _write(self) -> None:
        text = json.dumps({**self.facts, "pictures": self.rows}, indent=2, allow_nan=False) + "\n"
        with atomic_path(self.path / RECORD) as temporary:
            temporary.write_text(text, encoding="utf-8")


def find_picture_folders(root: Path | str) -> list[PictureFolder]:
    """A folder of pictures, or all below it, by path.

    Raises:
        InputError: there is none.
        DataError: a record is damaged.
    """
    records = sorted(path for path in Path(root).rglob(RECORD) if not path.parent.name.startswith("."))
    if not records:
        raise InputError(f"{root} holds no {RECORD}; name what facewright personalise or evaluate personalised wrote")
    return [PictureFolder(record.parent) for record in records]


def prompt_text(prompt: str, nouns: Mapping[str, str]) -> str:
    """A prompt with each person's noun in place of the name; raises as `find_people`."""
    parts, end = list[str](), 0
    for name, start, stop in find_people(prompt, list(nouns)):
        parts += [prompt[end:start], nouns[name]]
        end = stop
    return "".join([*parts, prompt[end:]])


def base_fingerprint(folder: Path | str) -> str:
    """Tell base models apart without reading them whole: a SHA-256 over names, sizes and slices of their files.

    Small files count whole; of a larger one 64 slices of 4 KiB, evenly spread, so that weights trained further differ.
    """
    digest = hashlib.sha256()
    root = Path(folder)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        inside = path.relative_to(root)
        if any(part.startswith(".") for part in inside.parts):
            continue
        size = path.stat().st_size
        digest.update(f"{inside.as_posix()}\0{size}\0".encode())
        with path.open("rb") as stream:
            if size <= _SLICES * _SLICE:
                digest.update(stream.read())
            else:
                for index in range(_SLICES):
                    stream.seek((size - _SLICE) * index // (_SLICES - 1))
                    digest.update(stream.read(_SLICE))
    return digest.hexdigest()


def _read(record: Path) -> dict[str, Any]:
    try:
        read = json.loads(record.read_text(encoding="utf-8"))
        rows = read["pictures"]
        if not all(isinstance(row["number"], int) and isinstance(row["file"], str) for row in rows):
            raise ValueError("a row has no number or file")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record} is damaged ({error}); delete the folder and draw its pictures again") from error
    return dict(read)


def _visible(folder: Path) -> list[Path]:
    """What lies in it, without what a killed write left."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """(setting, before, now) of everything that differs, by path."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*now, *before]):
            if key != _WHERE:
                yield from _differences(f"{name}.{key}", before.get(key), now.get(key))
    elif _list(before) and _list(now) and len(before) == len(now):
        for index, (one, other) in enumerate(zip(before, now, strict=True), 1):
            yield from _differences(f"{name} {index}", one, other)
    elif before != now:
        yield name, before, now


def _list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
