"""A recipe of many stages, each of them one command of facewright: read from TOML, as it is written."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facewright.cli.configs import override
from facewright.errors import ConfigError, InputError

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
OWN_KEYS = ("name", "command", "given", "published", "processes")  # of a stage; all others are the command's
RESERVED = ("run", "stages")


@dataclass(frozen=True)
class Stage:
    """One command of the recipe."""

    name: str
    command: str  # its words, such as "train generator"
    values: Mapping[str, Any]  # by the names of the command's options and arguments
    given: str | None = None  # what takes the place of the stage's result; the stage is then skipped
    published: Mapping[str, Any] = field(default_factory=dict)  # source > figures, as the stage's JSON file names them
    processes: int | None = None  # at most so many; None: as many as the call asks for


@dataclass(frozen=True)
class Recipe:
    """The stages of a recipe in order."""

    path: Path
    stages: tuple[Stage, ...]

    @property
    def folder(self) -> Path:
        """What paths in the file are relative to."""
        return self.path.parent

    def written(self) -> dict[str, Any]:
        """Every setting that counts, by its dotted name, those of the stages' config files included."""
        flat: dict[str, Any] = {"stages": [stage.name for stage in self.stages]}
        for stage in self.stages:
            values: dict[str, Any] = {"command": stage.command, **stage.values}
            if stage.given is not None:
                values = {"given": stage.given}
            elif "config" in values:
                config = self.folder / str(values.pop("config"))
                values["config"] = _settled(config, dict(flattened(values.pop("settings", {}))))
            flat |= dict(flattened(values, f"{stage.name}."))
        return flat


def is_recipe(values: Mapping[str, Any]) -> bool:
    """Whether a TOML file is a recipe of stages, not the config of one command."""
    return "stage" in values


def read_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: TOML file of [[stage]] tables. A stage has a `name`, a `command`, and the command's options and arguments
            by the names that its --help shows, without dashes in front; `settings` of a command with a config file is
            a table. In texts, {NAME} is the result of the stage NAME and {run} the run's folder; texts that begin with
            ./ or ../ are paths from the folder of the recipe.
        settings: STAGE.KEY=VALUE that override the file; a path begins with ./, ../ or /, here from the working folder.

    Raises:
        InputError: no such file.
        ConfigError: it is no recipe of stages; the message names file and stage.
    """
    values = read_toml(path)
    if unknown := sorted(values.keys() - {"stage"}):
        raise ConfigError(f"{path}: a recipe holds [[stage]] tables alone, got {unknown[0]}; move it into its stage")
    tables = values.get("stage")
    if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
        raise ConfigError(f"{path}: this is no recipe of stages; it needs [[stage]] tables, see recipes/")
    by_name: dict[str, Any] = {}
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        if not (isinstance(name, str) and NAME.fullmatch(name)) or name in RESERVED:
            raise ConfigError(
                f"{path}: stage {number} needs a name of small letters, digits, - and _, none of"
                f" {', '.join(RESERVED)}; got {name!r}"
            )
        if name in by_name:
            raise ConfigError(f"{path}: two stages are called {name}; rename one")
        by_name[name] = _spelled(table)
    for setting in settings:
        stage = setting.split("=", 1)[0].strip().split(".", 1)
        if len(stage) < 2 or stage[0] not in by_name:
            hint = did_you_mean(stage[0], by_name)
            raise ConfigError(f"{setting!r} sets no stage of {path}; write STAGE.KEY=VALUE.{hint}")
        override(by_name, _from_here(_dashed(setting)))
    return Recipe(path, tuple(_stage(name, table, path) for name, table in by_name.items()))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; InputError or ConfigError where there are none."""
    if not path.is_file():
        raise InputError(f"{path}: no such config file; see recipes/ and configs/ for examples")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error}); mend that line") from error


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables by dotted names."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def did_you_mean(word: str, known: Mapping[str, Any] | Sequence[str], *, form: str = "{}") -> str:
    """ " Did you mean X?", or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {form.format(close[0])}?" if close else ""


def _stage(name: str, table: Mapping[str, Any], path: Path) -> Stage:
    command, given, published, processes = (table.get(key) for key in OWN_KEYS[1:])
    if not isinstance(command, str):
        raise ConfigError(f"{path}: stage {name} needs a command, such as 'train generator'; got {command!r}")
    if given is not None and not isinstance(given, str):
        raise ConfigError(f"{path}: stage {name}: given must be the path of a result, got {given!r}")
    if not isinstance(table.get("settings", {}), Mapping) or not isinstance(published or {}, Mapping):
        raise ConfigError(f"{path}: stage {name}: settings and published are tables; write [stage.settings]")
    if processes is not None and not (isinstance(processes, int) and processes >= 1):
        raise ConfigError(f"{path}: stage {name}: processes must be a number of at least 1, got {processes!r}")
    values = {key: value for key, value in table.items() if key not in OWN_KEYS}
    return Stage(name, " ".join(command.split()), values, given, published or {}, processes)


def _spelled(table: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's table with the command's names spelled as its options are."""
    return {key.replace("_", "-"): value for key, value in table.items()}


def _dashed(setting: str) -> str:
    """A setting of a stage with the command's name in it spelled as the option is: set.per_identity=2."""
    key, equals, value = setting.partition("=")
    stage, name, *rest = key.strip().split(".")
    return ".".join([stage, name.replace("_", "-"), *rest]) + equals + value


def _from_here(setting: str) -> str:
    """A path that starts from the working folder as an absolute one."""
    key, equals, value = setting.partition("=")
    text = value.strip().strip("'\"")
    return f"{key}{equals}{Path(text).resolve()}" if text.startswith(("./", "../")) else setting


def _settled(config: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a config file says under its settings."""
    return {**dict(flattened(read_toml(config))), **settings}
