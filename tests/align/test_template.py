from pathlib import Path

import numpy as np
import pytest

from facewright.align import ARCFACE_TEMPLATE, five_from_68, similarity
from facewright.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "align"


def test_template_is_the_reference_one_and_cannot_be_changed():
    with np.load(GOLDEN / "points.npz") as golden:
        np.testing.assert_allclose(ARCFACE_TEMPLATE, golden["template"], rtol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        ARCFACE_TEMPLATE[0, 0] = 0


def test_matrices_agree_with_the_reference():
    with np.load(GOLDEN / "points.npz") as golden:
        cases = {name: golden[name] for name in golden.files}
    template = cases["template"].astype(np.float64)
    compared = 0
    for points, double, fine in zip(
        cases["points"], cases["matrix_float64"], cases["estimate_ok_float64"], strict=True
    ):
        if not fine:
            with pytest.raises(InputError, match="same point"):
                similarity(points, template)
            continue
        matrix = similarity(points, template)
        assert matrix.dtype == np.float64
        assert np.abs(matrix - double).max() <= 1e-9 * np.abs(double).max()
        assert np.linalg.det(matrix[:2, :2]) > 0  # never a reflection
        compared += 1
    assert compared >= 30


def test_single_precision_input_sends_points_where_the_reference_does():
    with np.load(GOLDEN / "points.npz") as golden:
        points, matrices = golden["points"].astype(np.float32), golden["matrix_float32_input"]
        template, fine = golden["template"], golden["estimate_ok_float32"]
    for five, reference in zip(points[fine], matrices[fine], strict=True):
        ours = similarity(five, template)
        homogeneous = np.column_stack([five.astype(np.float64), np.ones(5)])
        assert np.abs(homogeneous @ (ours - reference).T).max() <= 0.02


def test_recovers_a_known_similarity_exactly():
    turn, scale, shift = 0.7, 0.31, np.array([12.0, -40.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = np.linalg.solve(scale * rotation, (ARCFACE_TEMPLATE - shift).T).T
    matrix = similarity(points)
    np.testing.assert_allclose(matrix[:2, :2], scale * rotation, atol=1e-12)
    np.testing.assert_allclose(matrix[:2, 2], shift, atol=1e-10)


def test_residual_is_least_among_nearby_similarities():
    generator = np.random.default_rng(0)
    points = ARCFACE_TEMPLATE * 2 + generator.normal(scale=4, size=(5, 2))

    def residual(a: float, b: float, x: float, y: float) -> float:
        return float(np.square(points @ np.array([[a, b], [-b, a]]) + [x, y] - ARCFACE_TEMPLATE).sum())

    matrix = similarity(points)
    best = (matrix[0, 0], matrix[1, 0], matrix[0, 2], matrix[1, 2])
    for step in np.eye(4) * [1e-4, 1e-4, 1e-2, 1e-2]:
        assert residual(*best) < min(residual(*(best + step)), residual(*(best - step)))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((5, 2), 50.0), "same point"),
        (np.full((5, 2), 1e9) + 1e-4, "same point"),
        (np.zeros((5, 2)), "same point"),
        (np.zeros((4, 2)), r"\(4, 2\)"),
        (np.zeros((5, 3)), r"\(5, 3\)"),
        (np.where(np.eye(5, 2) > 0, np.nan, ARCFACE_TEMPLATE), "finite"),
    ],
)
def test_points_that_fix_no_similarity_are_refused(points, message):
    with pytest.raises(InputError, match=message):
        similarity(points)


def test_both_reductions_agree_with_the_reference():
    with np.load(GOLDEN / "points68.npz") as golden:
        for marks, corners, contour in zip(
            golden["points68"], golden["five_two_corner_eyes"], golden["five_mean_eyes"], strict=True
        ):
            np.testing.assert_allclose(five_from_68(marks), corners, rtol=1e-6)
            np.testing.assert_allclose(five_from_68(marks, eyes="contour"), contour, rtol=1e-6)


def test_reduction_refuses_other_input():
    with pytest.raises(InputError, match=r"\(5, 2\)"):
        five_from_68(ARCFACE_TEMPLATE)
    with pytest.raises(InputError, match="'lids'"):
        five_from_68(np.zeros((68, 2)), eyes="lids")
