import pytest
import torch
from torch import Tensor

from facewright.errors import ConfigError, InputError
from facewright.personalise import TextConfig, TextEncoder, insert_words

CONFIG = TextConfig(vocabulary=50, length=10, width=16, hidden=32, layers=2, heads=4, end_token=49)
IDS = torch.tensor([[48, 3, 7, 8, 49, 49, 49, 49, 49, 49], [48, 5, 6, 7, 8, 9, 11, 49, 49, 49]])
POSITIONS = torch.tensor([2, 3])


@pytest.fixture
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(CONFIG).eval()


@torch.no_grad()
def test_words_replace_tokens_and_their_positions(encoder: TextEncoder) -> None:
    embeddings, words = encoder.embed(IDS), torch.randn(2, 2, 16)
    before = embeddings.clone()
    inserted = insert_words(embeddings, words, positions=POSITIONS)
    for prompt, first in enumerate(POSITIONS.tolist()):
        assert torch.equal(inserted[prompt, first : first + 2], words[prompt])
        others = [token for token in range(10) if token not in (first, first + 1)]
        assert torch.equal(inserted[prompt, others], before[prompt, others])
    assert torch.equal(embeddings, before)


@torch.no_grad()
def test_words_act_on_what_follows_only(encoder: TextEncoder) -> None:
    plain, _ = encoder(IDS)
    words = torch.randn(2, 2, 16)
    states, _ = encoder(IDS, embeddings=insert_words(encoder.embed(IDS), words, positions=POSITIONS))
    for prompt, first in enumerate(POSITIONS.tolist()):
        torch.testing.assert_close(states[prompt, :first], plain[prompt, :first])
        assert ((states - plain)[prompt, first:].abs().amax(1) > 1e-4).all()


def test_gradients_reach_the_words(encoder: TextEncoder) -> None:
    words = torch.randn(2, 2, 16, requires_grad=True)
    states, _ = encoder(IDS, embeddings=insert_words(encoder.embed(IDS), words, positions=POSITIONS))
    states.square().sum().backward()
    assert words.grad is not None
    assert (words.grad.abs().amax(2) > 0).all()


@torch.no_grad()
def test_several_people_are_inserted_one_after_another(encoder: TextEncoder) -> None:
    embeddings, one, two = encoder.embed(IDS), torch.randn(2, 2, 16), torch.randn(2, 2, 16)
    apart = POSITIONS + 2
    inserted = insert_words(insert_words(embeddings, one, positions=POSITIONS), two, positions=apart)
    swapped = insert_words(insert_words(embeddings, two, positions=apart), one, positions=POSITIONS)
    assert torch.equal(inserted, swapped)


@torch.no_grad()
def test_pooled_state_is_that_of_the_first_end_token(encoder: TextEncoder) -> None:
    states, pooled = encoder(IDS)
    assert torch.equal(pooled, torch.stack([states[0, 4], states[1, 7]]))


@torch.no_grad()
def test_bf16_and_capture(encoder: TextEncoder) -> None:
    plain, _ = encoder(IDS)
    torch.testing.assert_close(torch.compile(encoder, backend="eager", fullgraph=True)(IDS)[0], plain)
    embeddings = encoder.bfloat16().embed(IDS)
    inserted = insert_words(embeddings, torch.randn(2, 2, 16), positions=POSITIONS)
    assert inserted.dtype == embeddings.dtype == torch.bfloat16
    assert (encoder(IDS)[0].float() - plain).abs().max() < 0.1


@torch.no_grad()
def test_activation_is_chosen_by_name(encoder: TextEncoder) -> None:
    exact = TextEncoder(TextConfig(**{**vars(CONFIG), "activation": "gelu"})).eval()
    exact.load_state_dict(encoder.state_dict())
    h: Tensor = torch.randn(1, 3, 16)
    quick, layer = encoder.text_model.encoder.layers[0].mlp, exact.text_model.encoder.layers[0].mlp
    inner = layer.fc1(h)
    torch.testing.assert_close(layer(h), layer.fc2(torch.nn.functional.gelu(inner)))
    torch.testing.assert_close(quick(h), quick.fc2(inner * torch.sigmoid(1.702 * inner)))


@pytest.mark.parametrize("position", [-1, 9])
def test_words_outside_the_prompt_are_named(encoder: TextEncoder, position: int) -> None:
    with pytest.raises(InputError, match="do not fit into prompts of 10 tokens"):
        insert_words(encoder.embed(IDS), torch.randn(2, 2, 16), positions=torch.tensor([2, position]))


def test_a_prompt_that_is_too_long_is_named(encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match="at most 10 tokens, got 11"):
        encoder(torch.zeros(1, 11, dtype=torch.int64))


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="heads must divide width 768, got 7"):
        TextConfig(heads=7)
    with pytest.raises(ConfigError, match="quick_gelu or gelu, got 'relu'"):
        TextConfig(activation="relu")
