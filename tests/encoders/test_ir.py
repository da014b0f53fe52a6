"""IR and IR-SE: their counts, their units, and the form without a norm in the middle."""

import pytest
import torch
from torch import nn

from facewright.encoders.ir import IR, NETWORKS, SqueezeExcite, Unit
from facewright.errors import ConfigError

COUNTS = {
    "ir_18": (179, 24_020_352),
    "ir_34": (323, 34_134_080),
    "ir_50": (467, 43_585_600),
    "ir_101": (917, 65_150_912),
    "ir_152": (1291, 109_636_736),
    "ir_200": (1691, 114_138_240),
    "ir_se_50": (515, 43_808_320),
    "ir_se_101": (1015, 65_523_136),
    "ir_se_152": (1391, 116_214_912),
    "ir_se_200": (1823, 121_240_704),
    "ir_101_first": (672, 65_150_912 - 2 * (3 * 64 + 13 * 128 + 30 * 256 + 3 * 512)),  # 49 norms fewer
}


@pytest.mark.parametrize("name", list(COUNTS))
def test_tensors_and_parameters_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = NETWORKS[name]()
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == COUNTS[name]


def test_shortcut_of_equal_width_takes_every_second_pixel() -> None:
    silent = nn.Conv2d(3, 3, 1, 2, bias=False)
    nn.init.zeros_(silent.weight)
    unit = Unit(3, 3, stride=2, branch=[silent], squeeze=False)
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(unit(x), x[:, :, ::2, ::2])


def test_squeeze_and_excitation_is_its_formula() -> None:
    gate = SqueezeExcite(32)
    x = torch.randn(2, 32, 5, 5)
    means = x.flatten(2).mean(2)
    hidden = torch.relu(means @ gate.fc1.weight.flatten(1).T)
    expected = x * torch.sigmoid(hidden @ gate.fc2.weight.flatten(1).T)[:, :, None, None]
    torch.testing.assert_close(gate(x), expected)


def test_larger_pictures_and_other_widths() -> None:
    network = IR(18, image_size=128, embedding=32).eval()
    assert network.output_layer[3].weight.shape == (32, 512 * 64)
    with torch.inference_mode():
        assert network(torch.randn(1, 3, 128, 128)).shape == (1, 32)


def test_gradients_reach_every_parameter() -> None:
    network = IR(18, squeeze=True, embedding=16)
    network(torch.randn(2, 3, 112, 112)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_other_precision_and_memory_order_agree() -> None:
    torch.manual_seed(0)
    network = IR(18, squeeze=True).eval()
    images = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        plain = network(images)
        ordered = network.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
        half = network.to(torch.bfloat16)(images.to(torch.bfloat16)).float()
    torch.testing.assert_close(ordered, plain, rtol=1e-4, atol=1e-4 * float(plain.std()))
    assert torch.nn.functional.cosine_similarity(half, plain) > 0.999


@pytest.mark.parametrize(
    ("arguments", "message"), [({"depth": 100}, "got 100"), ({"depth": 18, "image_size": 100}, "16")]
)
def test_what_does_not_exist_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IR(**arguments)
