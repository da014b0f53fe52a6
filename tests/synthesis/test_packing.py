import math

import numpy as np
import pytest

from facewright.data.embeddings import Embeddings
from facewright.errors import ConfigError, InputError
from facewright.synthesis import EmbeddingStatistics, fitted_contexts, packed_contexts, uniform_contexts


def smallest_angle(contexts: Embeddings) -> float:
    rows = contexts.embeddings.astype(np.float64)
    return math.acos((rows @ rows.T)[np.triu_indices(len(rows), 1)].max())


def statistics() -> EmbeddingStatistics:
    mean = np.zeros(32)
    mean[0] = 0.6
    return EmbeddingStatistics(mean, np.eye(32)[1:9], np.full(8, 0.3), 0.05, "tiny", "e" * 64, "s" * 64)


@pytest.mark.parametrize(
    ("count", "width", "angle"),
    [
        (4, 3, math.acos(-1 / 3)),  # tetrahedron
        (6, 3, math.pi / 2),  # octahedron
        (12, 3, math.acos(1 / math.sqrt(5))),  # icosahedron
        (9, 8, math.acos(-1 / 8)),  # simplex
        (32, 16, math.pi / 2),  # cross-polytope
    ],
)
def test_best_arrangements_that_are_known_are_found(count: int, width: int, angle: float) -> None:
    packed = packed_contexts(count, seed=1, width=width)
    assert smallest_angle(packed) == pytest.approx(angle, abs=2e-3)
    assert packed.provenance["min_angle"] == pytest.approx(smallest_angle(packed), abs=1e-3)
    assert packed.provenance["start_min_angle"] < packed.provenance["min_angle"]


def test_more_than_dimensions_lie_wider_than_by_chance() -> None:
    packed = packed_contexts(200, seed=0, width=64, iterations=60)
    assert smallest_angle(packed) > smallest_angle(uniform_contexts(200, seed=0, width=64)) + 0.3
    np.testing.assert_allclose(np.linalg.norm(packed.embeddings, axis=1), 1, atol=1e-6)
    assert packed.names[-1] == "000199"
    assert packed.provenance["encoder_sha256"] is None


def test_repeatable_and_the_chunk_does_not_matter() -> None:
    first, again = (packed_contexts(20, seed=3, width=8, iterations=30) for _ in range(2))
    np.testing.assert_array_equal(first.embeddings, again.embeddings)
    chunked = packed_contexts(20, seed=3, width=8, iterations=30, chunk=7)
    np.testing.assert_allclose(chunked.embeddings, first.embeddings, atol=1e-3)
    assert not np.allclose(packed_contexts(20, seed=4, width=8, iterations=30).embeddings, first.embeddings, atol=0.1)


def test_like_statistics_stays_where_typical_draws_are() -> None:
    reference = statistics()
    drawn, packed = fitted_contexts(60, reference, seed=0), packed_contexts(60, seed=0, like=reference, iterations=80)
    assert smallest_angle(packed) > smallest_angle(drawn) + 0.1
    along = np.linalg.norm(packed.embeddings[:, 1:9], axis=1)
    assert (
        np.linalg.norm(packed.embeddings[:, 9:], axis=1).max()
        < 1.5 * np.linalg.norm(drawn.embeddings[:, 9:], axis=1).max()
    )
    assert along.max() < 0.999
    assert packed.embeddings[:, 0].min() > 0.2  # none left the side where faces are
    assert packed.provenance["encoder_sha256"] == "e" * 64
    assert packed.provenance["statistics_sha256"] == "s" * 64


def test_gallery_holds_the_points_near_faces() -> None:
    gallery = fitted_contexts(60, statistics(), seed=5)
    free, held = (packed_contexts(30, seed=0, gallery=gallery, pull=pull, iterations=80) for pull in (0.0, 30.0))
    nearest = [(made.embeddings @ gallery.embeddings.T).max(axis=1).mean() for made in (free, held)]
    assert nearest[1] > nearest[0] + 0.1
    assert smallest_angle(free) > smallest_angle(held)
    assert held.provenance["gallery_sha256"] == gallery.sha256
    assert held.provenance["encoder_sha256"] == "e" * 64


def test_one_identity_is_packed_already() -> None:
    assert len(packed_contexts(1, seed=0, width=8, iterations=3)) == 1


def test_progress_ends() -> None:
    seen: list[tuple[int, int]] = []
    packed_contexts(3, seed=0, width=4, iterations=2, progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]


def test_bad_arguments() -> None:
    gallery = uniform_contexts(3, seed=0, width=8)
    for wrong in ({"count": 0}, {"iterations": 0}, {"chunk": 0}, {"width": 1}):
        with pytest.raises(ConfigError, match="at least"):
            packed_contexts(**({"count": 2, "seed": 0, "width": 8} | wrong))
    with pytest.raises(ConfigError, match="pull must be at least 0"):
        packed_contexts(2, seed=0, gallery=gallery, pull=-1)
    with pytest.raises(ConfigError, match="one of the two"):
        packed_contexts(2, seed=0, gallery=gallery, like=statistics())
    with pytest.raises(InputError, match="gallery of as many embeddings, got 3"):
        packed_contexts(4, seed=0, gallery=gallery)
