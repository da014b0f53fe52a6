"""Both MobileFaceNets: counts, groups of the second convolution, other forms of running."""

import pytest
import torch
from torch import nn

from facewright.encoders.mobilefacenet import MobileFaceNet
from facewright.encoders.mobilefacenet_arcface import WideMobileFaceNet, mbf_large


@pytest.mark.parametrize(
    ("build", "tensors", "parameters"),
    [(MobileFaceNet, 331, 1_199_488), (WideMobileFaceNet, 333, 2_059_520), (mbf_large, 606, 6_314_880)],
)
def test_tensors_and_parameters_are_the_published_ones(build: type[nn.Module], tensors: int, parameters: int) -> None:
    with torch.device("meta"):
        network = build()
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == (tensors, parameters)


def test_second_convolution_of_arcface_torch_is_grouped_by_two_channels() -> None:
    with torch.device("meta"):
        assert WideMobileFaceNet().state_dict()["layers.1.layers.0.weight"].shape == (128, 2, 3, 3)
        assert mbf_large().state_dict()["layers.1.layers.0.layers.1.layers.0.weight"].shape == (128, 1, 3, 3)


@pytest.mark.parametrize("build", [MobileFaceNet, WideMobileFaceNet])
def test_other_precision_and_memory_order_agree(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = build().eval()
    images = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        plain = network(images)
        ordered = network.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
        half = network.to(torch.bfloat16)(images.to(torch.bfloat16)).float()
    torch.testing.assert_close(ordered, plain, rtol=1e-4, atol=1e-4 * float(plain.std()))
    assert torch.nn.functional.cosine_similarity(half, plain) > 0.99


@pytest.mark.parametrize("build", [MobileFaceNet, WideMobileFaceNet])
def test_gradients_reach_every_parameter(build: type[nn.Module]) -> None:
    network = build()
    network(torch.randn(2, 3, 112, 112)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
