"""Random crops against cutting and resizing each picture by itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.augment_crop import mirror, random_boxes, random_crop


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, height: int = 20, width: int = 20) -> Tensor:
    return torch.rand(count, 3, height, width, generator=seeded(9)) * 2 - 1


def test_boxes_lie_inside_and_have_the_asked_areas_and_ratios() -> None:
    boxes = random_boxes(2000, 112, 112, generator=seeded())
    top, left, tall, wide = boxes.T
    assert int(torch.minimum(top, left).min()) == 0
    assert int((top + tall).max()) == int((left + wide).max()) == 112
    area = (tall * wide) / 112**2
    assert 0.19 < float(area.min()) < 0.21
    assert float(area.max()) > 0.95
    assert 0.5 < float(area.mean()) < 0.62  # boxes near the whole picture fit only if they are nearly square
    ratio = wide / tall
    assert 0.72 < float(ratio.min()) < 0.78
    assert 1.28 < float(ratio.max()) < 1.38


def test_a_box_that_never_fits_is_the_whole_picture() -> None:
    boxes = random_boxes(4, 10, 20, area=(1.0, 1.0), ratio=(0.9, 1.1), generator=seeded())
    assert boxes.tolist() == [[0, 0, 10, 20]] * 4


@pytest.mark.parametrize("size", [(20, 20), (16, 24)])
def test_each_crop_is_enlarged_as_by_itself(size: tuple[int, int]) -> None:
    x = images(30, *size)
    out = random_crop(x, share=0.7, generator=seeded(3))
    generator = seeded(3)
    chosen = torch.rand(30, generator=generator) < 0.7
    boxes = random_boxes(30, *size, generator=generator)
    assert 10 < int(chosen.sum()) < 30
    for image, result, cropped, (top, left, tall, wide) in zip(x, out, chosen, boxes.tolist(), strict=True):
        cut = image[None, :, top : top + tall, left : left + wide]
        resized = F.interpolate(cut, size=size, mode="bilinear", align_corners=False)[0]
        assert torch.allclose(result, resized if cropped else image, atol=1e-5)


def test_a_crop_in_place_blackens_the_rest() -> None:
    x = images(30)
    out = random_crop(x, share=1.0, in_place=True, generator=seeded(3))
    generator = seeded(3)
    torch.rand(30, generator=generator)
    for image, result, (top, left, tall, wide) in zip(
        x, out, random_boxes(30, 20, 20, generator=generator).tolist(), strict=True
    ):
        expected = torch.full_like(image, -1.0)
        expected[:, top : top + tall, left : left + wide] = image[:, top : top + tall, left : left + wide]
        assert torch.equal(result, expected)


def test_a_share_of_nothing_changes_nothing_and_the_generator_decides() -> None:
    x = images(40)
    assert torch.equal(random_crop(x, share=0.0, generator=seeded()), x)
    one = random_crop(x, share=0.5, generator=seeded(1))
    assert torch.equal(one, random_crop(x, share=0.5, generator=seeded(1)))
    assert not torch.equal(one, random_crop(x, share=0.5, generator=seeded(2)))


def test_mirror_turns_a_share() -> None:
    x = images(400)
    out = mirror(x, share=0.25, generator=seeded())
    turned = (out == x.flip(3)).flatten(1).all(1)
    assert 70 < int(turned.sum()) < 130
    assert torch.equal(out[~turned], x[~turned])
