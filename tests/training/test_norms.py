"""Batch-norm statistics measured anew."""

import torch
from torch import nn

from facewright.training.norms import remeasure_batch_norms


def test_statistics_are_the_plain_mean_over_the_batches() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2, momentum=0.3), nn.Linear(2, 1))
    network[0].running_mean.fill_(50)
    batches = [torch.randn(64, 2, generator=torch.Generator().manual_seed(seed)) + seed for seed in range(3)]
    remeasure_batch_norms(network, batches)
    assert torch.allclose(network[0].running_mean, torch.stack([b.mean(0) for b in batches]).mean(0), atol=1e-5)
    assert torch.allclose(network[0].running_var, torch.stack([b.var(0) for b in batches]).mean(0), atol=1e-5)
    assert network[0].momentum == 0.3
    assert not network.training
