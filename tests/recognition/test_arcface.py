"""The angular margin: value and gradient against the formula in float64."""

import math

import pytest
import torch
from torch import Tensor, nn

from facewright.recognition import ArcFaceHead, arcface_logits


def reference(cosine: Tensor, labels: Tensor, margin: float, scale: float) -> Tensor:
    """The paper's formula by angles, in a loop."""
    rows = []
    for row, label in zip(cosine, labels.tolist(), strict=True):
        values = list(row.unbind())
        if float(row[label].detach()) > math.cos(math.pi - margin):
            values[label] = torch.cos(torch.arccos(row[label]) + margin)
        else:
            values[label] = row[label] - margin * math.sin(math.pi - margin)
        rows.append(torch.stack(values))
    return scale * torch.stack(rows)


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5, 1.2])
@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_value_and_gradient(margin: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    cosine = torch.rand(40, 7, generator=generator, dtype=torch.float64) * 1.99 - 0.995
    labels = torch.randint(7, (40,), generator=generator)
    assert bool((cosine.gather(1, labels[:, None]) < math.cos(math.pi - 1.2)).any()), "some lie beyond pi"
    weights = torch.randn(40, 7, generator=generator, dtype=torch.float64)
    one, other = cosine.clone().requires_grad_(), cosine.clone().requires_grad_()
    ours, theirs = arcface_logits(one, labels, margin=margin, scale=scale), reference(other, labels, margin, scale)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert one.grad is not None
    assert other.grad is not None
    assert torch.allclose(one.grad, other.grad, rtol=1e-6, atol=1e-8)


def test_only_the_true_class_is_moved_and_always_down() -> None:
    cosine = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None].repeat(1, 3)
    moved = arcface_logits(cosine, torch.full((201,), 1), margin=0.5, scale=1.0)
    assert torch.equal(moved[:, [0, 2]], cosine[:, [0, 2]])
    assert bool((moved[:, 1] < cosine[:, 1]).all())
    assert bool((moved[:, 1].diff() > 0).all()), "a better cosine never gives a worse logit, beyond pi neither"


@pytest.mark.parametrize("cosine", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_have_finite_values_and_gradients(cosine: float, dtype: torch.dtype) -> None:
    x = torch.tensor([[cosine, 0.2]], dtype=dtype, requires_grad=True)
    logits = arcface_logits(x, torch.tensor([0]))
    logits.sum().backward()
    expected = math.cos(0.5) if cosine > 0 else -1 - 0.5 * math.sin(math.pi - 0.5)
    assert float(logits[0, 0].detach()) == pytest.approx(64 * expected, abs=0.02)
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_the_head_is_the_cross_entropy_of_normalised_rows() -> None:
    torch.manual_seed(0)
    head = ArcFaceHead(5, 8, margin=0.4, scale=10.0)
    embeddings, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    cosine = nn.functional.cosine_similarity(embeddings[:, None], head.weight[None], dim=2).double()
    expected = nn.functional.cross_entropy(reference(cosine, labels, 0.4, 10.0), labels)
    assert float(head(embeddings, labels).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert torch.allclose(head(3 * embeddings, labels), head(embeddings, labels)), "length does not matter"
