"""IResNet: its counts, its shortcut, and that it trains and runs in other forms."""

import pytest
import torch

from facewright.encoders.iresnet import BLOCKS, Block, IResNet
from facewright.errors import ConfigError

COUNTS = {
    18: (187, 24_025_600),
    34: (331, 34_139_328),
    50: (475, 43_590_848),
    100: (925, 65_156_160),
    200: (1807, 118_833_920),
}


@pytest.mark.parametrize("depth", list(BLOCKS))
def test_tensors_and_parameters_are_the_published_ones(depth: int) -> None:
    with torch.device("meta"):
        network = IResNet(depth)
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == COUNTS[depth]


def test_a_block_with_a_silent_branch_is_its_shortcut() -> None:
    block = Block(4, 4, stride=1).eval()
    torch.nn.init.zeros_(block.bn3.weight)
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(x), x)


def test_scale_of_the_last_norm_stays_fixed_and_all_else_learns() -> None:
    network = IResNet(18, embedding=16)
    images = torch.randn(2, 3, 112, 112)
    assert network(images).shape == (2, 16)
    network(images).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == ["features.weight"]


def test_other_precision_and_memory_order_agree() -> None:
    torch.manual_seed(0)
    network = IResNet(18).eval()
    images = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        plain = network(images)
        ordered = network.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
        half = network.to(torch.bfloat16)(images.to(torch.bfloat16)).float()
    torch.testing.assert_close(ordered, plain, rtol=1e-4, atol=1e-4 * float(plain.std()))
    assert torch.nn.functional.cosine_similarity(half, plain) > 0.999


def test_dropout_acts_only_while_training() -> None:
    network = IResNet(18, dropout=0.5)
    images = torch.randn(2, 3, 112, 112)
    network.train()
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_an_unknown_depth_is_refused() -> None:
    with pytest.raises(ConfigError, match="18, 34, 50, 100, 200, got 101"):
        IResNet(101)


@pytest.mark.slow
def test_compiled_network_agrees() -> None:
    network = IResNet(18).eval()
    images = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        torch.testing.assert_close(torch.compile(network)(images), network(images), rtol=1e-3, atol=1e-3)
