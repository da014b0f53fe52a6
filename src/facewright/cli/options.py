"""What is looked at in every command's options before it starts: the device, and where its results go."""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from facewright.errors import InputError

FOLDERS = ("DIR", "SET", "RUN", "DST")
"""How the help pages call a folder that is written to; a file is FILE."""


def guard(command: Any) -> None:
    """Have every command below `command`, as `typer.main.get_command` gives it, check its options before its work."""
    below = getattr(command, "commands", None)
    if below is None:
        command.callback = partial(_checked, command.params, command.callback)
        return
    for each in below.values():
        guard(each)


def check_device(name: str) -> None:
    """Refuse what is not cpu, cuda or cuda:N, and GPUs that torch does not see; raises InputError."""
    if name == "cpu":
        return
    if not (found := re.fullmatch(r"cuda(?::(\d+))?", name)):
        raise InputError(f"unknown device {name!r}; give cpu, cuda or cuda:N as facewright doctor lists them")
    import torch

    count = torch.cuda.device_count()
    if int(found[1] or 0) >= count:
        there = f"those from cuda:0 to cuda:{count - 1}" if count else "no GPU"
        raise InputError(f"device {name} is not there: torch {torch.__version__} sees {there}; run facewright doctor")


def check_output(path: Path, *, folder: bool) -> None:
    """Refuse a path where nothing can be written, so that it is found before the work; raises InputError.

    Args:
        path: need not be there, nor the folders above it.
        folder: whether it is to be a folder, or else a file.
    """
    if path.exists() and path.is_dir() != folder:
        raise InputError(f"{path} is a {'file' if folder else 'folder'}; name a {'folder' if folder else 'file'}")
    place = path if folder else path.parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{path} cannot be made, {place} is a file; name another path")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written, {place} allows no writing; allow it or name another path")


def _checked(params: Sequence[Any], work: Callable[..., Any], **values: Any) -> Any:
    """Do the work of a command once its options hold."""
    for param in params:
        value = values.get(param.name)
        if value is None:
            continue
        if "--device" in param.opts and values.get("measure", True):  # plan, unless it measures, has names of its own
            check_device(value)
        elif "--json" in param.opts or ("--out" in param.opts and param.metavar == "FILE"):
            check_output(Path(value), folder=False)
        elif "--plots" in param.opts or (param.name in ("out", "dst") and param.metavar in FOLDERS):
            check_output(Path(value), folder=True)
    return work(**values)
