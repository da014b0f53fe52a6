import pytest
import torch
from torch import Tensor

from facewright.errors import ConfigError, InputError
from facewright.personalise.losses import (
    cgdr_loss,
    cgdr_target,
    denoising_loss,
    localisation_loss,
    localisation_losses,
    shrink_masks,
    total_loss,
    union_mask,
)

BATCH, HEADS, PEOPLE, SIDE, TOKENS = 3, 2, 2, 4, 7


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def attention() -> Tensor:
    return _noise(BATCH * HEADS, SIDE * SIDE, TOKENS, seed=0).softmax(2)


@pytest.fixture
def masks() -> Tensor:
    return (_noise(BATCH, PEOPLE, 4 * SIDE, 4 * SIDE, seed=1) > 0).double()


PLACES = {
    "tokens": torch.tensor([[1, 4], [2, 0], [0, 0]]),
    "valid": torch.tensor([[True, True], [True, False], [False, False]]),
}


def test_cgdr_takes_the_noise_inside_and_the_class_outside() -> None:
    prediction, noise, prior = (_noise(2, 4, 6, 6, seed=seed).requires_grad_() for seed in range(3))
    mask = torch.zeros(2, 1, 6, 6, dtype=torch.float64)
    mask[:, :, :3] = 1
    loss = cgdr_loss(prediction, noise, prior, mask=mask)
    inside = (prediction - noise)[:, :, :3].square().sum()
    outside = (prediction - prior)[:, :, 3:].square().sum()
    torch.testing.assert_close(loss, (inside + outside) / prediction.numel())
    loss.backward()
    assert prior.grad is None
    assert prediction.grad is not None
    torch.testing.assert_close(prediction.grad[:, :, 3:], (2 * (prediction - prior) / prediction.numel())[:, :, 3:])


def test_cgdr_follows_a_flip_of_everything() -> None:
    prediction, noise, prior = (_noise(1, 4, 6, 6, seed=seed) for seed in range(3))
    mask = (_noise(1, 1, 6, 6, seed=4) > 0).double()
    plain = cgdr_loss(prediction, noise, prior, mask=mask)
    flipped = cgdr_loss(prediction.flip(3), noise.flip(3), prior.flip(3), mask=mask.flip(3))
    torch.testing.assert_close(plain, flipped)
    assert not torch.allclose(plain, cgdr_loss(prediction.flip(3), noise.flip(3), prior.flip(3), mask=mask))
    torch.testing.assert_close(cgdr_target(noise, prior, mask=mask.float()), mask * noise + (1 - mask) * prior)


def test_masked_loss_counts_all_elements_or_the_area(masks: Tensor) -> None:
    prediction, target = (_noise(BATCH, 4, 8, 8, seed=seed) for seed in (5, 6))
    mask = union_mask(masks, size=(8, 8))
    assert mask.shape == (BATCH, 1, 8, 8)
    summed = (mask * (prediction - target)).square().sum()
    torch.testing.assert_close(denoising_loss(prediction, target, mask=mask), summed / prediction.numel())
    area = denoising_loss(prediction, target, mask=mask, normalise="area")
    torch.testing.assert_close(area, summed / (4 * mask.sum()))
    empty = torch.zeros_like(mask)
    assert denoising_loss(prediction, target, mask=empty, normalise="area") == 0
    assert denoising_loss(prediction, target, mask=torch.ones_like(mask)) == denoising_loss(prediction, target)
    with pytest.raises(ConfigError, match="elements or area, got 'sum'"):
        denoising_loss(prediction, target, normalise="sum")


@pytest.mark.parametrize("normalise", [False, True])
def test_localisation_by_a_loop(attention: Tensor, masks: Tensor, normalise: bool) -> None:
    small = shrink_masks(masks, SIDE)
    total = 0.0
    for sample in range(BATCH):
        for head in range(HEADS):
            people, counted = 0.0, 0
            for person in range(PEOPLE):
                if not PLACES["valid"][sample, person]:
                    continue
                counted += 1
                column = attention[sample * HEADS + head, :, PLACES["tokens"][sample, person]]
                if normalise:
                    column = column / (column.max() + 1e-5)
                inside = small[sample, person].flatten()
                outside = 1 - inside
                people += (column * outside).sum() / (outside.sum() + 1e-5) - (column * inside).sum() / (
                    inside.sum() + 1e-5
                )
            total += people / (counted + 1e-5)
    found = localisation_loss([attention], masks, **PLACES, normalise=normalise)
    torch.testing.assert_close(found, torch.as_tensor(total / (BATCH * HEADS)), rtol=1e-6, atol=0)


def test_localisation_is_lowest_where_attention_lies_on_the_person() -> None:
    masks = torch.zeros(1, 1, SIDE, SIDE)
    masks[..., :2] = 1
    attention = torch.zeros(1, SIDE * SIDE, TOKENS)
    attention[0, :, 3] = masks.flatten()
    place = {"tokens": torch.tensor([[3]]), "valid": torch.tensor([[True]])}
    assert localisation_loss([attention], masks, **place) == pytest.approx(-1, abs=1e-4)
    assert localisation_loss([attention.flip(1)], masks.flip(3), **place) == pytest.approx(-1, abs=1e-4)
    assert localisation_loss([attention], masks.flip(3), **place) == pytest.approx(1, abs=1e-4)


def test_layers_are_averaged_and_weighted(attention: Tensor, masks: Tensor) -> None:
    coarse = attention.unflatten(1, (SIDE, SIDE))[:, ::2, ::2].flatten(1, 2)
    layers = localisation_losses([attention, coarse], masks, **PLACES)
    assert layers.shape == (2,)
    assert layers[1] == localisation_loss([coarse], masks, **PLACES)
    loss = total_loss(torch.tensor(0.5), layers.mean(), weight=0.01)
    assert loss == pytest.approx(0.5 + 0.01 * float(layers.mean()))


def test_maps_of_another_shape_are_named(attention: Tensor, masks: Tensor) -> None:
    with pytest.raises(InputError, match="at least one layer"):
        localisation_loss([], masks, **PLACES)
    with pytest.raises(InputError, match=r"side \* side, tokens\) for a batch of 3, got \(6, 15, 7\)"):
        localisation_loss([attention[:, :15]], masks, **PLACES)
