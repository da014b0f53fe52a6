"""What a run of a recipe has done so far: RUN/run.json, and what a set was before a stage began to change it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facewright.data.sets import CARD, MANIFEST
from facewright.errors import ConfigError, DataError, InputError
from facewright.training.atomic import atomic_path

FILE = "run.json"
FORMAT = 1
BEFORE = "before"  # folder of the sets' files
SET_FILES = (MANIFEST, CARD, "filter.json")  # of a set: all that a stage changes in place; pictures are only added
NAMED = 3  # changed settings that a message names


@dataclass
class RunState:
    """How far a run is; `save` writes it whole or not at all."""

    folder: Path
    recipe: dict[str, Any]  # every setting by its dotted name
    done: dict[str, float] = field(default_factory=dict)  # seconds that each finished stage took
    begun: dict[str, float] = field(default_factory=dict)  # and each that was broken off, so far

    @classmethod
    def open(cls, folder: Path, recipe: Mapping[str, Any], *, amend: bool = False) -> "RunState":
        """The state of the run in a folder; nothing is written.

        Args:
            folder: of the run; new, empty or an earlier call's.
            recipe: as it is now.
            amend: accept changes of the recipe where no finished stage is concerned.

        Raises:
            InputError: the folder holds something else.
            ConfigError: it holds a run of another recipe; the message names what changed.
            DataError: the state cannot be read.
        """
        now = json.loads(json.dumps(dict(recipe), default=str))  # dates of TOML, which no command takes, as texts
        file = folder / FILE
        if not file.is_file():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise InputError(f"{folder} is there and holds no {FILE}; name a new folder, or one of an earlier run")
            return cls(folder, now)
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            state = cls(folder, kept["recipe"], kept["done"], kept["begun"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}: cannot be read ({error}); restore it, or name another folder") from error
        if changed := _changed(state.recipe, now):
            if not (amend and state._allows(changed, now)):
                named = "; ".join(_told(key, state.recipe, now) for key in changed[:NAMED])
                more = f"; and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
                cure = "no finished stage may change" if amend else "or --amend where only unfinished stages change"
                raise ConfigError(
                    f"{folder} holds a run of another recipe: {named}{more}; give the same recipe, another --out,"
                    f" {cure}"
                )
            state.recipe = now
        return state

    def save(self) -> None:
        """Write RUN/run.json."""
        values = {"format": FORMAT, "recipe": self.recipe, "done": self.done, "begun": self.begun}
        with atomic_path(self.folder / FILE) as temporary:
            temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def begin(self, name: str, *, in_place: Path | None, output: Path, anew: bool) -> None:
        """Note that a stage begins, and undo what a call that was broken off left half done.

        Args:
            name: of the stage.
            in_place: the set that it changes, which is put back to how it was before the stage first began.
            output: what it writes; half-written files beside it are removed.
            anew: whether it refuses an output that is there, which is then removed.
        """
        if name in self.begun:
            _remove_leftovers(output)
            if anew and output.is_relative_to(self.folder):
                _remove(output)
        if in_place is not None:
            self._put_back(in_place, self.folder / BEFORE / name)
        self.begun.setdefault(name, 0.0)
        self.save()

    def broke_off(self, name: str, seconds: float) -> None:
        """Note how long an unfinished stage has taken."""
        self.begun[name] += seconds
        self.save()

    def finish(self, name: str, seconds: float) -> None:
        """Note that a stage is done."""
        self.done[name] = self.begun.pop(name) + seconds
        self.save()
        _remove(self.folder / BEFORE / name)
        with suppress(OSError):  # another stage's copy is in it, or there is none
            (self.folder / BEFORE).rmdir()

    def _put_back(self, changed: Path, before: Path) -> None:
        """Copy a set's files aside; where that was done, the set was changed since, so copy them back."""
        if before.is_dir():
            _copy(before, changed)
        elif (changed / MANIFEST).is_file():
            unfinished = before.with_name(f".{before.name}.new")
            _remove(unfinished)
            unfinished.mkdir(parents=True)
            _copy(changed, unfinished)
            unfinished.replace(before)

    def _allows(self, changed: Sequence[str], now: Mapping[str, Any]) -> bool:
        """Whether no change concerns a finished stage, or the order up to the last of them."""
        for key in changed:
            stage = key.split(".", 1)[0]
            if stage == "stages":
                finished = [name for name in self.recipe["stages"] if name in self.done]
                if now["stages"][: len(finished)] != finished:
                    return False
            elif stage in self.done:
                return False
        return True


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*now, *before])
    return [key for key in keys if (key in before) != (key in now) or before.get(key) != now.get(key)]


def _told(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    there, asked = (
        json.dumps(values[key], ensure_ascii=False) if key in values else "not given" for values in (before, now)
    )
    return f"{key} ({there} there, {asked} asked)"


def _copy(source: Path, target: Path) -> None:
    """Copy the changeable files of a set, and remove those of the target that the source has not."""
    for name in SET_FILES:
        if (source / name).is_file():
            with atomic_path(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
        else:
            (target / name).unlink(missing_ok=True)


def _remove_leftovers(output: Path) -> None:
    """What a process that was killed had not renamed yet."""
    if output.parent.is_dir():
        for left in output.parent.glob(f".{output.name}.*"):
            _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
