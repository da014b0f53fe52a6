import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation import identification, identify, tpir_at_fpir


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gallery_labels = rng.integers(0, 12, 40)
    probe_labels = rng.integers(0, 20, 50)
    centres = rng.normal(size=(20, 6))
    gallery = centres[gallery_labels] + rng.normal(size=(40, 6))
    return centres[probe_labels] + rng.normal(size=(50, 6)), probe_labels, gallery, gallery_labels


def by_hand(probe: np.ndarray, label: int, gallery: np.ndarray, labels: np.ndarray, counting: str) -> int:
    cosines = gallery @ probe / np.linalg.norm(gallery, axis=1) / np.linalg.norm(probe)
    own = cosines[labels == label].max()
    if counting == "entries":
        return 1 + sum(cosines[(labels != label)] >= own)
    return 1 + sum(cosines[labels == other].max() >= own for other in set(labels.tolist()) - {label})


@pytest.mark.parametrize("counting", ["entries", "identities"])
@pytest.mark.parametrize("chunk", [3, 2048])
def test_ranks_are_those_of_the_whole_matrix(counting: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identification, "CHUNK", chunk)
    probes, probe_labels, gallery, gallery_labels = drawn()
    result = identify(probes, probe_labels, gallery, gallery_labels, counting=counting)  # type: ignore[arg-type]
    mated = np.isin(probe_labels, gallery_labels)
    expected = [
        by_hand(probe, label, gallery, gallery_labels, counting)
        for probe, label in zip(probes[mated], probe_labels[mated], strict=True)
    ]
    assert result.ranks.tolist() == expected
    assert result.rank_rate(1) == np.mean(np.array(expected) == 1)
    assert result.cmc(5) == pytest.approx([np.mean(np.array(expected) <= k) for k in range(1, 6)])
    assert result.cmc(1000)[-1] == 1.0
    assert result.gallery == (40 if counting == "entries" else len(set(gallery_labels.tolist())))
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    strangers = probes[~mated] / np.linalg.norm(probes[~mated], axis=1, keepdims=True)
    assert result.stranger_scores == pytest.approx((strangers @ unit.T).max(1), abs=1e-6)


def test_a_tie_counts_against_the_probe() -> None:
    result = identify(np.ones((1, 2)), np.array([1]), np.ones((3, 2)), np.array([0, 1, 2]))
    assert result.ranks.tolist() == [3]


@pytest.mark.parametrize("target", [0.1, 0.25, 0.5, 1.0])
def test_open_set_takes_the_lowest_threshold_allowed(target: float) -> None:
    result = identify(*drawn())
    (point,) = tpir_at_fpir(result, (target,))
    candidates = [-1.0, *np.nextafter(result.stranger_scores, np.inf)]
    allowed = [t for t in candidates if np.mean(result.stranger_scores >= t) <= target]
    assert point.threshold == pytest.approx(min(allowed), abs=0)
    assert point.fpir == np.mean(result.stranger_scores >= point.threshold) <= target
    assert point.tpir == np.mean((result.ranks == 1) & (result.mate_scores >= point.threshold))


def test_targets_below_one_stranger_are_left_out() -> None:
    assert [point.target for point in tpir_at_fpir(identify(*drawn()))] == [0.1]


def test_a_probe_without_a_face_is_never_found() -> None:
    probes, probe_labels, gallery, gallery_labels = drawn()
    found = np.ones(len(probes), bool)
    mated = np.flatnonzero(np.isin(probe_labels, gallery_labels))
    found[mated[0]] = False
    probes[mated[0]] = np.nan
    result = identify(probes, probe_labels, gallery, gallery_labels, found=found)
    assert (result.ranks[0], result.mate_scores[0], result.missing) == (41, -1.0, 1)
    assert result.cmc(40)[-1] == pytest.approx(1 - 1 / len(mated))
    with pytest.raises(DataError, match="not finite"):
        identify(probes, probe_labels, gallery, gallery_labels)


def test_what_cannot_be_searched_is_refused() -> None:
    probes, probe_labels, gallery, gallery_labels = drawn()
    with pytest.raises(DataError, match="none of the 50 probes has a mate"):
        identify(probes, probe_labels + 100, gallery, gallery_labels)
    with pytest.raises(DataError, match="probe labels must be integers"):
        identify(probes, probe_labels[1:], gallery, gallery_labels)
    with pytest.raises(DataError, match="6 wide and the gallery 5"):
        identify(probes, probe_labels, gallery[:, :5], gallery_labels)
    closed = identify(gallery, gallery_labels, gallery, gallery_labels)
    assert closed.rank_rate(1) == 1.0
    with pytest.raises(DataError, match="there are none"):
        tpir_at_fpir(closed)
