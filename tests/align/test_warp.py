from pathlib import Path

import numpy as np
import pytest

from facewright.align import ARCFACE_TEMPLATE, similarity, warp, warp_face
from facewright.data.images import centre_crop
from facewright.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "align"


def smooth(height: int, width: int) -> np.ndarray:
    """A picture without steps, so that two ways of sampling it can be compared."""
    y, x = np.mgrid[:height, :width] * (2 * np.pi / 180)
    waves = np.stack([np.sin(x) * np.cos(y), np.cos(x + y), np.sin(2 * x - y)], axis=-1)
    return np.round(127 + 100 * waves).astype(np.uint8)


def test_warp_is_exact_bilinear():
    with np.load(GOLDEN / "warps.npz") as golden:
        for matrix, exact in zip(golden["matrices"], golden["exact_bilinear"], strict=True):
            crop = warp(golden["source"], matrix)
            assert crop.shape == (112, 112, 3)
            assert crop.dtype == np.uint8
            assert np.abs(crop.astype(float) - exact).max() <= 1.0


def test_warp_face_is_similarity_then_warp_where_the_photo_is_not_much_larger():
    with np.load(GOLDEN / "warps.npz") as golden:
        source, points = golden["source"], golden["points"]
    for five in points:
        matrix = similarity(five)
        if np.sqrt(np.linalg.det(matrix[:2, :2])) > 0.5:
            np.testing.assert_array_equal(warp_face(source, five), warp(source, matrix))


def test_outside_the_photo_is_black():
    crop = warp(np.full((20, 20, 3), 255, np.uint8), np.eye(3))
    assert (crop[:20, :20] == 255).all()
    assert not crop[21:].any()
    assert not crop[:, 21:].any()


def test_identity_keeps_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp_face(image, ARCFACE_TEMPLATE), image)


def test_margin_holds_the_crop_in_its_centre():
    image = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    points = ARCFACE_TEMPLATE * 1.3 + [40, 50]
    wide = warp_face(image, points, size=128, margin=8)
    assert wide.shape == (128, 128, 3)
    difference = np.abs(centre_crop(wide, 112).astype(int) - warp_face(image, points))
    assert difference.max() <= 1


def test_another_size_shows_the_same_picture():
    image, points = smooth(400, 400), ARCFACE_TEMPLATE * 1.5 + [90, 70]
    small, large = warp_face(image, points), warp_face(image, points, size=224)
    halved = large.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).max() <= 2


@pytest.mark.parametrize("scale", [2.0, 3.7, 9.0])
def test_a_large_photo_is_averaged_not_skipped(scale):
    side = int(130 * scale)
    points = (ARCFACE_TEMPLATE + 0.5) * scale - 0.5
    noise = np.random.default_rng(2).integers(0, 256, (side, side, 3), dtype=np.uint8)
    # A mean over k pixels of uniform noise has 1/sqrt(k) of its spread.
    assert warp_face(noise, points).std() < 1.25 * 73.9 / int(scale)
    y, x = np.mgrid[:side, :side]
    ramp = np.stack([x, y, x], axis=-1) * (255 / side)
    crop = warp_face(np.round(ramp).astype(np.uint8), points).astype(float)
    expected = ((np.arange(112) + 0.5) * scale - 0.5) * (255 / side)
    assert np.abs(crop[56, :, 0] - expected).max() <= 1.0  # in place: no shift from the shrinking
    assert np.abs(crop[:, 56, 1] - expected).max() <= 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 0}, "size"), ({"size": 100_000}, "size"), ({"margin": -1}, "margin"), ({"margin": 1e9}, "margin")],
)
def test_sizes_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        warp_face(np.zeros((9, 9, 3), np.uint8), ARCFACE_TEMPLATE, **options)


def test_other_images_and_matrices_are_refused():
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(InputError, match="uint8"):
        warp(image.astype(np.float32), np.eye(3))
    with pytest.raises(InputError, match=r"\(9, 9\)"):
        warp(image[..., 0], np.eye(3))
    with pytest.raises(InputError, match="3 x 3"):
        warp(image, np.eye(4))
    with pytest.raises(InputError, match="inverted"):
        warp(image, np.zeros((3, 3)))
