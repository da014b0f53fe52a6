from pathlib import Path

import numpy as np
import pytest
import torch

from facewright.errors import DataError, InputError
from facewright.synthesis import (
    EmbeddingStatistics,
    PersonVariation,
    centre_statistics,
    fit_statistics,
    load_statistics,
    save_statistics,
)
from facewright.weights import Card, save_weights

CARD = Card("reference", "contexts", {}, "drawn vectors", "Apache-2.0", "fit_statistics")


def cloud(count: int = 4000, width: int = 24) -> np.ndarray:
    """Unit rows around one direction, much wider along three axes than along the others."""
    random = np.random.default_rng(1)
    spread = np.full(width, 0.05)
    spread[:3] = (0.5, 0.4, 0.3)
    drawn = random.standard_normal((count, width)) * spread
    drawn[:, -1] += 1.0
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_fit_is_mean_and_covariance() -> None:
    rows = cloud()
    fitted = fit_statistics(rows, rank=5)
    values = rows.astype(np.float64)
    np.testing.assert_allclose(fitted.mean, values.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(fitted.directions @ fitted.directions.T, np.eye(5), atol=1e-10)
    projection = fitted.directions.T @ fitted.directions
    covariance = (fitted.directions.T * fitted.deviations**2) @ fitted.directions
    covariance += fitted.residual**2 * (np.eye(24) - projection)
    np.testing.assert_allclose(np.trace(covariance), np.trace(np.cov(values, rowvar=False)), rtol=1e-9)
    np.testing.assert_allclose(covariance, np.cov(values, rowvar=False), atol=2e-3)


def test_draws_have_the_fitted_covariance_before_scaling() -> None:
    # Centred far out, scaling to unit length is close to dividing by a constant: x / 50 across the mean.
    mean = np.zeros(6)
    mean[0] = 50.0
    statistics = EmbeddingStatistics(mean, np.eye(6)[[1, 2]], np.array([2.0, 1.0]), 0.5)
    drawn = statistics.draw(60_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose((drawn[:, 1:] * 50).std(axis=0), [2.0, 1.0, 0.5, 0.5, 0.5], rtol=0.02)


def test_drawn_cloud_resembles_the_real_one() -> None:
    rows = cloud()
    drawn = fit_statistics(rows, rank=5).draw(4000, np.random.default_rng(2))
    assert np.mean(rows @ rows[:500].T) == pytest.approx(np.mean(drawn @ drawn[:500].T), abs=0.03)
    np.testing.assert_allclose(drawn.std(axis=0)[:3], rows.std(axis=0)[:3], rtol=0.1)


def test_saved_and_read(tmp_path: Path) -> None:
    fitted = fit_statistics(cloud(), rank=4, encoder="tiny", encoder_sha256="e" * 64)
    card = save_statistics(tmp_path / "contexts.safetensors", fitted, CARD)
    assert card.architecture == {"width": 24, "rank": 4, "encoder": "tiny"}
    read = load_statistics(tmp_path / "contexts.safetensors")
    assert (read.encoder, read.encoder_sha256, read.sha256) == ("tiny", "e" * 64, card.sha256)
    np.testing.assert_allclose(read.mean, fitted.mean, atol=1e-7)
    np.testing.assert_allclose(read.directions, fitted.directions, atol=1e-7)
    np.testing.assert_allclose(read.deviations, fitted.deviations, atol=1e-7)
    assert read.residual == pytest.approx(fitted.residual, abs=1e-7)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"mean": torch.zeros(3)}, "directions has shape"), ({"extra": torch.zeros(1)}, "expected the tensors")],
)
def test_other_tensors_are_refused(tmp_path: Path, change: dict[str, torch.Tensor], said: str) -> None:
    tensors = {
        "mean": torch.zeros(4),
        "directions": torch.zeros(2, 4),
        "deviations": torch.zeros(2),
        "residual": torch.tensor(0.1),
    }
    save_weights(tmp_path / "c.safetensors", tensors | change, CARD)
    with pytest.raises(DataError, match=said):
        load_statistics(tmp_path / "c.safetensors")


@pytest.mark.parametrize("rank", [0, 24])
def test_rank_out_of_range(rank: int) -> None:
    with pytest.raises(InputError, match=r"rank must lie in \[1, 24\)"):
        fit_statistics(cloud(100), rank=rank)


def variation(factors: np.ndarray, encoder: str | None = None) -> PersonVariation:
    return PersonVariation(factors, encoder, "f" * 64, "CC-BY-NC-4.0")


def test_centres_and_what_a_person_varies_by_add_up_to_pictures() -> None:
    random = np.random.default_rng(3)
    between, within = random.standard_normal((4, 24)) * 0.3, random.standard_normal((3, 24)) * 0.2
    directions, deviations, _ = np.linalg.svd(np.concatenate([between, within]).T, full_matrices=False)
    pictures = EmbeddingStatistics(np.full(24, 0.1), directions.T, deviations, 0.0, sha256="a" * 64, licence="MIT")
    centres = centre_statistics(pictures, variation(within))
    covariance = (centres.directions.T * centres.deviations**2) @ centres.directions
    np.testing.assert_allclose(covariance, between.T @ between, atol=1e-9)
    np.testing.assert_allclose(centres.residual, 0, atol=1e-6)
    np.testing.assert_array_equal(centres.mean, pictures.mean)
    assert centres.licence == "CC-BY-NC-4.0", "the narrower of the two"
    assert centres.sha256 not in (None, pictures.sha256)


def test_centres_of_statistics_and_variation_that_do_not_go_together() -> None:
    pictures = fit_statistics(cloud(), rank=5, encoder_sha256="e" * 64)
    for other in (variation(np.ones((2, 8))), variation(np.ones((2, 24)), "d" * 64)):
        with pytest.raises(InputError, match="of different encoders"):
            centre_statistics(pictures, other)
    with pytest.raises(InputError, match="differ as much as those of all people"):
        centre_statistics(pictures, variation(np.eye(24)))
