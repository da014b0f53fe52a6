"""SlimFaceNet: shapes of its maps, its size, gradients."""

import torch

from facewright.encoders import SlimFaceNet


def test_maps_halve_and_the_embedding_is_made_from_the_last() -> None:
    network = SlimFaceNet().eval()
    x = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.inference_mode():
        maps = network.features(x)
        assert [tuple(m.shape[1:]) for m in maps] == [(64, 28, 28), (128, 14, 14), (256, 7, 7)]
        assert torch.equal(network(x), network.embed_features(maps[-1]))
    assert network(x).shape == (2, 512)


def test_size_is_that_of_a_small_network() -> None:
    assert sum(p.numel() for p in SlimFaceNet().parameters()) < 6_000_000
    assert SlimFaceNet(128).eval()(torch.zeros(1, 3, 112, 112)).shape == (1, 128)


def test_gradients_reach_every_weight() -> None:
    network = SlimFaceNet()
    network(torch.rand(4, 3, 112, 112)).square().sum(1).sqrt().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
