"""Light and colour against Pillow."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from facewright.data import augment_colour as colour


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures() -> Tensor:
    """Pixels of five pictures: noise, dark noise, a ramp, one value, two values."""
    noise = torch.randint(0, 256, (3, 24, 24), generator=seeded())
    dark = torch.randint(20, 90, (3, 24, 24), generator=seeded(1))
    ramp = torch.arange(24).view(1, 1, 24).expand(3, 24, 24) * 9
    two = torch.where(torch.rand(3, 24, 24, generator=seeded(2)) < 0.3, 40, 200)
    return torch.stack([noise, dark, ramp, torch.full((3, 24, 24), 77), two]).float()


def by_pillow(change: Callable[[Image.Image], Image.Image]) -> Tensor:
    found = []
    for picture in pictures():
        image = Image.fromarray(picture.permute(1, 2, 0).numpy().astype(np.uint8))
        found.append(torch.from_numpy(np.asarray(change(image)).copy()).permute(2, 0, 1).float())
    return torch.stack(found)


FACTORS = [0.1, 0.7, 1.0, 1.6]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("change", "enhance"),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
        (colour.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements(
    change: Callable[[Tensor, Tensor], Tensor], enhance: Callable[[Image.Image], ImageEnhance._Enhance], factor: float
) -> None:
    found = change(pictures(), torch.full((5,), factor))
    expected = by_pillow(lambda image: enhance(image).enhance(factor))
    assert float((found - expected).abs().max()) < 2.0, "Pillow rounds, and its grey and its mean grey are whole"


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_posterise(bits: int) -> None:
    expected = by_pillow(lambda image: ImageOps.posterize(image, bits))
    assert torch.equal(colour.posterise(pictures(), torch.full((5,), float(bits))), expected)


@pytest.mark.parametrize("threshold", [0, 120, 255])
def test_solarise(threshold: int) -> None:
    expected = by_pillow(lambda image: ImageOps.solarize(image, threshold))
    assert torch.equal(colour.solarise(pictures(), torch.full((5,), float(threshold))), expected)


def test_autocontrast_and_equalise_and_grey() -> None:
    assert float((colour.stretch(pictures()) - by_pillow(ImageOps.autocontrast)).abs().max()) < 1.0
    assert torch.equal(colour.equalise(pictures()), by_pillow(ImageOps.equalize))
    expected = by_pillow(lambda image: Image.merge("RGB", [image.convert("L")] * 3))
    assert float((colour.grey(pictures()) - expected).abs().max()) < 1.0


def test_jitter_changes_a_share_by_the_three_factors_in_some_order() -> None:
    x = torch.rand(60, 3, 8, 8, generator=seeded(9)) * 2 - 1
    out = colour.colour_jitter(x, share=0.5, generator=seeded())
    changed = (out != x).flatten(1).any(1)
    assert 18 < int(changed.sum()) < 42
    assert float(out.abs().max()) <= 1 + 1e-6
    assert torch.equal(out, colour.colour_jitter(x, share=0.5, generator=seeded()))
    only = {"brightness_by": 0.4, "contrast_by": 0.0, "saturation_by": 0.0}
    lit = colour.colour_jitter(x * 0.3, share=1.0, generator=seeded(4), **only)
    factor = (lit + 1) / (x * 0.3 + 1)
    assert torch.allclose(factor, factor[:, :1, :1, :1].expand_as(factor), atol=1e-4)
    assert 0.6 - 1e-4 < float(factor.min()) < 0.65
    assert 1.35 < float(factor.max()) < 1.4 + 1e-4
