"""Norms: group norms that are fast in bfloat16, and batch-norm statistics that belong to averaged weights."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SMALL = 1024  # positions; torch's own threshold between its kernels


class GroupNorm(nn.GroupNorm):
    """A group norm that on a CPU calculates small maps in float32 and answers in the type it was given.

    There torch's kernel for bfloat16 in channels-last took six times as long as that for float32; for maps of 1,024
    positions and more it has another, which is the faster one (AVX-512 bf16, torch 2.13). Elsewhere it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, ...) to as many, of the same type."""
        if x.device.type != "cpu" or x.dtype == torch.float32 or x[0, 0].numel() >= SMALL:
            return super().forward(x)
        weight, bias = (None if part is None else part.float() for part in (self.weight, self.bias))
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


def use_float_group_norms(network: nn.Module) -> None:
    """Put a `GroupNorm` with the same parameters in the place of every group norm inside a network."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if type(child) is nn.GroupNorm:
                norm = GroupNorm(child.num_groups, child.num_channels, child.eps, child.affine, device="meta")
                norm.weight, norm.bias = child.weight, child.bias
                setattr(parent, name, norm.train(child.training))


@torch.no_grad()
def remeasure_batch_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every batch norm's running mean and variance to those of `batches`, and put the network in eval mode.

    Averaged weights see other activations than the weights that the running statistics were gathered with (Izmailov et
    al. 2018, section 3.2).
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    for batch in batches:
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
