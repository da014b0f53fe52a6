"""Margins: the formulas by angles, gradients by differences, state, and what a head that is split relies on.

Values and gradients of the published codes are golden cases.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from facewright.errors import ConfigError
from facewright.recognition import margins
from facewright.recognition.margins import MARGINS, AdaFace, CombinedMargin, ElasticArcFace, ElasticCosFace, MagFace

STATEFUL = ("adaface", "curricularface", "elastic-arc", "elastic-cos")


def batch(rows: int = 12, classes: int = 5, *, seed: int = 0, limit: float = 0.98) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines (rows, classes) float64 over all of (-limit, limit), labels, and lengths about MagFace's range."""
    generator = torch.Generator().manual_seed(seed)
    cosine = (torch.rand(rows, classes, generator=generator, dtype=torch.float64) * 2 - 1) * limit
    labels = torch.randint(classes, (rows,), generator=generator)
    norms = torch.rand(rows, generator=generator, dtype=torch.float64) * 120 + 2
    return cosine, labels, norms


def by_angles(cosine: Tensor, labels: Tensor, target: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Replace each row's own cosine by `target` of its angle, one at a time."""
    rows = []
    for number, (row, label) in enumerate(zip(cosine, labels.tolist(), strict=True)):
        values = list(row.unbind())
        values[label] = target(torch.arccos(row[label]), number)
        rows.append(torch.stack(values))
    return 64.0 * torch.stack(rows)


def test_normface_is_the_scaled_cosine() -> None:
    cosine, labels, norms = batch()
    assert torch.equal(margins.create("normface", scale=20.0)(cosine, labels, norms), 20.0 * cosine)


def test_magface_by_angles() -> None:
    cosine, labels, lengths = batch(40)
    one, other = (lengths.clone().requires_grad_() for _ in range(2))

    def target(theta: Tensor, row: int) -> Tensor:
        length = other[row].clamp(10, 110)
        margin = 0.45 + (0.8 - 0.45) * (length - 10) / (110 - 10)
        if float((theta + margin).detach()) < math.pi:
            return torch.cos(theta + margin)
        return torch.cos(theta) - margin * torch.sin(margin)

    magface = MagFace()
    ours, theirs = magface(cosine, labels, one), by_angles(cosine, labels, target)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)
    extra = magface.extra_loss(one)
    length = other.clamp(10, 110)
    assert torch.allclose(extra, 35 * (length / 110**2 + 1 / length), rtol=1e-12)
    (ours.sum() + extra.sum()).backward()
    (theirs.sum() + (35 * (length / 110**2 + 1 / length)).sum()).backward()
    assert one.grad is not None
    assert torch.allclose(one.grad, other.grad, rtol=1e-9, atol=1e-9)
    assert bool((one.grad[(lengths > 10) & (lengths < 110)] != 0).all()), "length is trained"


def test_the_combined_margin_by_angles() -> None:
    cosine, labels, norms = batch(40)
    margin = CombinedMargin(factor=1.35, angle=0.3, cosine=0.2)
    expected = by_angles(cosine, labels, lambda theta, _: torch.cos(1.35 * theta + 0.3) - 0.2)
    assert torch.allclose(margin(cosine, labels, norms), expected, rtol=0, atol=1e-9)


def test_hidden_classes_have_no_gradient() -> None:
    cosine = torch.tensor([[0.9, 0.8, 0.1]], dtype=torch.float64, requires_grad=True)
    logits = CombinedMargin(hide_above=0.4)(cosine, torch.tensor([0]), torch.ones(1))
    assert float(logits[0, 1].detach()) == 0.0
    logits[0, 1:].sum().backward()
    assert cosine.grad is not None
    assert cosine.grad.tolist() == [[0.0, 0.0, 64.0]]


@pytest.mark.parametrize("name", MARGINS)
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    margin = margins.create(name).double().eval()
    cosine, labels, norms = batch(limit=0.95)
    assert torch.autograd.gradcheck(lambda x: margin(x, labels, norms), cosine.requires_grad_(), atol=1e-4)


@pytest.mark.parametrize("name", MARGINS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_are_finite(name: str, dtype: torch.dtype) -> None:
    cosine = torch.tensor([[1.0, 0.3], [-1.0, 0.3], [0.3, 1.0], [0.3, -1.0]], dtype=dtype, requires_grad=True)
    logits = margins.create(name).to(dtype)(cosine, torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=dtype))
    logits.sum().backward()
    assert logits.dtype == dtype
    assert cosine.grad is not None
    assert bool(torch.isfinite(logits).all())
    assert bool(torch.isfinite(cosine.grad).all())


@pytest.mark.parametrize("name", MARGINS)
def test_classes_may_be_split(name: str) -> None:
    """Each part of the columns gets from the whole batch's own cosines what it gets in one piece."""
    cosine, labels, norms = batch(20, 7)
    whole, left, right = (margins.create(name).double() for _ in range(3))
    own = cosine.gather(1, labels[:, None])[:, 0]
    parts = [
        left(cosine[:, :3], torch.where(labels < 3, labels, -1), norms, own_cosine=own),
        right(cosine[:, 3:], torch.where(labels >= 3, labels - 3, -1), norms, own_cosine=own),
    ]
    assert torch.equal(torch.cat(parts, 1), whole(cosine, labels, norms))


@pytest.mark.parametrize("name", STATEFUL)
def test_state_is_saved_restored_and_still_in_eval_mode(name: str) -> None:
    one = margins.create(name).double()
    cosine, labels, norms = batch()
    fresh = one(cosine, labels, norms)
    one(*batch(seed=1))
    other = margins.create(name).double()
    other.load_state_dict(one.state_dict())
    resumed = other(cosine, labels, norms)
    assert torch.equal(resumed, one(cosine, labels, norms))
    assert not torch.equal(resumed, fresh), "the state counts"
    before = {key: value.clone() for key, value in one.state_dict().items()}
    assert len(before) > 0
    one.eval()
    one(cosine, labels, norms)
    assert all(torch.equal(before[key], value) for key, value in one.state_dict().items())


def test_plus_gives_small_margins_to_near_samples() -> None:
    own = torch.tensor([0.1, 0.9, 0.5, 0.3], dtype=torch.float64)
    given = torch.tensor([0.50, 0.40, 0.55, 0.45], dtype=torch.float64)
    rank = ElasticArcFace(plus="rank", draw=lambda count: given).margins(own)
    published = ElasticArcFace(plus="published", draw=lambda count: given).margins(own)
    assert rank.tolist() == [0.55, 0.40, 0.45, 0.50]
    assert published.tolist() == [0.45, 0.50, 0.55, 0.40]


def test_drawn_margins_have_the_mean_and_spread_asked_for() -> None:
    drawn = ElasticCosFace(mean=0.35, std=0.05, seed=3).margins(torch.zeros(20_000))
    assert float(drawn.mean()) == pytest.approx(0.35, abs=0.002)
    assert float(drawn.std()) == pytest.approx(0.05, rel=0.03)


def test_adaface_takes_a_batch_of_one() -> None:
    margin = AdaFace(momentum=0.5)
    logits = margin(torch.tensor([[0.3, 0.1]]), torch.tensor([0]), torch.tensor([40.0]))
    assert bool(torch.isfinite(logits).all())
    assert (float(margin.mean), float(margin.std)) == (30.0, 100.0), "one length has no deviation"


def test_a_wrong_name_or_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown margin 'cosfase'\. Did you mean 'cosface'"):
        margins.create("cosfase")
    with pytest.raises(ConfigError, match="margin 'cosface' got an unexpected keyword argument 'angle'"):
        margins.create("cosface", angle=0.5)
    with pytest.raises(ConfigError, match=r"margin must be in \[0, 1.5708\), got 1.6"):
        margins.create("arcface", margin=1.6)
    with pytest.raises(ConfigError, match="gradient must be one of 'exact', 'straight-through', got 'ste'"):
        margins.create("arcface", gradient="ste")
    with pytest.raises(ConfigError, match=r"no factor other than 1, got 1\.5"):
        margins.create("combined", factor=1.5, form="arcface_torch")
    with pytest.raises(ConfigError, match="longest must exceed shortest"):
        margins.create("magface", shortest=50, longest=20)
