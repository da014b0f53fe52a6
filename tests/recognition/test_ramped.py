"""A margin that comes in bit by bit: its two ends, CosFace in between, gradients, and every margin inside it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.recognition.heads import MarginHead
from facewright.recognition.margins import MARGINS, ArcFace, CosFace, CurricularFace, MagFace, NormFace, create
from facewright.recognition.margins.ramped import RampedMargin

LABELS = torch.tensor([0, 2, 1, 3, 2])


def batch() -> tuple[Tensor, Tensor]:
    """Cosines (5, 4) and embedding lengths (5,)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(5, 4, generator=generator, dtype=torch.float64) * 1.9 - 0.95, torch.full((5,), 30.0).double()


@pytest.mark.parametrize("name", MARGINS)
def test_no_share_is_no_margin_and_the_whole_share_is_the_margin(name: str) -> None:
    cosine, norms = batch()
    ramped = RampedMargin(create(name).eval(), share=0.0).eval()
    if name != "adaface":  # which keeps cosines within +-(1 - 0.001) whatever its margin
        assert torch.allclose(ramped(cosine, LABELS, norms), 64 * cosine)
    ramped.share = 1.0
    if not name.startswith("elastic"):  # which draws
        assert torch.equal(ramped(cosine, LABELS, norms), ramped.margin(cosine, LABELS, norms))


def test_half_of_cosface_is_cosface_with_half_the_margin() -> None:
    cosine, norms = batch()
    half = RampedMargin(CosFace(margin=0.4, scale=20.0), share=0.5)
    assert torch.allclose(half(cosine, LABELS, norms), CosFace(margin=0.2, scale=20.0)(cosine, LABELS, norms))


def test_half_of_a_small_arcface_is_nearly_arcface_with_half_the_angle() -> None:
    cosine, norms = batch()
    half = RampedMargin(ArcFace(margin=0.02, scale=1.0), share=0.5)
    assert torch.allclose(
        half(cosine, LABELS, norms), ArcFace(margin=0.01, scale=1.0)(cosine, LABELS, norms), atol=1e-4
    )


def test_the_gradient_belongs_to_the_value() -> None:
    _, norms = batch()
    margin = RampedMargin(ArcFace(margin=0.5, scale=4.0), share=0.3)
    cosine = batch()[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: F.cross_entropy(margin(x, LABELS, norms), LABELS), (cosine,))


def test_hard_classes_come_in_with_the_share_and_the_state_moves_on() -> None:
    cosine, norms = batch()
    inside = CurricularFace()
    ramped = RampedMargin(inside, share=0.25).train()
    logits = ramped(cosine, LABELS, norms)
    own = cosine.gather(1, LABELS[:, None])[:, 0]
    assert float(inside.t) == pytest.approx(0.1 * float(own.mean()), abs=1e-6)
    full = inside.eval()(cosine, LABELS, norms)
    assert torch.allclose(logits, 64 * cosine + 0.25 * (full - 64 * cosine))


def test_a_head_takes_it_and_the_length_term_counts_whole() -> None:
    embeddings = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)) * 8
    torch.manual_seed(0)
    head = MarginHead(4, 6, margin=RampedMargin(MagFace(), share=0.0))
    torch.manual_seed(0)
    plain = MarginHead(4, 6, margin=NormFace())
    extra = MagFace().extra_loss(embeddings.norm(dim=1)).mean()
    assert torch.allclose(head(embeddings, LABELS), plain(embeddings, LABELS) + extra)
