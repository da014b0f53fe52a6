"""Resizing matrices against OpenCV, and the augmentation that is made of them."""

import cv2
import numpy as np
import pytest
import torch

from facewright.data.augment_resolution import FILTERS, low_resolutions, resizing

OPENCV = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(
    ("before", "after"), [(112, 23), (112, 56), (112, 97), (23, 112), (56, 112), (97, 112), (9, 9)]
)
def test_the_matrix_resizes_as_opencv_does(kind: str, before: int, after: int) -> None:
    picture = torch.rand(before, before, generator=seeded())
    expected = cv2.resize(picture.numpy(), (after, after), interpolation=OPENCV[kind])
    matrix = resizing(before, after, kind)
    found = (matrix @ picture @ matrix.T).numpy()
    # OpenCV has its Lanczos weights in single precision and its own sine
    assert np.allclose(found, expected, atol=2e-3 if kind == "lanczos" else 1e-4)
    assert torch.allclose(matrix.sum(1), torch.ones(after), atol=1e-5)


def test_each_chosen_picture_gets_a_size_of_its_own() -> None:
    x = torch.rand(200, 3, 32, 32, generator=seeded(9)) * 2 - 1
    out = low_resolutions(x, share=0.4, generator=seeded())
    changed = (out != x).flatten(1).any(1)
    assert 50 < int(changed.sum()) < 110
    assert float(out.abs().max()) <= 1.0
    generator = seeded()
    chosen = torch.rand(200, generator=generator) < 0.4
    sizes = (32 * (0.2 + 0.8 * torch.rand(200, generator=generator))).long()
    filters = torch.randint(5, (2, 200), generator=generator)
    assert torch.equal(chosen, changed)
    for row in chosen.nonzero()[:20, 0].tolist():
        picture = x[row].permute(1, 2, 0).contiguous().numpy()
        there, back = (OPENCV[FILTERS[int(filters[turn, row])]] for turn in (0, 1))
        small = cv2.resize(picture, (int(sizes[row]),) * 2, interpolation=there)
        expected = cv2.resize(small, (32, 32), interpolation=back).clip(-1, 1)
        assert np.allclose(out[row].permute(1, 2, 0).numpy(), expected, atol=5e-3)


def test_the_generator_decides_and_a_share_of_nothing_changes_nothing() -> None:
    x = torch.rand(20, 3, 16, 16, generator=seeded(9)) * 2 - 1
    assert torch.equal(low_resolutions(x, share=0.0, generator=seeded()), x)
    one = low_resolutions(x, share=1.0, generator=seeded(1))
    assert torch.equal(one, low_resolutions(x, share=1.0, generator=seeded(1)))
    assert not torch.equal(one, low_resolutions(x, share=1.0, generator=seeded(2)))
