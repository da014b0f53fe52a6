"""Partial FC in one process: what is sampled, that all else is left alone, equality with the dense head at rate 1."""

import copy

import pytest
import torch
from torch import Tensor

from facewright.errors import ConfigError, DataError, WorkError
from facewright.recognition.heads import MarginHead, PartialFC, RowOptimiser
from facewright.recognition.margins import MARGINS, ArcFace, create

CLASSES, WIDTH = 40, 6


def head_of(rate: float = 0.25, *, margin: str = "arcface", seed: int = 0) -> PartialFC:
    optimiser = RowOptimiser(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    return PartialFC(CLASSES, WIDTH, margin=create(margin), optimiser=optimiser, rate=rate, seed=seed)


def batch(seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 20 * torch.randn(size, WIDTH, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def train(head: PartialFC, seeds: range) -> None:
    for seed in seeds:
        head(*batch(seed)).backward()
        head.step()


def test_a_sample_holds_the_own_classes_and_others_up_to_the_rate() -> None:
    head, labels = head_of(), torch.tensor([3, 39, 3, 0])
    drawn = [head.sample(labels) for _ in range(200)]
    assert all(len(index) == 10 and bool((index.diff() > 0).all()) for index in drawn)
    assert all({0, 3, 39} <= set(index.tolist()) for index in drawn)
    counts = torch.bincount(torch.cat(drawn), minlength=CLASSES)
    others = counts[[c for c in range(CLASSES) if c not in (0, 3, 39)]]
    assert bool((others > 10).all()), "each of the 37 others is expected 200 * 7 / 37 = 38 times"
    assert bool((others < 80).all())


def test_own_classes_beyond_the_rate_are_all_there_is() -> None:
    assert head_of(0.0).sample(torch.tensor([7, 2, 7])).tolist() == [2, 7]
    assert head_of(0.05).sample(torch.tensor([1, 2, 3])).tolist() == [1, 2, 3]


def test_samples_depend_on_seed_and_step_and_survive_a_resume() -> None:
    one, other, labels = head_of(), head_of(seed=1), torch.tensor([3])
    first, second = one.sample(labels), one.sample(labels)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other.sample(labels))
    resumed = head_of()
    resumed.load_state_dict(one.state_dict())
    assert torch.equal(resumed.sample(labels), one.sample(labels))


@pytest.mark.parametrize("margin", MARGINS)
def test_rate_one_is_the_dense_head_with_the_same_optimiser(margin: str) -> None:
    head = head_of(1.0, margin=margin).double()
    dense = MarginHead(CLASSES, WIDTH, margin=create(margin)).double()
    with torch.no_grad():
        dense.weight.copy_(head.weight)
    optimiser = torch.optim.SGD(dense.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for seed in range(3):
        embeddings, labels = batch(seed)
        one, other = embeddings.double().requires_grad_(), embeddings.double().requires_grad_()
        optimiser.zero_grad()
        ours, theirs = head(one, labels), dense(other, labels)
        ours.backward()
        theirs.backward()
        head.step()
        optimiser.step()
        assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-12)
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, rtol=1e-9, atol=1e-12)
        assert torch.allclose(head.weight, dense.weight, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("margin", MARGINS)
def test_sampled_logits_are_columns_of_the_dense_ones(margin: str) -> None:
    head, (embeddings, labels) = head_of(margin=margin), batch(0)
    dense = MarginHead(CLASSES, WIDTH, margin=create(margin))
    with torch.no_grad():
        dense.weight.copy_(head.weight)
    sampled = torch.cat([labels, torch.tensor([1, 17])]).unique()
    logits = head.scores(embeddings, labels, sampled=sampled).logits
    assert logits.shape == (8, len(sampled))
    assert torch.allclose(logits, dense.scores(embeddings, labels).logits[:, sampled], atol=1e-5)


def test_a_step_reads_and_writes_the_sampled_rows_alone() -> None:
    head, (embeddings, labels) = head_of(), batch(9)
    train(head, range(3))
    sampled = torch.cat([labels, torch.tensor([1, 17])]).unique()
    others = torch.tensor([c for c in range(CLASSES) if c not in sampled.tolist()])
    with torch.no_grad():
        head.weight[others] = torch.nan  # whatever reads such a row shows it
    tables = copy.deepcopy(head.optimiser.state_dict())
    head(embeddings, labels, sampled=sampled).backward()
    (rows,) = head.sampled_rows
    assert rows.grad is not None
    assert rows.grad.shape == (len(sampled), WIDTH)
    before = head.weight.clone()
    head.step()
    assert head.sampled_rows == []
    assert bool(torch.isfinite(head.weight[sampled]).all())
    assert bool((head.weight[sampled] != before[sampled]).any(1).all())
    assert bool(head.weight[others].isnan().all())
    for name, table in head.optimiser.state_dict().items():
        assert torch.equal(table[others], tables[name][others]), name


def test_passes_before_a_step_add_up() -> None:
    one, two = head_of(1.0), head_of(1.0)
    (a, la), (b, lb) = batch(0), batch(1)
    for embeddings, labels in ((a, la), (b, lb)):
        (two(embeddings, labels) / 2).backward()
    two.step()
    one(torch.cat([a, b]), torch.cat([la, lb])).backward()
    one.step()
    assert torch.allclose(one.weight, two.weight, atol=1e-6)


def test_eval_mode_takes_all_classes_and_leaves_nothing_behind() -> None:
    head = head_of().eval()
    draws = int(head.draws)
    assert head.scores(*batch(0)).logits.shape == (8, CLASSES)
    assert head.sampled_rows == []
    assert int(head.draws) == draws


def test_training_brings_the_loss_down() -> None:
    head, (embeddings, labels) = head_of(0.5), batch(0, 16)
    start = float(head.eval()(embeddings, labels).detach())
    head.train()
    for _ in range(30):
        head(embeddings, labels).backward()
        head.step()
    assert float(head.eval()(embeddings, labels).detach()) < start / 2


def test_misuse_is_named() -> None:
    head, (embeddings, labels) = head_of(), batch(0)
    with pytest.raises(WorkError, match="found no gradient"):
        head.step()
    with pytest.raises(DataError, match=r"labels must be in 0 ... 39, got 40"):
        head(embeddings, torch.where(labels == labels.max(), 40, labels))
    with pytest.raises(DataError, match="every own class"):
        head(embeddings, labels, sampled=torch.tensor([0]))
    with pytest.raises(DataError, match=r"ascending and in 0 ... 39"):
        head(embeddings, labels, sampled=torch.tensor([5, 2]))
    with pytest.raises(ConfigError, match="rate must be in"):
        head_of(1.5)
    with pytest.raises(ConfigError, match="at least one class"):
        PartialFC(0, 4, margin=ArcFace(), optimiser=RowOptimiser(torch.optim.SGD, lr=0.1))
