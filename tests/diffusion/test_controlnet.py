import pytest
import torch
from torch import Tensor

from facewright.diffusion.controlnet import ControlledUNet, ControlNet
from facewright.diffusion.unet import ConditionalUNet, UNetConfig
from facewright.errors import ConfigError, InputError

CONFIG = UNetConfig(
    channels=3,
    width=32,
    multipliers=(1, 2),
    attention=(False, True),
    context_width=64,
    condition="cross-attention",
)
MAPS = 1 + 2 + 1 + 2 + 1  # stem, two blocks, a step down, two blocks, middle


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "x": torch.randn(2, 3, 8, 8, generator=generator),
        "times": torch.tensor([3, 900]),
        "context": torch.randn(2, 512, generator=generator),
        "hint": torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1,
    }


def drawn(network: torch.nn.Module) -> torch.nn.Module:
    """The network with its zero-initialised weights drawn, so that every path counts."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network.eval()


@pytest.fixture
def unet() -> ConditionalUNet:
    torch.manual_seed(0)
    network = ConditionalUNet(CONFIG)
    drawn(network)
    return network


@torch.no_grad()
def test_a_new_branch_changes_nothing_and_knows_what_the_unet_knows(unet: ConditionalUNet) -> None:
    both, given = ControlledUNet.begin(unet).eval(), inputs()
    plain = unet(given["x"], given["times"], given["context"])
    assert torch.equal(both(**given), plain)
    for key in ("middle.res1.conv1.weight", "context_emb.bias", "down.4.attn.c_proj_in.weight"):
        assert torch.equal(both.control.state_dict()[key], unet.state_dict()[key])


def test_only_the_branch_learns(unet: ConditionalUNet) -> None:
    both = ControlledUNet.begin(unet)
    drawn(both.control)
    both(**inputs()).square().mean().backward()
    assert all(parameter.grad is None for parameter in both.unet.parameters())
    assert not [name for name, parameter in both.control.named_parameters() if parameter.grad is None]


@torch.no_grad()
def test_corrections_are_one_a_map_and_count_by_their_scale(unet: ConditionalUNet) -> None:
    both, given = ControlledUNet.begin(unet).eval(), inputs()
    drawn(both.control)
    corrections = both.control(**given)
    assert len(corrections) == MAPS == len(both.control.zero_convs) + 1
    plain = unet(given["x"], given["times"], given["context"])
    full, middle = both(**given), both(**given, only_middle=True)
    assert torch.equal(both(**given, scales=0.0), plain)
    torch.testing.assert_close(both(**given, scales=[0.0] * (MAPS - 1) + [1.0]), middle)
    torch.testing.assert_close(both(**given, scales=[1.0] * MAPS), full)
    assert len({float(estimate.sum()) for estimate in (plain, full, middle, both(**given, scales=0.5))}) == 4


def test_both_halves_share_one_mask_of_dropout(unet: ConditionalUNet) -> None:
    both = ControlledUNet.begin(unet).train()
    seen: list[Tensor] = []
    for half in (both.unet, both.control):
        half.middle.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    both(**inputs(), drop=torch.tensor([False, True]))
    of_control, of_unet = seen
    assert torch.equal(of_control, of_unet)
    assert not of_unet[1].any()
    assert 0 < (of_unet[0] == 0).sum() < 64


@torch.no_grad()
def test_bf16_and_channels_last(unet: ConditionalUNet) -> None:
    both, given = ControlledUNet.begin(unet).eval(), inputs()
    drawn(both.control)
    plain = both(**given)
    last = {
        key: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for key, value in given.items()
    }
    torch.testing.assert_close(both.to(memory_format=torch.channels_last)(**last), plain, rtol=1e-4, atol=1e-5)
    half = {key: value.bfloat16() if value.is_floating_point() else value for key, value in last.items()}
    assert (both.bfloat16()(**half).float() - plain).std() < 0.02 * plain.std()


def test_graph_is_captured_whole(unet: ConditionalUNet) -> None:
    both, given = ControlledUNet.begin(unet).eval(), inputs()
    drawn(both.control)
    captured = torch.compile(both, backend="eager", fullgraph=True)
    torch.testing.assert_close(captured(**given), both(**given))


def test_wrong_hints_and_scales_are_named(unet: ConditionalUNet) -> None:
    both, given = ControlledUNet.begin(unet).eval(), inputs()
    with pytest.raises(InputError, match=r"hints of \(64, 64\) pixels, got \(2, 3, 32, 32\)"):
        both(**{**given, "hint": given["hint"][:, :, :32, :32]})
    with pytest.raises(ConfigError, match=f"one number or {MAPS} of them, got 2"):
        both(**given, scales=[1.0, 1.0])
    with pytest.raises(ConfigError, match="same width"):
        ControlledUNet(unet, ControlNet(UNetConfig(channels=3, width=32, context_width=32)))
