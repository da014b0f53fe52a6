import pytest
import torch
import torch.nn.functional as F

from facewright.errors import InputError
from facewright.personalise import PostFuse

MARKED = torch.tensor([[False, True, False, True, False], [False, False, True, False, False], [False] * 5])
COUNTS = torch.tensor([2, 1, 0])


@pytest.fixture
def fuse() -> PostFuse:
    torch.manual_seed(0)
    return PostFuse(16).eval()


def by_hand(fuse: PostFuse, text: torch.Tensor, subjects: torch.Tensor) -> torch.Tensor:
    """One token at a time, in the order of the paper's figure."""
    out = text.clone()
    for prompt, row in enumerate(MARKED):
        for turn, token in enumerate(row.nonzero().flatten()):
            both = torch.cat([text[prompt, token], subjects[prompt, turn]])
            h = fuse.mlp1.fc2(F.gelu(fuse.mlp1.fc1(fuse.mlp1.layernorm(both)))) + text[prompt, token]
            h = fuse.mlp2.fc2(F.gelu(fuse.mlp2.fc1(fuse.mlp2.layernorm(h)))) + h
            out[prompt, token] = fuse.layer_norm(h)
    return out


def test_each_marked_token_takes_its_subject_and_others_stay(fuse: PostFuse) -> None:
    text, subjects = torch.randn(3, 5, 16), torch.randn(3, 2, 16)
    fused = fuse(text, subjects, marked=MARKED, counts=COUNTS)
    torch.testing.assert_close(fused, by_hand(fuse, text, subjects))
    assert torch.equal(fused[~MARKED], text[~MARKED])


def test_subjects_beyond_the_count_have_no_effect(fuse: PostFuse) -> None:
    text, subjects = torch.randn(3, 5, 16), torch.randn(3, 2, 16)
    other = subjects.clone()
    other[1, 1] = other[2] = 100.0
    assert torch.equal(
        fuse(text, subjects, marked=MARKED, counts=COUNTS), fuse(text, other, marked=MARKED, counts=COUNTS)
    )


def test_bf16_keeps_the_type(fuse: PostFuse) -> None:
    text, subjects = torch.randn(3, 5, 16), torch.randn(3, 2, 16)
    plain = fuse(text, subjects, marked=MARKED, counts=COUNTS)
    half = fuse.bfloat16()(text.bfloat16(), subjects, marked=MARKED, counts=COUNTS)
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).abs().max() < 0.1


@pytest.mark.parametrize("counts", [[1, 1, 0], [2, 1, 1], [3, 1, 0]])
def test_counts_that_do_not_fit_the_marks_are_named(fuse: PostFuse, counts: list[int]) -> None:
    with pytest.raises(InputError, match=r"got \[2, 1, 0\] marked tokens for \["):
        fuse(torch.randn(3, 5, 16), torch.randn(3, 2, 16), marked=MARKED, counts=torch.tensor(counts))


def test_more_marks_than_subjects_are_named(fuse: PostFuse) -> None:
    with pytest.raises(InputError, match="at most 1 subjects"):
        fuse(torch.randn(3, 5, 16), torch.randn(3, 1, 16), marked=MARKED, counts=COUNTS)
