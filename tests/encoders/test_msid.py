"""MSID: counts of both forms, and what a tap reads."""

import pytest
import torch

from facewright.encoders.msid import MSID, TAPS
from facewright.errors import ConfigError


@pytest.fixture(scope="module")
def network() -> MSID:
    torch.manual_seed(0)
    return MSID().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


@pytest.mark.parametrize(("taps", "tensors", "parameters"), [(TAPS, 178, 21_450_624), ((11,), 157, 21_446_016)])
def test_tensors_and_parameters_are_the_published_ones(taps: tuple[int, ...], tensors: int, parameters: int) -> None:
    with torch.device("meta"):
        network = MSID(taps)
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == (tensors, parameters)


def test_taps_are_joined_in_order_and_normed_where_they_have_norms(network: MSID, images: torch.Tensor) -> None:
    with torch.inference_mode():
        features = network(images)
        parts = [network(images, taps=(tap,)) for tap in TAPS]
        raw = network(images, taps=(0,))
    assert features.shape == (2, 1536)
    torch.testing.assert_close(features, torch.cat(parts, 1), rtol=0, atol=1e-5)
    assert torch.allclose(parts[0].mean(1), torch.zeros(2), atol=1e-5)  # a layer norm ends every normed tap
    assert not torch.allclose(raw.std(1), torch.ones(2), atol=0.05)


def test_a_batch_is_independent_of_its_company(network: MSID, images: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=0, atol=1e-5)


def test_other_precision_agrees(network: MSID, images: torch.Tensor) -> None:
    with torch.inference_mode():
        plain = network(images)
        ordered = network(images.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            half = network(images).float()
    torch.testing.assert_close(ordered, plain, rtol=0, atol=1e-5)
    assert torch.nn.functional.cosine_similarity(half, plain).min() > 0.99


@pytest.mark.parametrize("taps", [(), (12,), (5, 2), (2, 2), (-1,)])
def test_taps_that_do_not_exist_are_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="rising block numbers"):
        MSID(taps)
