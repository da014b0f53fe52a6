import numpy as np
import pytest

from facewright.errors import ConfigError, DataError
from facewright.evaluation import (
    TFACE,
    TemplateConfig,
    build_templates,
    error_rates,
    face_features,
    nearest_tar_at_far,
    score_pairs,
    templates,
)


def faces(count: int = 60, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    plain, mirrored = rng.normal(size=(2, count, 5)).astype(np.float32)
    return plain, mirrored, rng.random(count).astype(np.float32), rng.integers(10, 18, count), rng.integers(0, 4, count)


@pytest.mark.parametrize("chunk", [4, 65_536])
def test_templates_average_media_and_add_them(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "ROWS", chunk)
    features, _, _, owner, media = faces()
    built = build_templates(features, owner, media)
    assert built.numbers.tolist() == sorted(set(owner.tolist()))
    for number, feature, count in zip(built.numbers, built.features, built.faces, strict=True):
        own = owner == number
        summed = sum(features[own & (media == medium)].mean(0) for medium in set(media[own].tolist()))
        assert feature == pytest.approx(summed / np.linalg.norm(summed), abs=1e-5)
        assert count == own.sum()


def test_the_switches_of_arcface_torch() -> None:
    plain, mirrored, scores, _, _ = faces()
    assert TemplateConfig().name == "N1D1F2"
    assert TFACE.name == "N0D0F0"
    assert face_features(plain, mirrored, scores) == pytest.approx((plain + mirrored) * scores[:, None])
    both = face_features(plain, mirrored, None, config=TemplateConfig(flip="concatenate", detector_score=False))
    assert both == pytest.approx(np.concatenate([plain, mirrored], 1))
    unit = face_features(plain, None, scores, config=TemplateConfig(flip="none", norm_score=False))
    assert np.linalg.norm(unit, axis=1) == pytest.approx(scores, abs=1e-5)
    with pytest.raises(ConfigError, match="flip is sum"):
        TemplateConfig(flip="both")  # type: ignore[arg-type]


def pairs(numbers: np.ndarray, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.choice(numbers, count), rng.choice(numbers, count), rng.random(count) < 0.4


@pytest.mark.parametrize("chunk", [7, 65_536])
def test_pairs_stream_through(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "ROWS", chunk)
    features, _, _, owner, media = faces()
    built = build_templates(features, owner, media)
    first, second, same = pairs(built.numbers, 50)
    scored = score_pairs(built, [(first[:20], second[:20], same[:20]), (first[20:], second[20:], same[20:])])
    by_number = dict(zip(built.numbers.tolist(), built.features, strict=True))
    expected = np.array([by_number[a] @ by_number[b] for a, b in zip(first.tolist(), second.tolist(), strict=True)])
    assert scored.genuine == pytest.approx(expected[same], abs=1e-6)
    assert scored.impostor == pytest.approx(expected[~same], abs=1e-6)


def test_faces_that_were_not_found() -> None:
    features, _, _, owner, media = faces()
    found = owner != 12
    found[np.flatnonzero(owner == 13)[0]] = False
    features[~found] = np.nan
    built = build_templates(features, owner, media, found=found)
    assert 12 not in built.numbers
    assert built.dropped == 1
    listed = [(np.array([10, 12, 11]), np.array([12, 12, 14]), np.array([False, True, True]))]
    with pytest.raises(DataError, match="template 12, in which no face was found"):
        score_pairs(built, listed)
    scored = score_pairs(built, listed, missing="reject")
    assert (scored.missing_genuine, scored.missing_impostor) == (1, 1)
    assert scored.impostor.tolist() == [-1.0]
    assert scored.genuine[0] == -1.0
    with pytest.raises(DataError, match="features are not finite"):
        build_templates(features, owner, media)


def sklearn_way(genuine: np.ndarray, impostor: np.ndarray, target: float) -> float:
    """What roc_curve with its thinning and the smallest |FPR - target| give, in plain loops."""
    points = []
    for threshold in sorted({*genuine.tolist(), *impostor.tolist()}, reverse=True):
        points.append((int(np.sum(impostor >= threshold)), int(np.sum(genuine >= threshold))))
    kept = [(0, 0)]
    for place, point in enumerate(points):
        ends = place in (0, len(points) - 1)
        if not ends:
            before, after = points[place - 1], points[place + 1]
            ends = any(after[side] - 2 * point[side] + before[side] != 0 for side in (0, 1))
        if ends:
            kept.append(point)
    nearest = min(abs(wrong / len(impostor) - target) for wrong, _ in kept)
    return max(right / len(genuine) for wrong, right in kept if abs(wrong / len(impostor) - target) == nearest)


@pytest.mark.parametrize("target", [1e-6, 0.01, 0.1, 0.34])
@pytest.mark.parametrize(("counts", "rounded"), [((40, 90), False), ((200, 60), True), ((1, 1), False), ((1, 4), True)])
def test_published_rates_take_the_nearest_point(counts: tuple[int, int], rounded: bool, target: float) -> None:
    rng = np.random.default_rng(2)
    genuine, impostor = rng.normal(1, 1, counts[0]), rng.normal(0, 1, counts[1])
    if rounded:
        genuine, impostor = genuine.round(1), impostor.round(1)
    published = nearest_tar_at_far(error_rates(genuine, impostor), (target,))
    assert published[target] == pytest.approx(sklearn_way(genuine, impostor, target))


def test_what_does_not_fit_is_refused() -> None:
    plain, mirrored, scores, owner, media = faces()
    with pytest.raises(DataError, match="needs the features of the mirrored"):
        face_features(plain, None, scores)
    with pytest.raises(DataError, match="needs the detector's score"):
        face_features(plain, mirrored, None)
    with pytest.raises(DataError, match="finite and not negative"):
        face_features(plain, mirrored, -scores)
    with pytest.raises(DataError, match="do not fit"):
        face_features(plain, mirrored[1:], scores)
    with pytest.raises(DataError, match="media must be integers"):
        build_templates(plain, owner, media[1:])
    with pytest.raises(DataError, match="feature 0 is zero"):
        face_features(plain * 0, mirrored * 0, scores, config=TemplateConfig(norm_score=False))
    with pytest.raises(DataError, match="no face to build"):
        build_templates(plain, owner, media, found=np.zeros(60, bool))
