import numpy as np
import pytest

from facewright.errors import InputError
from facewright.personalise.world_styles import (
    BACKGROUNDS,
    EFFECTS,
    STYLES,
    apply_style,
    apply_styles,
    background_of,
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def test_black_and_white_is_the_luminance(images: np.ndarray) -> None:
    made = apply_style(images, "black and white")
    wanted = images.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(made - wanted[..., None]).max() <= 0.51


def test_sepia_is_brown_and_night_dark_and_blue(images: np.ndarray) -> None:
    red, green, blue = np.moveaxis(apply_style(images, "sepia").astype(int), 3, 0)
    assert (red >= green).all()
    assert (green >= blue).all()
    luminance = images.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(green - 0.88 * luminance).max() <= 0.51
    dark = apply_style(images, "night")
    assert (dark <= images).all()
    grey = apply_style(np.full((1, 8, 8, 3), 128, np.uint8), "night")[0, 0, 0].astype(int)
    assert grey[2] > grey[1] > grey[0]


def test_blurred_keeps_the_mean_and_takes_the_detail(images: np.ndarray) -> None:
    large = images.repeat(4, 1).repeat(4, 2)
    made = apply_style(large, "blurred")
    assert np.abs(made.mean((1, 2)) - large.mean((1, 2))).max() < 3
    assert np.abs(np.diff(made.astype(int), axis=1)).mean() < 0.7 * np.abs(np.diff(large.astype(int), axis=1)).mean()


def test_pencil_leaves_flat_parts_white_and_draws_edges() -> None:
    picture = np.full((1, 64, 64, 3), 200, np.uint8)
    picture[:, :, 32:] = 60
    made = apply_style(picture, "pencil")[0, 32, :, 0].astype(int)
    assert made[[2, 61]].min() > 180
    assert made[33] < made[61] - 60


def test_a_picture_does_not_depend_on_its_batch(images: np.ndarray) -> None:
    for style in EFFECTS:
        whole = apply_style(images, style)
        assert whole.dtype == np.uint8
        assert whole.shape == images.shape
        assert not np.array_equal(whole, images)
        assert np.array_equal(whole[1:2], apply_style(images[1:2], style))
        assert apply_style(images[:0], style).shape == (0, 32, 32, 3)
    mixed = apply_styles(images, ["sepia", "photo", "night"])
    assert np.array_equal(mixed[0], apply_style(images[:1], "sepia")[0])
    assert np.array_equal(mixed[1], images[1])
    assert np.array_equal(mixed[2], apply_style(images[2:], "night")[0])


def test_backgrounds_are_styles_without_an_effect(images: np.ndarray) -> None:
    assert len(STYLES) == 1 + len(EFFECTS) + len(BACKGROUNDS)
    assert background_of("red background") == BACKGROUNDS["red"]
    assert background_of("photo") is None
    assert np.array_equal(apply_style(images, "red background"), images)


def test_wrong_styles_and_pictures_are_named(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="unknown style 'etching'; known: photo, sepia"):
        apply_style(images, "etching")
    with pytest.raises(InputError, match=r"must be uint8 \(B, H, W, 3\), got float64"):
        apply_style(images.astype(float), "sepia")
