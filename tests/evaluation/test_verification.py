import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import bootstrap_interval, pair_distances, val_at_far, verify


def pairs(count: int, *, noise: float = 1.6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    issame = rng.random(count) < 0.5
    first = rng.normal(size=(count, 16))
    second = np.where(issame[:, None], first + noise * rng.normal(size=first.shape), rng.normal(size=first.shape))
    embeddings = np.stack([first, second], 1).reshape(2 * count, 16).astype(np.float32)
    return embeddings, embeddings + 0.3 * rng.normal(size=embeddings.shape).astype(np.float32), issame


def protocol(distances: list[float], same: list[bool], folds: int) -> tuple[list[float], list[float]]:
    """The protocol in plain loops: first best threshold on the other folds, strict comparison."""
    count = len(distances)
    sizes = [count // folds + (1 if fold < count % folds else 0) for fold in range(folds)]
    starts = [sum(sizes[:fold]) for fold in range(folds)]
    accuracies, thresholds = [], []
    for start, size in zip(starts, sizes, strict=True):
        inside = range(start, start + size)
        best, chosen = -1, 0.0
        for step in range(400):
            threshold = 0.01 * step
            right = sum((distances[k] < threshold) == same[k] for k in range(count) if k not in inside)
            if right > best:
                best, chosen = right, threshold
        thresholds.append(chosen)
        accuracies.append(sum((distances[k] < chosen) == same[k] for k in inside) / size)
    return accuracies, thresholds


@pytest.mark.parametrize(("count", "folds"), [(60, 10), (43, 10), (20, 2)])
def test_verify_follows_the_protocol(count: int, folds: int) -> None:
    embeddings, flipped, issame = pairs(count)
    result = verify(embeddings, flipped, issame, folds=folds)
    features = (embeddings + flipped).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    distances = [float(np.sum((features[2 * k] - features[2 * k + 1]) ** 2)) for k in range(count)]
    assert result.distances == pytest.approx(distances, abs=1e-6)
    accuracies, thresholds = protocol(list(result.distances), list(issame), folds)
    assert result.fold_accuracy.tolist() == accuracies
    assert result.fold_threshold == pytest.approx(thresholds, abs=1e-12)
    assert result.accuracy == pytest.approx(np.mean(accuracies))
    assert result.std == pytest.approx(np.std(accuracies))
    assert (result.genuine, result.impostor) == (issame.sum(), (~issame).sum())


def test_judged_pairs_add_up_to_the_accuracy() -> None:
    embeddings, flipped, issame = pairs(200)
    result = verify(embeddings, flipped, issame)
    assert result.correct.mean() == pytest.approx(result.accuracy)
    assert issame[result.rejected_genuine].all()
    assert not issame[result.accepted_impostor].any()
    assert 0 < len(result.rejected_genuine) + len(result.accepted_impostor) < 200


def test_the_sum_may_be_made_before() -> None:
    embeddings, flipped, issame = pairs(40)
    apart, summed = verify(embeddings, flipped, issame), verify(embeddings + flipped, None, issame)
    assert apart.distances == pytest.approx(summed.distances, abs=1e-6)


def test_length_does_not_matter_but_is_reported() -> None:
    embeddings, _, issame = pairs(40)
    scaled = verify(10 * embeddings, None, issame)
    assert scaled.fold_accuracy.tolist() == verify(embeddings, None, issame).fold_accuracy.tolist()
    assert scaled.mean_norm == pytest.approx(10 * np.linalg.norm(embeddings, axis=1).mean(), rel=1e-6)


def test_rates_over_thresholds_rise_to_one() -> None:
    embeddings, flipped, issame = pairs(200, noise=0.2)
    result = verify(embeddings, flipped, issame)
    assert result.tpr.shape == result.fpr.shape == (400,)
    assert (np.diff(result.tpr) >= 0).all()
    assert (result.tpr[0], result.tpr[-1], result.fpr[0]) == (0.0, 1.0, 0.0)
    index = 150
    folds = np.split(np.arange(200), 10)
    by_hand = [np.mean(result.distances[fold][issame[fold]] < 0.01 * index) for fold in folds]
    assert result.tpr[index] == pytest.approx(np.mean(by_hand))


@pytest.mark.parametrize("target", [0.0, 0.05, 0.3, 1.0])
def test_val_takes_the_largest_threshold_that_keeps_the_target(target: float) -> None:
    embeddings, flipped, issame = pairs(100)
    distances = pair_distances(embeddings, flipped)
    result = val_at_far(distances, issame, target=target, folds=5)
    for fold in range(5):
        held = np.arange(100) // 20 == fold
        rest = distances[~held & ~issame]
        kept = [step * 0.001 for step in range(4000) if sum(rest < step * 0.001) / len(rest) <= target]
        assert result.fold_threshold[fold] == pytest.approx(max(kept), abs=1e-12)
        assert result.fold_val[fold] == np.mean(distances[held & issame] < result.fold_threshold[fold])
        assert result.fold_far[fold] == np.mean(distances[held & ~issame] < result.fold_threshold[fold])


def test_bootstrap_interval_matches_the_normal_one() -> None:
    values = np.random.default_rng(2).normal(0.9, 0.1, 400)
    low, high = bootstrap_interval(values, seed=3)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert (low, high) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.5, np.nan])])
def test_bootstrap_refuses_what_it_cannot_average(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite values"):
        bootstrap_interval(bad)


def test_unusable_input_is_refused() -> None:
    embeddings, flipped, issame = pairs(30)
    zero = embeddings.copy()
    zero[7] = 0
    with pytest.raises(DataError, match=r"image 7 \(pair 3\) is zero"):
        verify(zero, None, issame)
    zero[7] = np.nan
    with pytest.raises(DataError, match="not finite"):
        verify(zero, None, issame)
    with pytest.raises(DataError, match="flipped ones alike"):
        verify(embeddings, flipped[:-2], issame)
    with pytest.raises(DataError, match="do not fit 29 labels"):
        verify(embeddings, flipped, issame[:-1])
    with pytest.raises(DataError, match="of one kind"):
        verify(embeddings, flipped, np.ones(30, bool))
    with pytest.raises(DataError, match="cannot be judged in 31 folds"):
        verify(embeddings, flipped, issame, folds=31)
    with pytest.raises(DataError, match="booleans"):
        verify(embeddings, flipped, np.arange(30))
    with pytest.raises(DataError, match="both kinds in each"):
        val_at_far(np.linspace(0, 1, 30), np.arange(30) < 15, folds=10)
