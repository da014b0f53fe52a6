"""TOML files and key=value settings to the frozen dataclass that they mirror."""

import difflib
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from facewright.errors import ConfigError, InputError

Config = TypeVar("Config")


def read_config(kind: type[Config], path: Path, settings: Sequence[str] = ()) -> Config:
    """Read a config.

    Args:
        kind: the dataclass; a field that is a dataclass is a table of the file.
        path: TOML file. Paths in it are relative to its folder.
        settings: KEY=VALUE that override the file, such as schedule.images=20000; VALUE is TOML, or else plain text.
            Paths here are relative to the working folder.

    Raises:
        InputError: no such file.
        ConfigError: the file is not TOML; a key is unknown or missing; a value has the wrong type or is refused by the
            dataclass. The message names file and key.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such config file; see configs/ for examples")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error}); mend that line") from error
    values = _with_folder(values, kind, path.parent)
    for setting in settings:
        override(values, setting)
    return _build(kind, values, where=str(path), prefix="")


def _with_folder(values: Mapping[str, Any], kind: type, folder: Path) -> dict[str, Any]:
    """The same values with every path below `folder`."""
    hints = get_type_hints(kind)
    placed = dict(values)
    for key, value in values.items():
        wanted = _without_none(hints.get(key, object))
        if wanted is Path and isinstance(value, str):
            placed[key] = str(folder / value)
        elif is_dataclass(wanted) and isinstance(wanted, type) and isinstance(value, Mapping):
            placed[key] = _with_folder(value, wanted, folder)
    return placed


def override(values: dict[str, Any], setting: str) -> None:
    """Put `key.sub=value`, the value in TOML or plain text, into the tables of a config.

    Raises:
        ConfigError: it is no such setting, or goes through a key that holds no table.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{setting!r} is no setting; write key=value, such as schedule.images=20000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *tables, last = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{setting!r}: {table} is a single value, not a table")
    values[last] = value


def _build(kind: type[Config], values: Mapping[str, Any], *, where: str, prefix: str) -> Config:
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass by contract
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {prefix}{close[0]!s}?" if close else ""
            raise ConfigError(f"{where}: unknown key {prefix}{key}.{hint} Known: {', '.join(sorted(known))}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}: {prefix}{name} is missing; give it in the file or as {prefix}{name}=VALUE")
    taken = {key: _value(hints[key], value, where=where, key=f"{prefix}{key}") for key, value in values.items()}
    try:
        return kind(**taken)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(wanted: Any, value: Any, *, where: str, key: str) -> Any:
    """`value` as the type that a field asks for."""
    if value == "none" and wanted is not _without_none(wanted):
        return None
    wanted = _without_none(wanted)
    if is_dataclass(wanted) and isinstance(wanted, type) and isinstance(value, Mapping):
        return _build(wanted, value, where=where, prefix=f"{key}.")
    if get_origin(wanted) is tuple and isinstance(value, list):
        kinds = get_args(wanted)
        kinds = kinds[:1] * len(value) if kinds[1:] == (...,) else kinds
        if len(kinds) == len(value):
            return tuple(_value(kind, item, where=where, key=key) for kind, item in zip(kinds, value, strict=True))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if isinstance(wanted, type) and isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    name = wanted.__name__ if isinstance(wanted, type) and not get_args(wanted) else str(wanted)
    raise ConfigError(f"{where}: {key} must be of type {name}, got {value!r}")


def _without_none(wanted: Any) -> Any:
    """X of `X | None`, else the type itself."""
    if get_origin(wanted) in (Union, types.UnionType):
        others = [kind for kind in get_args(wanted) if kind is not type(None)]
        if len(others) == 1:
            return others[0]
    return wanted
