"""The few exchanges that a head split over processes needs; a single process needs no process group."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Processes:
    """This process among those that share a head.

    Args:
        group: gloo on CPU, NCCL on GPUs. None: the default group where torch.distributed is initialised, otherwise
            this process alone.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if group is None and dist.is_available() and dist.is_initialized():
            group = dist.group.WORLD
        self._group = group
        self.rank = 0 if group is None else group.rank()
        self.count = 1 if group is None else group.size()

    def sum(self, part: Tensor) -> Tensor:
        """The sum of every process's tensor; no gradient."""
        return self._reduced(part, dist.ReduceOp.SUM)

    def max(self, part: Tensor) -> Tensor:
        """The elementwise maximum of every process's tensor; no gradient."""
        return self._reduced(part, dist.ReduceOp.MAX)

    def sum_of_parts(self, part: Tensor) -> Tensor:
        """As `sum`, differentiable: each process's use of the sum sends its gradient back to all."""
        return part if self.count == 1 else _SumOfParts.apply(part, self)  # type: ignore[no-untyped-call]

    def rows(self, rows: Tensor, *, averaged: bool = False) -> Tensor:
        """The rows of all processes, in order of rank; differentiable.

        Args:
            rows: (B, ...); the processes may hold different numbers of rows.
            averaged: gradients are averaged over the processes afterwards, so send back that many times the gradient.
        """
        return rows if self.count == 1 else _Rows.apply(rows, self, averaged)  # type: ignore[no-untyped-call]

    def gathered(self, rows: Tensor) -> list[Tensor]:
        """Every process's rows, by rank; no gradient."""
        mine = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.zeros_like(mine) for _ in range(self.count)]
        dist.all_gather(counts, mine, group=self._group)
        lengths = [int(count) for count in counts]
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        all_rows = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(all_rows, padded, group=self._group)
        return [part[:length] for part, length in zip(all_rows, lengths, strict=True)]

    def _reduced(self, part: Tensor, operation: Any) -> Tensor:
        if self.count == 1:
            return part
        total = part.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, operation, group=self._group)
        return total


class _SumOfParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.sum(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.processes.sum(gradients[0]), None


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes, averaged: bool) -> Tensor:
        parts = processes.gathered(rows.detach())
        start = sum(len(part) for part in parts[: processes.rank])
        ctx.processes, ctx.own = processes, slice(start, start + len(rows))
        ctx.factor = processes.count if averaged else 1
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.processes.sum(gradients[0])[ctx.own] * ctx.factor, None, None
