"""What a saved head says of itself, and whether another head can take it up."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from facewright.errors import DataError, InputError
from facewright.recognition.heads.partial_fc import PartialFC
from facewright.recognition.heads.sharded import ShardedHead
from facewright.recognition.margins.margin import Margin
from facewright.training.atomic import atomic_path

INDEX = "index.json"
FORMAT = 1
KEEPING = ("momentum", "amsgrad", "centered")  # settings with which an optimiser of torch keeps a table more


@dataclass(frozen=True)
class Kind:
    """What a head is: two that differ in it cannot take up each other's state."""

    head: str  # name of its class
    margin: Mapping[str, Any]  # "name" of its class, its settings, and a margin within it in the same form
    optimiser: str | None  # that updates the centres, such as "SGD with momentum"; None: none was given

    def difference(self, other: "Kind") -> tuple[str, str]:
        """This kind and another in words, as far as they differ; two empty texts where they do not."""
        pairs = []
        if self.head != other.head:
            pairs.append((f"a {self.head}", f"a {other.head}"))
        if self.margin != other.margin:
            pairs.append((f"the margin {_margin_text(self.margin)}", f"the margin {_margin_text(other.margin)}"))
        if self.optimiser != other.optimiser:
            pairs.append((f"the optimiser {self.optimiser or 'none'}", f"the optimiser {other.optimiser or 'none'}"))
        return " and ".join(mine for mine, _ in pairs), " and ".join(theirs for _, theirs in pairs)


@dataclass(frozen=True)
class HeadIndex:
    """The index of a save."""

    number: int  # of the save, from 1
    classes: int
    width: int
    processes: int
    kind: Kind

    def write(self, folder: Path) -> None:
        """Replace the index of a folder."""
        with atomic_path(folder / INDEX) as path:
            path.write_text(json.dumps({"format": FORMAT, **asdict(self)}) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "HeadIndex":
        """The index of a folder that `save_head` wrote; DataError where there is none or it is damaged."""
        path = folder / INDEX
        try:
            said = json.loads(path.read_text())
            if said["format"] != FORMAT:
                raise DataError(f"{path} is of format {said['format']}, expected {FORMAT}; use a newer facewright")
            numbers = {name: int(said[name]) for name in ("number", "classes", "width", "processes")}
            return cls(**numbers, kind=Kind(**said["kind"]))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(f"{folder} holds no saved head (no {INDEX}); name a folder that save_head wrote") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}); use an earlier save, or save into another folder") from error


def kind_of(head: ShardedHead | PartialFC, optimiser: torch.optim.Optimizer | None) -> Kind:
    """What a head and the optimiser given with it are.

    Raises:
        InputError: a `PartialFC` was given an optimiser, or the optimiser does not update this head.
    """
    if isinstance(head, PartialFC):
        if optimiser is not None:
            raise InputError("a PartialFC has an optimiser of its own, which is saved with it; leave out optimiser")
        name: str | None = _optimiser_name(head.optimiser.kind, head.optimiser.param_groups[0])
    elif optimiser is None:
        name = None
    else:
        groups = [group for group in optimiser.param_groups if any(each is head.weight for each in group["params"])]
        if not groups:
            raise InputError("the optimiser given does not update this head; build it with head.parameters()")
        name = _optimiser_name(type(optimiser), groups[0])
    return Kind(type(head).__name__, _margin_said(head.margin), name)


def _optimiser_name(kind: type[torch.optim.Optimizer], settings: Mapping[str, Any]) -> str:
    keeps = [name for name in KEEPING if settings.get(name)]
    return kind.__name__ + (f" with {' and '.join(keeps)}" if keeps else "")


def _margin_said(margin: Margin) -> dict[str, Any]:
    inner = {name: _margin_said(part) for name, part in margin.named_children() if isinstance(part, Margin)}
    return {"name": type(margin).__name__, **inner, **margin.settings()}


def _margin_text(said: Mapping[str, Any]) -> str:
    settings = (f"{name}={_margin_text(value) if isinstance(value, dict) else value}" for name, value in said.items())
    return f"{said['name']}({', '.join(list(settings)[1:])})"
