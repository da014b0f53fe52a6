"""Batch-norm statistics that belong to averaged weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
