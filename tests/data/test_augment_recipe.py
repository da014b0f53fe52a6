"""Augmentation as settings: order, warm-up, refusals."""

import pytest
import torch
from torch import Tensor

from facewright.data.augment_recipe import Augmentation, augment
from facewright.errors import ConfigError

NOTHING = Augmentation(mirror_share=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 40) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=seeded(9)) * 2 - 1


def test_by_default_half_are_mirrored_and_nothing_else() -> None:
    x = images(300)
    out = augment(x, Augmentation(), generator=seeded())
    turned = (out == x.flip(3)).flatten(1).all(1)
    assert 110 < int(turned.sum()) < 190
    assert torch.equal(out[~turned], x[~turned])
    assert torch.equal(augment(x, NOTHING, generator=seeded()), x)


@pytest.mark.parametrize(
    "setting",
    [
        {"shift": 3},
        {"crop_share": 0.5},
        {"crop_share": 0.5, "crop_in_place": True},
        {"low_resolution_share": 0.5},
        {"colour_share": 0.5},
        {"grey_share": 0.5},
        {"rand_operations": 4},
    ],
)
def test_every_setting_does_something_that_the_generator_decides(setting: dict[str, float]) -> None:
    config = Augmentation(mirror_share=0.0, **setting)  # type: ignore[arg-type]
    out = augment(images(), config, generator=seeded())
    assert not torch.equal(out, images())
    assert out.shape == images().shape
    assert torch.equal(out, augment(images(), config, generator=seeded()))
    assert float(out.abs().max()) <= 1 + 1e-5


def test_a_shift_repeats_the_border() -> None:
    place = torch.arange(16.0).view(1, 1, 1, 16).expand(100, 3, 16, 16) / 16
    out = augment(place, Augmentation(mirror_share=0.0, shift=2), generator=seeded())
    firsts, lasts = out[:, 0, 0, 0] * 16, out[:, 0, 0, -1] * 16
    assert set(firsts.tolist()) == {0.0, 1.0, 2.0}
    assert set(lasts.tolist()) == {13.0, 14.0, 15.0}


def test_crops_warm_up_in_a_line() -> None:
    config = Augmentation(crop_share=0.2, crop_warmup_images=4000)
    assert [config.crop_share_at(images) for images in (0, 1000, 2000, 4000, 9000)] == pytest.approx(
        [0, 0.05, 0.1, 0.2, 0.2]
    )
    assert Augmentation(crop_share=0.2).crop_share_at(0) == 0.2
    config = Augmentation(mirror_share=0.0, crop_share=1.0, crop_warmup_images=100)
    assert torch.equal(augment(images(), config, images_seen=0, generator=seeded()), images())
    half = augment(images(400), config, images_seen=50, generator=seeded())
    assert 150 < int((half != images(400)).flatten(1).any(1).sum()) < 250


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"crop_share": 1.5}, r"crop_share must be in \[0, 1\], got 1.5"),
        ({"smallest": 0.0}, r"smallest must be in \(0, 1\]"),
        ({"shift": -1}, "at least 0"),
        ({"rand_magnitude": 31}, r"1 \.\.\. 30, got 31"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Augmentation(**setting)  # type: ignore[arg-type]
