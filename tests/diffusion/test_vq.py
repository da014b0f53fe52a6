import pytest
import torch
from torch import nn

from facewright.diffusion import vq
from facewright.diffusion.vq import Attention, Downsample, Quantiser, VQConfig, VQDecoder, VQEncoder
from facewright.errors import ConfigError

SMALL = VQConfig(width=32, multipliers=(1, 2, 2), blocks=1, codes=64)


@pytest.fixture
def halves() -> tuple[VQEncoder, VQDecoder]:
    torch.manual_seed(0)
    encoder, decoder = VQEncoder(SMALL).eval(), VQDecoder(SMALL).eval()
    nn.init.normal_(decoder.quantize.embedding.weight)
    return encoder, decoder


@torch.no_grad()
def test_latents_are_a_quarter_of_the_picture(halves: tuple[VQEncoder, VQDecoder]) -> None:
    encoder, decoder = halves
    latents = encoder(torch.rand(2, 3, 32, 48) * 2 - 1)
    assert latents.shape == (2, 3, 8, 12)
    assert decoder(latents).shape == (2, 3, 32, 48)


@torch.no_grad()
def test_codes_are_the_nearest_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    quantiser, z = Quantiser(50, 3), torch.randn(2, 3, 4, 5)
    nn.init.normal_(quantiser.embedding.weight)
    codes, numbers = quantiser(z)
    table = quantiser.embedding.weight.double()
    distances = (z.double().permute(0, 2, 3, 1)[..., None, :] - table).norm(dim=-1)
    assert torch.equal(numbers, distances.argmin(-1))
    assert torch.equal(codes.permute(0, 2, 3, 1), quantiser.embedding.weight[numbers])
    monkeypatch.setattr(vq, "CHUNK", 7)
    assert torch.equal(quantiser(z)[1], numbers)


@torch.no_grad()
def test_distances_are_float32_under_autocast() -> None:
    quantiser, z = Quantiser(8192, 3), torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(quantiser.embedding.weight, generator=torch.Generator().manual_seed(1))
    _, numbers = quantiser(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantiser(z)[1], numbers)


def test_gradient_passes_straight_through_the_codes() -> None:
    quantiser, z = Quantiser(16, 3), torch.randn(1, 3, 4, 4, requires_grad=True)
    codes, _ = quantiser(z)
    weight = torch.randn_like(codes)
    (codes * weight).sum().backward()
    assert torch.equal(z.grad, weight)


@torch.no_grad()
def test_quantising_can_be_left_out(halves: tuple[VQEncoder, VQDecoder]) -> None:
    decoder = halves[1]
    z = torch.randn(1, 3, 8, 8)
    codes, _ = decoder.quantize(z)
    torch.testing.assert_close(decoder(z), decoder(codes, quantise=False))
    assert (decoder(z) - decoder(z, quantise=False)).abs().max() > 1e-3


@torch.no_grad()
def test_downsampling_pads_right_and_bottom_only() -> None:
    step = Downsample(1)
    nn.init.zeros_(step.conv.weight)
    nn.init.zeros_(step.conv.bias)
    step.conv.weight[0, 0, 0, 0] = 1  # picks the top left of each window
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(step(x), x[:, :, ::2, ::2])


@torch.no_grad()
def test_attention_is_one_head_over_all_positions() -> None:
    torch.manual_seed(0)
    block, x = Attention(32), torch.randn(2, 32, 3, 4)
    h = block.norm(x)
    q, k, v = (layer(h).reshape(2, 32, 12) for layer in (block.q, block.k, block.v))
    weights = (torch.einsum("bci,bcj->bij", q, k) / 32**0.5).softmax(2)
    mixed = torch.einsum("bij,bcj->bci", weights, v).reshape(2, 32, 3, 4)
    torch.testing.assert_close(block(x), x + block.proj_out(mixed))


@torch.no_grad()
def test_bf16_and_channels_last(halves: tuple[VQEncoder, VQDecoder]) -> None:
    images, latents = torch.rand(1, 3, 32, 32) * 2 - 1, torch.randn(1, 3, 8, 8)
    for network, x in zip(halves, (images, latents), strict=True):
        options = {} if isinstance(network, VQEncoder) else {"quantise": False}
        plain = network(x, **options)
        network = network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(network(x, **options), plain, rtol=1e-4, atol=1e-5)
        half = network.bfloat16()(x.bfloat16(), **options)
        assert (half.float() - plain).std() < 0.04 * plain.std()


@torch.no_grad()
def test_graphs_are_captured_whole(halves: tuple[VQEncoder, VQDecoder]) -> None:
    encoder, decoder = halves
    x, z = torch.rand(1, 3, 32, 32), torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(torch.compile(encoder, backend="eager", fullgraph=True)(x), encoder(x))
    torch.testing.assert_close(torch.compile(decoder, backend="eager", fullgraph=True)(z), decoder(z))


def test_a_width_that_does_not_split_is_named() -> None:
    with pytest.raises(ConfigError, match="multiple of 32, got 40"):
        VQConfig(width=40)
