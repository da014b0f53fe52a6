import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import pair_distances, val_at_far, verify


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


def test_constant_embeddings_are_a_coin_toss() -> None:
    result = verify(np.ones((40, 4)), None, np.arange(20) % 2 == 0)
    assert result.accuracy == 0.5
    assert result.fold_threshold.tolist() == [0.0] * 10  # the first of equally good thresholds


def test_a_pair_without_a_face_is_rejected_and_counted() -> None:
    embeddings, flipped, issame = pairs(100, noise=0.2)
    found = np.ones(200, bool)
    found[[6, 7, 40]] = False  # pairs 3 and 20
    embeddings[~found] = np.nan
    result = verify(embeddings, flipped, issame, found=found)
    assert result.missing == 2
    assert result.distances[[3, 20]].tolist() == [4.0, 4.0]
    assert {3, 20} & set(result.accepted_impostor.tolist()) == set()
    assert {pair for pair in (3, 20) if issame[pair]} <= set(result.rejected_genuine.tolist())
    assert np.isfinite(result.mean_norm)
    assert pair_distances(embeddings, flipped, found=found).tolist() == result.distances.tolist()
    with pytest.raises(DataError, match="image 6"):
        verify(embeddings, flipped, issame)


def test_angles_order_pairs_as_squared_distances_do() -> None:
    embeddings, flipped, issame = pairs(60)
    squared, angle = (verify(embeddings, flipped, issame, metric=metric) for metric in ("squared", "angle"))
    assert np.argsort(squared.distances).tolist() == np.argsort(angle.distances).tolist()
    assert np.cos(np.pi * angle.distances) == pytest.approx(1 - squared.distances / 2)


def test_options_fitted_on_the_other_folds() -> None:
    embeddings, flipped, issame = pairs(60)
    shifted = embeddings + flipped + 5.0
    result = verify(shifted, None, issame, folds=3, metric="angle", subtract_mean=True)
    features = shifted.astype(np.float64) / np.linalg.norm(shifted.astype(np.float64), axis=1, keepdims=True)
    for fold in range(3):
        held = np.repeat(np.arange(60) // 20 == fold, 2)
        centred = features - features[~held].mean(0)
        one, two = centred[held][0::2], centred[held][1::2]
        cosines = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
        assert result.distances[20 * fold : 20 * fold + 20] == pytest.approx(np.arccos(cosines) / np.pi)
    assert verify(shifted, None, issame, folds=3, metric="angle").accuracy < result.accuracy


def test_all_principal_components_change_only_the_centre() -> None:
    embeddings, flipped, issame = pairs(60)
    full = verify(embeddings, flipped, issame, folds=3, components=16)
    features = (embeddings + flipped).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    held = np.repeat(np.arange(60) < 20, 2)
    centred = features - features[~held].mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    expected = ((centred[0::2] - centred[1::2]) ** 2).sum(1)[:20]
    assert full.distances[:20] == pytest.approx(expected)
    few = verify(embeddings, flipped, issame, folds=3, components=4)
    assert (few.distances != full.distances).any()


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
    with pytest.raises(DataError, match="changes no squared distance"):
        verify(embeddings, None, issame, subtract_mean=True)
    with pytest.raises(DataError, match="from 1 to 16 principal"):
        verify(embeddings, None, issame, components=17)
    with pytest.raises(DataError, match="squared or angle"):
        verify(embeddings, None, issame, metric="cosine")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="found must be booleans"):
        verify(embeddings, None, issame, found=np.ones(30, bool))
    with pytest.raises(DataError, match="1 of 30 distances"):
        val_at_far(np.append(np.ones(29), np.nan), issame)
    with pytest.raises(DataError, match=r"fold 1 of 10 has no pair of two people"):
        val_at_far(np.linspace(0, 1, 30), np.arange(30) < 15, folds=10)
