"""Several processes that train one module together, one process a device.

This is a thin layer over `torch.distributed`, started by torchrun, and not `accelerate`, for three reasons. An
Accelerator wraps the module so that gradients are averaged by hooks of its forward; the losses here call parts of a
module (a network, a head, feature maps), and a sharded head must not be averaged at all. Its samplers and accumulation
make what a step draws depend on the number of processes; here a batch has fixed parts with seeds of their own, and the
number of processes only says who computes which, so a run may be resumed on another number. And it settles precision
and devices once for the whole interpreter. What is left of it (autocast, a process group) is the little below. The
price: gradients are averaged after the backward pass, not during it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facewright.errors import ConfigError

BUCKET = 1 << 25  # gradient entries that travel together (128 MiB)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            dist.barrier()

    def any(self, *flags: bool, device: torch.device) -> tuple[bool, ...]:
        """For each flag, whether it is set on any process."""
        if self.count == 1:
            return flags
        shared = torch.tensor(flags, dtype=torch.float32, device=device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return tuple(value > 0 for value in shared.tolist())

    def gathered(self, value: Any) -> list[Any]:
        """`value` of every process, in their order; a small object that pickles."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes.

        A parameter without a gradient counts as zero where another process has one, and keeps none where none has.
        """
        if self.count == 1 or not parameters:
            return
        there = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        dist.all_reduce(there, op=dist.ReduceOp.MAX)
        wanted = [p for p, some in zip(parameters, there.tolist(), strict=True) if some]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average([parameter.grad for parameter in wanted if parameter.grad is not None])

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its mean over the processes, in place."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            flat /= self.count
            for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))


def current() -> Processes:
    """This process's place in the default process group; alone where there is none."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, and give the device of this one; alone, give `device` back.

    Several processes train with `torchrun --nproc-per-node=8 -m facewright.cli.app train ...`: "cuda" becomes "cuda:0",
    "cuda:1" ... by LOCAL_RANK and talks through nccl; "cpu" talks through gloo.

    Raises:
        ConfigError: the device names one GPU, which several processes cannot share.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or dist.is_initialized():
        yield device
        return
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"{count} processes cannot share {device}; give the device as cuda or cpu")
    backend = "gloo"
    if device == "cuda":
        backend, device = "nccl", f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group(backend)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type, together up to about BUCKET entries, in order."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        size = sum(kept.numel() for kept in bucket)
        if bucket and (size + tensor.numel() > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
