"""Tables of one row a class: spread over processes, or updated a few rows at a time by their own module.

A module whose rows are spread has an attribute `share` (classes, start, stop), as the heads of `recognition.heads`:
its parameters, and its buffers of as many rows, are rows of larger tables. No other process has them, so their
gradients are not averaged; a checkpoint holds the whole tables, and each process takes its rows from it, whatever
their number. A module that updates its rows itself has `optimiser` and `step` (`RowTrained`); the trainer sets its
rate and calls it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facewright.training.processes import Processes


class Share(Protocol):
    """Rows start ... stop - 1 of `classes`; processes hold even shares in order, the first ones a row more."""

    @property
    def classes(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...


class RowOptimiser(Protocol):
    """An optimiser of single rows, whose state is tables of as many rows."""

    param_groups: list[dict[str, Any]]

    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


@runtime_checkable
class RowTrained(Protocol):
    """A module that updates its rows itself; `sampled_rows` are those that hold gradients."""

    optimiser: RowOptimiser
    share: Share

    @property
    def sampled_rows(self) -> list[Tensor]: ...
    def step(self) -> None: ...


class Shards:
    """Which tensors of a module are rows of larger tables, and how those are put together and taken apart."""

    def __init__(self, module: nn.Module, processes: Processes) -> None:
        self.processes = processes
        self.row_trained: dict[str, RowTrained] = {}
        self.skipped: set[str] = set()  # names in the state dict of what no average is kept of
        self.held: set[int] = set()  # ids of the parameters and buffers that are rows
        self._shares: dict[str, Share] = {}
        self._share_of: dict[int, Share] = {}
        for prefix, part in module.named_modules():
            share: Share | None = getattr(part, "share", None)
            if share is None:
                continue
            own = {**dict(part.named_parameters(recurse=False)), **dict(part.named_buffers(recurse=False))}
            names = {f"{prefix}.{name}" if prefix else name: value for name, value in own.items()}
            rows = {name: value for name, value in names.items() if _has_rows(value, share)}
            self._shares |= dict.fromkeys(rows, share)
            self._share_of |= {id(value): share for value in rows.values()}
            self.held |= {id(value) for value in rows.values()}
            if isinstance(part, RowTrained):
                self.row_trained[prefix] = part
                self.skipped |= rows.keys()

    def whole_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A module's or an average's state with every table whole; meaningful on the first process."""
        return self._changed(state, self._gather)

    def own_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The other way: this process's rows of every table."""
        return self._changed(state, _rows)

    def whole_optimiser(self, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimiser's state dict with the state of every table whole."""
        return self._changed_optimiser(optimiser, optimiser.state_dict(), self._gather)

    def own_optimiser(self, optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
        """The other way: this process's rows."""
        return self._changed_optimiser(optimiser, state, _rows)

    def whole_rows(self) -> dict[str, dict[str, Tensor]]:
        """The state of the modules that update their rows themselves, whole, by the module's name."""
        return {
            name: {key: self._gather(value, part.share) for key, value in part.optimiser.state_dict().items()}
            for name, part in self.row_trained.items()
        }

    def load_rows(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore what `whole_rows` gave."""
        for name, part in self.row_trained.items():
            part.optimiser.load_state_dict({key: _rows(value, part.share) for key, value in state[name].items()})

    def _changed(self, state: Mapping[str, Any], change: Callable[[Tensor, Share], Tensor]) -> dict[str, Any]:
        shares = {name: self._shares.get(name.removeprefix("averaged.")) for name in state}  # an average's names
        return {
            name: value if (share := shares[name]) is None else change(value, share) for name, value in state.items()
        }

    def _changed_optimiser(
        self, optimiser: torch.optim.Optimizer, state: Mapping[str, Any], change: Callable[[Tensor, Share], Tensor]
    ) -> dict[str, Any]:
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        changed = {}
        for number, values in state["state"].items():
            share, rank = self._share_of.get(id(parameters[number])), parameters[number].ndim
            changed[number] = {  # what has the parameter's dimensions has its rows; a count of steps has none
                key: change(value, share) if share is not None and value is not None and value.ndim == rank else value
                for key, value in values.items()
            }
        return {**state, "state": changed}

    def _gather(self, rows: Tensor, share: Share) -> Tensor:
        count = self.processes.count
        if count == 1:
            return rows
        each, more = divmod(share.classes, count)
        padded = rows.new_zeros(each + (more > 0), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(count)] if self.processes.first else None
        dist.gather(padded, parts)
        if parts is None:
            return rows
        return torch.cat([part[: each + (rank < more)] for rank, part in enumerate(parts)])


def _has_rows(value: Tensor, share: Share) -> bool:
    return value.ndim > 0 and len(value) == share.stop - share.start


def _rows(table: Tensor, share: Share) -> Tensor:
    return table[share.start : share.stop]
