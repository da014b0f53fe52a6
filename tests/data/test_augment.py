"""Augmentations: what they may change, what they may not, and that the generator alone decides."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from facewright.data.augment import LUMA, grey, jitter_crop, low_resolution, photometric


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64, side: int = 16) -> Tensor:
    return torch.rand(count, 3, side, side, generator=seeded(9)) * 2 - 1


@pytest.mark.parametrize(
    "augment",
    [
        lambda x, g: jitter_crop(x, 12, shift=2, generator=g),
        lambda x, g: photometric(x, strength=0.3, generator=g),
        lambda x, g: grey(x, share=0.5, generator=g),
        lambda x, g: low_resolution(x, share=0.5, smallest=0.5, generator=g),
    ],
)
def test_the_generator_alone_decides(augment: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    before = images()
    x = before.clone()
    torch.manual_seed(1)
    one = augment(x, seeded())
    torch.manual_seed(2)
    assert torch.equal(augment(x, seeded()), one)
    assert not torch.equal(augment(x, seeded(1)), one)
    assert torch.equal(x, before), "the input was changed"
    assert one.shape[:2] == x.shape[:2]


def test_jitter_cuts_inside_the_shift_and_mirrors_half() -> None:
    side, size, shift = 16, 10, 3
    place = torch.arange(side * side).view(1, 1, side, side).expand(400, 3, -1, -1).float()
    crops = jitter_crop(place, size, shift=shift, generator=seeded())
    mirrored = crops[:, 0, 0, 1] < crops[:, 0, 0, 0]
    first = torch.where(mirrored, crops[:, 0, 0, -1], crops[:, 0, 0, 0]).long()
    tops, lefts = first // side, first % side
    assert set(tops.tolist()) == set(range(7))
    assert set(lefts.tolist()) == set(range(7))
    assert 150 < int(mirrored.sum()) < 250
    for crop, top, left, flip in zip(crops, tops, lefts, mirrored, strict=True):
        expected = place[0, :, top : top + size, left : left + size]
        assert torch.equal(crop, expected.flip(2) if flip else expected)


def test_without_a_shift_only_the_mirror_is_left() -> None:
    x = images(20)
    for crop, image in zip(jitter_crop(x, 12, shift=0, generator=seeded()), x[:, :, 2:14, 2:14], strict=True):
        assert torch.equal(crop, image) or torch.equal(crop, image.flip(2))


def test_photometric_stays_in_range_and_does_nothing_at_strength_0() -> None:
    x = images()
    changed = photometric(x, strength=0.9, generator=seeded())
    assert float(changed.abs().max()) <= 1.0
    assert torch.allclose(photometric(x, strength=0.0, generator=seeded()), x, atol=1e-6)


def test_photometric_follows_its_three_factors() -> None:
    x = images(3) * 0.3
    brightness, contrast, saturation = (
        1 + 0.2 * (2 * torch.rand(3, 1, 1, 1, generator=generator) - 1) for generator in [seeded()] * 3
    )
    luma = torch.tensor(LUMA).view(1, 3, 1, 1)
    expected = (x + 1) * brightness - 1
    mean = expected.mean((1, 2, 3), keepdim=True)
    expected = mean + (expected - mean) * contrast
    plain = (expected * luma).sum(1, keepdim=True)
    expected = plain + (expected - plain) * saturation
    assert torch.allclose(photometric(x, strength=0.2, generator=seeded()), expected.clamp(-1, 1), atol=1e-6)


def test_grey_takes_a_share_and_keeps_the_luma() -> None:
    x = images(500, side=4)
    out = grey(x, share=0.3, generator=seeded())
    plain = (out == out[:, :1]).all(1).all(1).all(1)
    assert 110 < int(plain.sum()) < 190
    assert torch.equal(out[~plain], x[~plain])
    luma = torch.tensor(LUMA).view(1, 3, 1, 1)
    assert torch.allclose(out[plain][:, 0], (x[plain] * luma).sum(1), atol=1e-6)
    assert torch.equal(grey(x, share=0.0, generator=seeded()), x)


def test_low_resolution_takes_detail_from_a_share() -> None:
    board = torch.ones(16, 16)
    board[::2] *= -1
    board[:, ::2] *= -1
    x = board.expand(200, 3, -1, -1) * 0.5 + 0.2
    out = low_resolution(x, share=0.4, smallest=0.5, generator=seeded())
    changed = (out != x).flatten(1).any(1)
    assert 50 < int(changed.sum()) < 110
    assert float(out[changed].std()) < 0.5 * float(x.std())
    assert float((out[changed].mean((1, 2, 3)) - 0.2).abs().max()) < 0.05
    flat = torch.full((8, 3, 16, 16), 0.25)
    assert torch.allclose(low_resolution(flat, share=1.0, smallest=0.5, generator=seeded()), flat, atol=1e-6)
    assert torch.equal(low_resolution(x, share=0.0, smallest=0.5, generator=seeded()), x)
