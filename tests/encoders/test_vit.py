"""The face transformers: counts, attention by its formula, what is not seen, and what happens only while training."""

import pytest
import torch

from facewright.encoders.vit import NETWORKS, Attention, Block, FaceTransformer
from facewright.errors import ConfigError

COUNTS = {
    "vit_t": (150, 19_137_792),
    "vit_s": (150, 76_023_296),
    "vit_b": (282, 113_833_472),
    "vit_l": (282, 255_684_352),
    "vit_h": (546, 756_393_984),
}


@pytest.fixture
def small() -> FaceTransformer:
    torch.manual_seed(0)
    return FaceTransformer(32, 2, embedding=16).eval()


@pytest.mark.parametrize("name", list(COUNTS))
def test_tensors_and_parameters_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = NETWORKS[name]()
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == COUNTS[name]


def test_attention_is_its_formula() -> None:
    torch.manual_seed(1)
    attention, x = Attention(12, 3, qkv_bias=True), torch.randn(2, 5, 12)
    query, key, value = attention.qkv(x).split(12, 2)
    heads = []
    for head in range(3):
        q, k, v = (part[:, :, 4 * head : 4 * head + 4] for part in (query, key, value))
        heads.append((q @ k.transpose(1, 2) / 2).softmax(2) @ v)
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, 2)))


def test_last_rows_and_columns_are_not_seen(small: FaceTransformer) -> None:
    images = torch.randn(1, 3, 112, 112)
    changed = images.clone()
    changed[:, :, 108:] = 9.0
    changed[:, :, :, 108:] = 9.0
    with torch.inference_mode():
        assert torch.equal(small(images), small(changed))
        changed[:, :, 107] = 9.0
        assert not torch.allclose(small(images), small(changed))


def test_masked_tokens_only_while_training() -> None:
    torch.manual_seed(0)
    network = FaceTransformer(32, 2, embedding=16, masked=0.5)
    images = torch.randn(4, 3, 112, 112)
    network(images).square().sum().backward()
    assert network.mask_token.grad is not None
    assert network.mask_token.grad.abs().sum() > 0
    network.eval()
    with torch.inference_mode():
        assert torch.equal(network(images), network(images))


def test_dropped_branches_keep_the_mean() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, qkv_bias=False, activation=torch.nn.ReLU6(), epsilon=1e-5, drop=0.25).train()
    ones = torch.ones(20_000, 1, 1)
    dropped = block._dropped(ones)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)


def test_other_precision_agrees(small: FaceTransformer) -> None:
    images = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        plain = small(images)
        ordered = small(images.to(memory_format=torch.channels_last))
        half = small.to(torch.bfloat16)(images.to(torch.bfloat16)).float()
    torch.testing.assert_close(ordered, plain)
    assert torch.nn.functional.cosine_similarity(half, plain) > 0.99


@pytest.mark.parametrize("arguments", [{"width": 30}, {"masked": 1.0}, {"drop_path": -0.1}])
def test_what_cannot_be_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        FaceTransformer(**{"width": 32, "depth": 2, **arguments})  # type: ignore[arg-type]


@pytest.mark.slow
def test_compiled_network_agrees(small: FaceTransformer) -> None:
    images = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        torch.testing.assert_close(torch.compile(small)(images), small(images), rtol=1e-3, atol=1e-4)
