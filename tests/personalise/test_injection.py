import pytest
import torch

from facewright.errors import InputError
from facewright.personalise import PostFuse, TextConfig, TextEncoder, fuse_people, insert_people, inserting

SPANS = {"bob": range(5, 7), "alice": range(2, 4)}


@pytest.fixture
def words() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"alice": torch.randn(2, 16), "bob": torch.randn(2, 16)}


def test_everybody_takes_their_own_tokens(words: dict[str, torch.Tensor]) -> None:
    embeddings = torch.randn(3, 10, 16)
    before = embeddings.clone()
    inserted = insert_people(embeddings, words, spans=SPANS)
    for name, span in SPANS.items():
        assert all(torch.equal(row, words[name]) for row in inserted[:, span.start : span.stop])
    others = [0, 1, 4, 7, 8, 9]
    assert torch.equal(inserted[:, others], before[:, others])
    assert torch.equal(embeddings, before)


@torch.no_grad()
def test_a_fused_person_is_that_of_the_fusion(words: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(2)
    fuse, states = PostFuse(16), torch.randn(2, 10, 16)
    fused = fuse_people(states, words, spans=SPANS, fuse=fuse)
    marked = torch.zeros(2, 10, dtype=torch.bool)
    marked[:, [2, 3, 5, 6]] = True
    subjects = torch.cat([words["alice"], words["bob"]]).expand(2, -1, -1)
    torch.testing.assert_close(fused, fuse(states, subjects, marked=marked, counts=torch.tensor([4, 4])))
    assert torch.equal(fused[~marked], states[~marked])
    assert ((fused - states).abs().amax(2) > 1e-3)[marked].all()
    assert fuse_people(states, {}, spans={}, fuse=fuse) is states
    assert fuse_people(states.bfloat16(), words, spans=SPANS, fuse=fuse).dtype == torch.bfloat16


@torch.no_grad()
def test_an_encoder_reads_the_words_only_inside_the_block(words: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(3)
    encoder = TextEncoder(TextConfig(vocabulary=50, length=10, width=16, hidden=32, layers=2, heads=4, end_token=49))
    ids = torch.tensor([[48, 3, 7, 8, 9, 4, 5, 2, 49, 49]])
    plain, _ = encoder(ids)
    wanted, _ = encoder(ids, embeddings=insert_people(encoder.embed(ids), words, spans=SPANS))
    with inserting(encoder, words, spans=SPANS):
        inside, _ = encoder(ids)
    assert torch.equal(inside, wanted)
    assert not torch.equal(inside, plain)
    assert torch.equal(encoder(ids)[0], plain)


def test_an_error_takes_the_hook_off_too(words: dict[str, torch.Tensor]) -> None:
    encoder = TextEncoder(TextConfig(vocabulary=50, length=10, width=32, hidden=32, layers=1, heads=4, end_token=49))
    with (
        pytest.raises(InputError, match=r"words of 'alice' must be \(2, 32\) for this text encoder, got \(2, 16\)"),
        inserting(encoder, words, spans=SPANS),
    ):
        encoder(torch.tensor([[48, 3, 7, 8, 9, 4, 5, 2, 49, 49]]))
    encoder(torch.tensor([[48, 49]]))


def test_words_of_other_people_are_refused(words: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match=r"words of \['alice', 'bob'\] do not fit a prompt of \['alice'\]"):
        insert_people(torch.randn(1, 10, 16), words, spans={"alice": range(2)})


def test_what_is_no_text_encoder_is_refused(words: dict[str, torch.Tensor]) -> None:
    with (
        pytest.raises(InputError, match="Linear is no CLIP text encoder"),
        inserting(torch.nn.Linear(1, 1), {}, spans={}),
    ):
        pass
