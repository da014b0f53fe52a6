import numpy as np
import pytest

from facewright.errors import DataError
from facewright.evaluation.personalised_diversity import face_diversity, structural_distance


def crops(count: int) -> np.ndarray:
    smooth = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return smooth.repeat(14, 1).repeat(14, 2)


def test_the_distance_is_one_less_ssim() -> None:
    measure = pytest.importorskip("skimage.metrics").structural_similarity
    first, second = crops(2)
    grey = [np.rint(crop @ np.array([0.299, 0.587, 0.114])) for crop in (first, second)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert structural_distance(first, second) == pytest.approx(1 - measure(*grey, **options), abs=1e-3)
    assert structural_distance(first, first) == pytest.approx(0, abs=1e-12)


def test_diversity_is_the_mean_over_pairs() -> None:
    faces = crops(3)

    def darker(first: np.ndarray, second: np.ndarray) -> float:
        return abs(float(first.mean()) - float(second.mean()))

    means = [float(face.mean()) for face in faces]
    expected = np.mean([abs(means[0] - means[1]), abs(means[0] - means[2]), abs(means[1] - means[2])])
    assert face_diversity(faces, distance=darker) == pytest.approx(expected)
    seen = list[float]()
    face_diversity(crops(6), distance=lambda first, second: seen.append(0.0) or 0.0, limit=4)  # type: ignore[func-returns-value]
    assert len(seen) == 4
    with pytest.raises(DataError, match="two faces of a person or more, got 1"):
        face_diversity(faces[:1])
