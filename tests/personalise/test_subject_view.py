"""Picture, mask and points take every crop and mirroring together."""

import numpy as np
import pytest
import torch
from tests.personalise.drawn_subjects import POINTS, draw_people

from facewright.personalise.subject_view import View, centre_view, draw_view, shrunk


def marked(width: int, height: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a red block of 7 pixels around each of the points, and the blocks as labels."""
    labels = np.zeros((height, width), np.int32)
    for number, (x, y) in enumerate(points.round().astype(int), start=1):
        labels[y - 3 : y + 4, x - 3 : x + 4] = number
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.where(labels > 0, 255, 0)
    return picture, labels


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("side", "size"), [(64, 64), (64, 128), (64, 32)])
def test_picture_mask_and_points_move_together(mirrored: bool, side: int, size: int) -> None:
    points = 2 * POINTS + np.array([70, 45])
    picture, labels = marked(140, 100, points)
    view = View(40, 15, side, size, mirrored)
    shown, mask = view.picture(picture), view.labels(labels)
    assert shown.shape == (size, size, 3)
    assert mask.shape == (size, size)
    inside = mask > 0
    assert shown[inside, 0].mean() > 190
    assert shown[~inside, 0].mean() < 20
    moved = view.points(points[None])[0]
    order = [1, 0, 2, 4, 3] if mirrored else [0, 1, 2, 3, 4]
    for number, place in enumerate(order):
        rows, columns = np.nonzero(mask == place + 1)
        assert np.allclose(moved[number], (columns.mean(), rows.mean()), atol=1.0)
    assert moved[0, 0] < moved[1, 0], "left stays before right"


def test_mirroring_mirrors() -> None:
    picture, labels = draw_people([(20, 30)], [0])
    one, other = View(0, 0, 64, 64), View(0, 0, 64, 64, mirrored=True)
    assert np.array_equal(one.picture(picture), picture)
    assert np.array_equal(other.picture(picture), picture[:, ::-1])
    assert np.array_equal(other.labels(labels), labels[:, ::-1])
    assert not np.array_equal(labels, labels[:, ::-1])


def test_labels_are_never_mixed() -> None:
    labels = np.where(np.indices((31, 31)).sum(0) % 2, 7, 3).astype(np.int32)
    assert set(np.unique(View(2, 3, 17, 40).labels(labels))) == {3, 7}


def test_a_drawn_window_shows_everybody_where_there_is_room() -> None:
    generator = torch.Generator().manual_seed(0)
    points = np.stack([POINTS + np.array([60, 40]), POINTS + np.array([90, 50])])
    views = [
        draw_view((100, 160, 3), points, size=32, least=0.5, mirrored=0.5, generator=generator) for _ in range(200)
    ]
    for view in views:
        assert view.shows(points).all()
        assert 0 <= view.left <= 160 - view.side
        assert 0 <= view.top <= 100 - view.side
    assert len({view.side for view in views}) > 10
    assert len({(view.left, view.top) for view in views}) > 50
    assert 60 < sum(view.mirrored for view in views) < 140


def test_a_window_too_small_for_everybody_shows_one() -> None:
    generator = torch.Generator().manual_seed(0)
    points = np.stack([POINTS + np.array([20, 30]), POINTS + np.array([280, 30])])
    shown = [
        draw_view((60, 300, 3), points, size=32, least=1.0, mirrored=0.0, generator=generator).shows(points).tolist()
        for _ in range(30)
    ]
    assert {tuple(row) for row in shown} == {(True, False), (False, True)}


def test_the_middle_window_is_around_the_faces() -> None:
    view = centre_view((100, 300, 3), (POINTS + np.array([250, 40]))[None], size=64)
    assert (view.side, view.size, view.mirrored) == (100, 64, False)
    assert view.shows((POINTS + np.array([250, 40]))[None]).all()
    assert centre_view((100, 300, 3), (POINTS + np.array([10, 40]))[None], size=64).left == 0


def test_what_is_shown_is_kept_when_shrinking() -> None:
    points = POINTS * 3 + np.array([150, 100])
    picture, labels = marked(300, 200, points)
    small, mask, moved = shrunk(picture, labels, points[None], short=100)
    assert small.shape == (100, 150, 3)
    assert mask.shape == (100, 150)
    assert np.allclose((moved[0] + 0.5) * 2 - 0.5, points)
    assert shrunk(picture, labels, points[None], short=200)[0] is picture
