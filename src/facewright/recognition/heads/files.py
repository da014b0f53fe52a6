"""Heads on disk: one file a process, read back by any number of processes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from facewright.errors import DataError, InputError, WorkError
from facewright.recognition.heads.index import INDEX, HeadIndex, Kind, kind_of
from facewright.recognition.heads.partial_fc import PartialFC
from facewright.recognition.heads.sharded import ShardedHead
from facewright.recognition.heads.shares import Share
from facewright.training.atomic import atomic_path

ROWS, WHOLE, STATE = "rows.", "whole.", "optimiser."


def save_head(
    head: ShardedHead | PartialFC, folder: Path | str, *, optimiser: torch.optim.Optimizer | None = None
) -> None:
    """Write centres, their optimiser's state and the margin's state; every process has to call it.

    `index.json` beside them says what was saved: classes, width, and the classes of head, margin (with its settings)
    and optimiser. The files of an earlier save are replaced only when all of the new ones are whole.

    Args:
        head: as it stands after a step.
        folder: that all processes can reach.
        optimiser: that updates a `ShardedHead`; a `PartialFC` has its own.

    Raises:
        InputError: the optimiser does not update this head.
        WorkError: a process could not write its file.
    """
    processes, share, folder = head.processes, head.share, Path(folder)
    kind = kind_of(head, optimiser)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the centres")
    number = HeadIndex.read(folder).number + 1 if (folder / INDEX).exists() else 1
    rows, whole = _state(head, optimiser)
    tensors = {ROWS + name: value for name, value in rows.items()}
    if processes.rank == 0:
        tensors |= {WHOLE + name: value for name, value in whole.items()}
    name = _name(number, processes.rank, processes.count)
    failure: Exception | None = None
    try:
        with atomic_path(folder / name) as path:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path)
    except (OSError, SafetensorError) as error:
        failure = error
    if bool(processes.max(torch.tensor([failure is not None], dtype=torch.int32, device=head.weight.device))):
        raise WorkError(
            f"{folder / name}: this process or another one could not write its centres ({failure or 'another one'}); "
            "an earlier save is kept: mend that, or name another folder, and save again"
        ) from failure
    if processes.rank == 0:
        files = {_name(number, rank, processes.count) for rank in range(processes.count)}
        HeadIndex(number, share.classes, head.weight.shape[1], processes.count, kind).write(folder)
        for old in folder.glob("centres-*.safetensors"):
            if old.name not in files:
                old.unlink()
    processes.max(torch.zeros(1, device=head.weight.device))  # all wait for the index


def load_head(
    head: ShardedHead | PartialFC,
    folder: Path | str,
    *,
    optimiser: torch.optim.Optimizer | None = None,
    centres_only: bool = False,
) -> None:
    """Read this process's share of what `save_head` wrote, by however many processes.

    Args:
        head: of the class, number of classes, width and margin that was saved.
        folder: that `save_head` wrote.
        optimiser: that updates a `ShardedHead`, of the class that was saved. None: no state of it is read.
        centres_only: take the class centres from a save of any kind of head, margin and optimiser, and nothing else:
            the states of margin and optimiser stay as they are.

    Raises:
        DataError: nothing was saved there, a file is missing or damaged, or it holds another head, another margin,
            another optimiser or no state of one.
        InputError: the optimiser does not update this head, or nothing of it would be read.
    """
    asked = kind_of(head, optimiser)
    if centres_only and optimiser is not None:
        raise InputError("with centres_only no state of an optimiser is read; leave out optimiser")
    folder = Path(folder)
    index = HeadIndex.read(folder)
    have, want = (index.classes, index.width), (head.share.classes, head.weight.shape[1])
    if have != want:
        raise DataError(
            f"{folder} holds {have[0]} centres of width {have[1]}, the head has {want[0]} of width {want[1]}; build it "
            "as it was saved"
        )
    rows, whole = _read_shards(folder, index, head.share)
    centres = rows.pop("weight", None)
    if centres is None:
        raise DataError(f"{folder} holds no class centres; use an earlier save")
    if not centres_only:
        _check_kind(folder, index.kind, asked)
        _take_margin(head, whole, folder)
        states = {name.removeprefix(STATE): value.to(head.weight.device) for name, value in rows.items()}
        if isinstance(head, PartialFC):
            if "draws" in whole:
                head.draws.copy_(whole["draws"])
            head.optimiser.load_state_dict(states)
        elif optimiser is not None:
            states |= {name.removeprefix(STATE): value for name, value in whole.items() if name.startswith(STATE)}
            _give(optimiser, head.weight, states)
    with torch.no_grad():
        head.weight.copy_(centres)


def _check_kind(folder: Path, saved: Kind, asked: Kind) -> None:
    """Refuse another kind than was saved; a `ShardedHead` without an optimiser asks for no state of one."""
    cure = "build it as it was saved, or take its class centres alone with centres_only=True"
    if asked.optimiser is None and saved.head == asked.head:
        saved = replace(saved, optimiser=None)
    elif saved.optimiser is None and saved.head == asked.head and saved.margin == asked.margin:
        raise DataError(
            f"{folder / INDEX}: the save holds no state of an optimiser, and one of {asked.optimiser} is asked for; "
            "leave out optimiser to begin its state anew"
        )
    was, wanted = saved.difference(asked)
    if was:
        raise DataError(f"{folder / INDEX}: saved was {was}, asked for is {wanted}; {cure}")


def _take_margin(head: ShardedHead | PartialFC, whole: Mapping[str, Tensor], folder: Path) -> None:
    state = {name.removeprefix("margin."): value for name, value in whole.items() if name.startswith("margin.")}
    try:
        head.margin.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"{folder} holds the state of another margin; build the head with the one saved") from error


def _state(
    head: ShardedHead | PartialFC, optimiser: torch.optim.Optimizer | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of one row a class, and tensors that all processes share."""
    whole = {f"margin.{name}": value for name, value in head.margin.state_dict().items()}
    rows: dict[str, Tensor] = {"weight": head.weight}
    states: Mapping[str, Any] = {}
    if isinstance(head, PartialFC):
        whole["draws"] = head.draws
        states = head.optimiser.state_dict()
    elif optimiser is not None:
        states = optimiser.state.get(head.weight, {})
    for name, value in states.items():
        if isinstance(value, Tensor):
            place = rows if value.ndim and len(value) == len(head.share) else whole
            place[STATE + name] = value
    return rows, whole


def _give(optimiser: torch.optim.Optimizer, weight: Tensor, states: dict[str, Tensor]) -> None:
    """Set the state of one parameter, as the optimiser itself would restore it."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    at = next(number for number, parameter in enumerate(parameters) if parameter is weight)
    whole = optimiser.state_dict()
    whole["state"][at] = states
    optimiser.load_state_dict(whole)


def _name(number: int, rank: int, count: int) -> str:
    return f"centres-{number:06d}-{rank:05d}-of-{count:05d}.safetensors"


def _read_shards(folder: Path, index: HeadIndex, share: Share) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parts: dict[str, list[Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for rank in range(index.processes):
        path = folder / _name(index.number, rank, index.processes)
        saved = Share.of(share.classes, rank, index.processes)
        low, high = max(saved.start, share.start), min(saved.stop, share.stop)
        try:
            with safe_open(path, framework="pt", device="cpu") as opened:
                for key in opened.keys():  # noqa: SIM118 (not a mapping)
                    if key.startswith(WHOLE):
                        whole[key.removeprefix(WHOLE)] = opened.get_tensor(key)
                    elif low < high:
                        rows = opened.get_slice(key)[low - saved.start : high - saved.start]
                        parts.setdefault(key.removeprefix(ROWS), []).append(rows)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: missing, cut short or damaged ({error}); use an earlier save") from error
    rows = {name: torch.cat(pieces) for name, pieces in parts.items()}
    for name, table in rows.items():
        if len(table) != len(share):
            raise DataError(f"{folder}: {name!r} has {len(table)} of {len(share)} rows; use an earlier save")
    return rows, whole
