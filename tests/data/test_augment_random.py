"""RandAugment: the moves against Pillow, and which operations are drawn how often."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from facewright.data import augment_random
from facewright.data.augment_random import OPERATIONS, rand_augment, rotate, shear, shift


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(count: int = 1) -> Tensor:
    return torch.randint(1, 256, (count, 3, 28, 28), generator=seeded(9)).float()


def by_pillow(matrix: tuple[float, ...]) -> Tensor:
    image = Image.fromarray(pixels()[0].permute(1, 2, 0).numpy().astype(np.uint8))
    moved = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
    return torch.from_numpy(np.asarray(moved).copy()).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("slope", [0.3, -0.17, 0.0])
def test_shear(slope: float) -> None:
    assert torch.equal(shear(pixels(), torch.tensor([slope])), by_pillow((1, slope, 0, 0, 1, 0)))


@pytest.mark.parametrize("by", [5.7, -5.7, 0.3])
def test_shift(by: float) -> None:
    assert torch.equal(shift(pixels(), torch.tensor([by])), by_pillow((1, 0, int(by), 0, 1, 0)))


@pytest.mark.parametrize("degrees", [30.0, -12.5, 0.0])
def test_rotation(degrees: float) -> None:
    image = Image.fromarray(pixels()[0].permute(1, 2, 0).numpy().astype(np.uint8))
    expected = torch.from_numpy(np.asarray(image.rotate(degrees)).copy()).permute(2, 0, 1)[None].float()
    other = (rotate(pixels(), torch.tensor([degrees])) != expected).any(1).float().mean()
    assert float(other) < 0.01, "places half-way between two pixels may fall either way"


@pytest.mark.parametrize("strength", [-1.0, -0.2, 0.2, 1.0])
def test_every_operation_but_identity_changes_the_picture_within_range(strength: float) -> None:
    assert len(OPERATIONS) == 13
    for name, operation in OPERATIONS.items():
        out = operation(pixels(3), torch.full((3,), strength))
        assert out.shape == (3, 3, 28, 28), name
        assert float(out.min()) >= 0, name
        assert float(out.max()) <= 255.001, name
        assert torch.equal(out, pixels(3)) == (name == "identity"), name


def test_operations_are_drawn_alike_with_the_bins_up_to_the_magnitude(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(OPERATIONS, 0)
    bins: set[int] = set()
    signs: set[float] = set()

    def counting(name: str) -> augment_random.Operation:
        def count(pixels: Tensor, strength: Tensor) -> Tensor:
            counts[name] += len(pixels)
            bins.update((strength.abs() * 30).round().int().tolist())
            signs.update(strength.sign().tolist())
            return pixels

        return count

    monkeypatch.setattr(augment_random, "OPERATIONS", {name: counting(name) for name in OPERATIONS})
    rand_augment(torch.zeros(1300, 3, 2, 2), operations=4, magnitude=16, generator=seeded())
    assert sum(counts.values()) == 5200
    assert all(320 < count < 480 for count in counts.values()), counts
    assert bins == set(range(1, 17))
    assert signs == {-1.0, 1.0}


def test_the_generator_alone_decides() -> None:
    x = pixels(26) / 127.5 - 1
    one = rand_augment(x, generator=seeded(1))
    torch.manual_seed(7)
    assert torch.equal(one, rand_augment(x, generator=seeded(1)))
    assert not torch.equal(one, rand_augment(x, generator=seeded(2)))
    assert float(one.abs().max()) <= 1 + 1e-5
    assert torch.allclose(rand_augment(x, operations=0, generator=seeded()), x, atol=1e-6)
