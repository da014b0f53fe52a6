"""Group norms in float32, and batch-norm statistics measured anew."""

import torch
from torch import nn

from facewright.training.norms import GroupNorm, remeasure_batch_norms, use_float_group_norms


def test_statistics_are_the_plain_mean_over_the_batches() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2, momentum=0.3), nn.Linear(2, 1))
    network[0].running_mean.fill_(50)
    batches = [torch.randn(64, 2, generator=torch.Generator().manual_seed(seed)) + seed for seed in range(3)]
    remeasure_batch_norms(network, batches)
    assert torch.allclose(network[0].running_mean, torch.stack([b.mean(0) for b in batches]).mean(0), atol=1e-5)
    assert torch.allclose(network[0].running_var, torch.stack([b.var(0) for b in batches]).mean(0), atol=1e-5)
    assert network[0].momentum == 0.3
    assert not network.training


def test_the_group_norm_is_torchs_and_in_bfloat16_closer_to_the_truth() -> None:
    x = 3 + 5 * torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    torchs, ours = nn.GroupNorm(4, 8), GroupNorm(4, 8)
    nn.init.normal_(torchs.weight, generator=torch.Generator().manual_seed(1))
    ours.load_state_dict(torchs.state_dict())
    assert torch.equal(ours(x), torchs(x))
    halved = x.bfloat16().contiguous(memory_format=torch.channels_last)
    found = ours(halved)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, torchs(halved.float()).bfloat16()), "rounded once, at the end"
    large = torch.randn(1, 8, 32, 32, generator=torch.Generator().manual_seed(2)).bfloat16()
    assert torch.equal(ours(large), torchs(large)), "torch's own kernel"
    assert ours.bfloat16()(halved).dtype == torch.bfloat16, "weights may be halved too"


def test_group_norms_inside_a_network_are_replaced_and_keep_their_parameters() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.GroupNorm(2, 4, eps=0.5)), nn.BatchNorm2d(4)).eval()
    names, weight = list(network.state_dict()), network[1][0].weight
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    before = network(x)
    use_float_group_norms(network)
    norm = network[1][0]
    assert isinstance(norm, GroupNorm)
    assert norm.weight is weight
    assert (norm.eps, norm.training, type(network[2])) == (0.5, False, nn.BatchNorm2d)
    assert list(network.state_dict()) == names
    assert torch.equal(network(x), before)
