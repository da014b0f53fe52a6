from typing import Any

import pytest
import torch
from tests.personalise.tiny_base import SECOND_WIDTH, TEXT_WIDTH, tiny_pipeline

from facewright.errors import InputError
from facewright.personalise import PostFuse, TextConfig, TextEncoder, encode_people, insert_people, place_people
from facewright.personalise.conditioning import encode_negative

pytest.importorskip("diffusers", reason="needs the extra personalise")

PROMPT = "alice and bob ride a tandem"
NOUNS = {"alice": "woman", "bob": "man"}


@pytest.fixture(scope="module")
def small() -> Any:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def large() -> Any:
    return tiny_pipeline(large=True)


def words(width: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(2, width) for name in NOUNS}


def test_without_words_the_encoding_is_the_pipelines_own(small: Any, large: Any) -> None:
    nouns = "woman and man ride a tandem"
    with torch.no_grad():
        wanted, negative = small.encode_prompt(
            nouns, "cpu", 1, do_classifier_free_guidance=True, negative_prompt="night"
        )
        found = encode_people(small, PROMPT, nouns=NOUNS)
        assert torch.equal(found.states, wanted)
        assert torch.equal(encode_negative(small, "night", found).states, negative)
        wanted, negative, pooled, negative_pooled = large.encode_prompt(nouns, device="cpu")
        found = encode_people(large, PROMPT, nouns=NOUNS)
        away = encode_negative(large, "", found)
    for ours, theirs in zip(
        (found.states, found.pooled, away.states, away.pooled), (wanted, pooled, negative, negative_pooled), strict=True
    ):
        assert ours is not None
        assert torch.equal(ours, theirs)
    assert not away.states.any()  # XL models ask for zeros


@torch.no_grad()
def test_words_reach_clip_as_they_reach_the_encoder_of_the_golden_cases(small: Any) -> None:
    """The encoder of this package, whose injection agrees with Face2Diffusion's, is given the same weights."""
    clip = small.text_encoder
    own = TextEncoder(
        TextConfig(
            vocabulary=clip.config.vocab_size,
            width=TEXT_WIDTH,
            hidden=2 * TEXT_WIDTH,
            layers=2,
            heads=4,
            end_token=small.tokenizer.eos_token_id,
        )
    ).eval()
    own.text_model.load_state_dict(clip.state_dict())
    placed = place_people(PROMPT, NOUNS, small.tokenizer, words={"alice": 2, "bob": 2})
    assert placed.spans == {"alice": range(1, 3), "bob": range(4, 6)}
    ids = torch.tensor([placed.ids])
    wanted, _ = own(ids, embeddings=insert_people(own.embed(ids), words(TEXT_WIDTH), spans=placed.spans))
    found = encode_people(small, PROMPT, nouns=NOUNS, words=words(TEXT_WIDTH))
    torch.testing.assert_close(found.states, wanted, rtol=0, atol=2e-5)


@torch.no_grad()
def test_both_encoders_of_xl_read_their_share_of_the_words(large: Any) -> None:
    plain = encode_people(large, PROMPT, nouns=NOUNS).states
    given = words(TEXT_WIDTH + SECOND_WIDTH)
    one = {"alice": given["alice"]}
    both = encode_people(large, PROMPT, nouns=NOUNS, words=one)
    assert both.states.shape == (1, 77, TEXT_WIDTH + SECOND_WIDTH)
    changed = {"alice": torch.cat([given["alice"][:, :TEXT_WIDTH], torch.zeros(2, SECOND_WIDTH)], 1)}
    other = encode_people(large, PROMPT, nouns=NOUNS, words=changed)
    assert torch.equal(both.states[..., :TEXT_WIDTH], other.states[..., :TEXT_WIDTH])
    assert not torch.equal(both.states[..., TEXT_WIDTH:], other.states[..., TEXT_WIDTH:])
    assert both.pooled is not None
    assert not torch.equal(both.pooled, encode_people(large, PROMPT, nouns=NOUNS).pooled)
    assert torch.equal(both.states[:, 0], plain[:, 0])  # causal: what stands before a name does not change


@torch.no_grad()
def test_fusion_changes_the_people_alone(small: Any) -> None:
    torch.manual_seed(1)
    fuse = PostFuse(TEXT_WIDTH)
    one = {name: own[:1] for name, own in words(TEXT_WIDTH).items()}
    plain = encode_people(small, PROMPT, nouns=NOUNS).states
    fused = encode_people(small, PROMPT, nouns=NOUNS, words=one, fuse=fuse).states
    changed = (fused - plain).abs().amax(2)[0] > 1e-4
    assert changed.nonzero().flatten().tolist() == [1, 3]  # the noun of each


def test_left_out_words_are_named(small: Any) -> None:
    prompt = f"alice on {'the ' * 72}beach night and bob"
    found = encode_people(small, prompt, nouns=NOUNS, words=words(TEXT_WIDTH))
    assert found.cut == ("the", "the", "beach", "night", "and")


def test_words_of_another_width_are_refused(small: Any, large: Any) -> None:
    with pytest.raises(InputError, match="'alice' are 16 wide, the text encoders of this base model take 32"):
        encode_people(small, PROMPT, nouns=NOUNS, words=words(16))
    with pytest.raises(InputError, match="are 32 wide, the text encoders of this base model take 48"):
        encode_people(large, PROMPT, nouns=NOUNS, words=words(32))
