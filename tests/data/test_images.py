"""Pixels as arrays and tensors, and back."""

import numpy as np
import pytest
import torch

from facewright.data.images import centre_crop, to_tensor, to_uint8
from facewright.errors import InputError


def test_every_level_survives_the_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    tensor = to_tensor(levels)
    assert tensor.shape == (1, 3, 16, 16)
    assert (float(tensor.min()), float(tensor.max())) == (-1.0, 1.0)
    assert np.array_equal(to_uint8(tensor), levels)


def test_channels_and_rows_keep_their_places() -> None:
    image = np.zeros((1, 4, 5, 3), np.uint8)
    image[0, 1, 3] = (255, 0, 51)
    tensor = to_tensor(image)
    assert tensor[0, :, 1, 3].tolist() == pytest.approx([1.0, -1.0, -0.6])
    assert np.array_equal(to_uint8(tensor), image)


def test_read_only_and_strided_arrays_are_taken_and_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    before = image.copy()
    image.setflags(write=False)
    assert np.array_equal(to_uint8(to_tensor(image)), before)
    assert np.array_equal(to_uint8(to_tensor(image[:, ::2, ::-1])), before[:, ::2, ::-1])
    assert np.array_equal(image, before)


def test_values_beyond_the_range_are_clipped_and_others_rounded() -> None:
    tensor = torch.tensor([-3.0, -1 + 0.6 / 127.5, 2.0]).view(1, 3, 1, 1)
    assert to_uint8(tensor).ravel().tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 1), np.uint8), np.zeros((1, 4, 4, 3), np.float32)]
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"uint8 \(N, H, W, 3\), got"):
        to_tensor(wrong)


def test_the_centre_is_cut_without_a_copy() -> None:
    images = np.arange(2 * 8 * 10 * 3).reshape(2, 8, 10, 3)
    cut = centre_crop(images, 4)
    assert np.array_equal(cut, images[:, 2:6, 3:7])
    assert cut.base is not None
    assert np.array_equal(centre_crop(images[0], 4), cut[0])
    with pytest.raises(InputError, match="9 x 9 from images of 8 x 10"):
        centre_crop(images, 9)
