"""Any torch optimiser, applied to a few rows of a table; the others and their state are neither read nor written."""

from typing import Any

import torch
from torch import Tensor, nn

from facewright.errors import ConfigError


class RowOptimiser:
    """An optimiser for tables of which each step touches some rows.

    A row that is not touched sleeps: no decay, no momentum and no step count reaches it. Each row has the state that it
    would have if the table were nothing but this row and only its own steps had been made; Adam's bias correction
    counts the steps of the row.

    Args:
        kind: an optimiser whose state is one value an entry or one a parameter, such as SGD, AdamW, RAdam or Adagrad.
        settings: its keyword arguments; `param_groups` holds them, so that a schedule can change the rate.
    """

    def __init__(self, kind: type[torch.optim.Optimizer], **settings: Any) -> None:
        self.kind = kind
        self.param_groups = [settings]
        self.tables: dict[str, Tensor] = {}  # (C, D), or (C,) for what is one value a parameter
        self.touched: Tensor | None = None  # (C,), bool: rows that have state
        self._scalars: dict[str, torch.device] | None = None

    def step(self, table: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """Update rows of a table in place.

        Args:
            table: (C, D); the same table at every step.
            rows: (n,), int64, each row once.
            gradient: of these rows, (n, D).

        Raises:
            ConfigError: the optimiser's state is shared by rows.
        """
        if self._scalars is None:
            self._scalars = self._probe(table)
        if self.touched is None:
            self.touched = torch.zeros(len(table), dtype=torch.bool, device=table.device)
        parameters, parts = [], []
        for places, values in self._alike(rows, self.touched, self._scalars):
            part = rows[places]
            parameter = nn.Parameter(table[part])
            parameter.grad = gradient if len(part) == len(rows) else gradient[places]
            parameters.append((parameter, values))
            parts.append(part)
        optimiser = self.kind([parameter for parameter, _ in parameters], **self.param_groups[0])
        for (parameter, values), part in zip(parameters, parts, strict=True):
            if values is not None:
                states = {name: states[part] for name, states in self.tables.items() if name not in values}
                optimiser.state[parameter] = {**states, **values}
        optimiser.step()
        for (parameter, _), part in zip(parameters, parts, strict=True):
            table[part] = parameter.detach()
            self._write(part, optimiser.state[parameter], len(table))
        self.touched[rows] = True

    def state_dict(self) -> dict[str, Tensor]:
        """Every state as a table of one row a class; empty before the first step."""
        return {} if self.touched is None else {"touched": self.touched, **self.tables}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave; the tables are taken over, not copied."""
        tables = dict(state)
        self.touched = tables.pop("touched", None)
        self.tables = tables

    def _probe(self, table: Tensor) -> dict[str, torch.device]:
        """Which states are one value a parameter, and where the optimiser wants them; found by a step on zeros."""
        parameter = nn.Parameter(table.new_zeros(2, table.shape[1]))
        parameter.grad = torch.zeros_like(parameter)
        optimiser = self.kind([parameter], **self.param_groups[0])
        optimiser.step()
        scalars = {}
        for name, value in optimiser.state[parameter].items():
            if isinstance(value, Tensor) and value.ndim == 0:
                scalars[name] = value.device
            elif value is not None and not (isinstance(value, Tensor) and value.shape == parameter.shape):
                raise ConfigError(
                    f"{self.kind.__name__} keeps {name!r} across rows, so single rows cannot be updated; use an "
                    "optimiser whose state is one value an entry, such as SGD or AdamW"
                )
        return scalars

    def _alike(
        self, rows: Tensor, touched: Tensor, scalars: dict[str, torch.device]
    ) -> list[tuple[Tensor, dict[str, Tensor] | None]]:
        """Places of `rows` that can be updated as one parameter, and the states that it has one value of.

        Rows that were never touched are one such part, and have no state (None).
        """
        known = {name: self.tables[name] for name in scalars if name in self.tables}
        keys = torch.stack([touched[rows].double(), *(table[rows].double() for table in known.values())], 1)
        kinds, kind, counts = keys.unique(dim=0, return_inverse=True, return_counts=True)
        parts = []
        for places, (has_state, *values) in zip(
            kind.argsort(stable=True).split(counts.tolist()), kinds.tolist(), strict=True
        ):
            states = {
                name: torch.tensor(value, dtype=known[name].dtype, device=scalars[name])
                for name, value in zip(known, values, strict=True)
            }
            parts.append((places, states if has_state else None))
        return parts

    def _write(self, rows: Tensor, state: dict[str, Any], length: int) -> None:
        for name, value in state.items():
            if value is None:  # SGD without momentum
                continue
            if name not in self.tables:
                self.tables[name] = torch.zeros(length, *value.shape[1:], dtype=value.dtype, device=rows.device)
            self.tables[name][rows] = value.to(rows.device)
