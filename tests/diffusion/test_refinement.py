"""Latents moved towards an identity: nearer to it, alone of their batch, and what is refused."""

import math

import pytest
import torch
from tests.diffusion.tiny import tiny_generator
from torch import Tensor

from facewright.diffusion import Refinement
from facewright.diffusion.refinement import refined
from facewright.errors import ConfigError


def embed(crops: Tensor) -> Tensor:
    """The means of a 4 x 4 board of squares, as unit rows."""
    assert crops.shape[1:] == (3, 112, 112)
    return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(crops.mean(1), 28).flatten(1))


def decode(latents: Tensor) -> Tensor:
    return latents.repeat_interleave(8, 2).repeat_interleave(8, 3).repeat(1, 3, 1, 1)


def asked(count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 16, 16, generator=generator), torch.nn.functional.normalize(
        torch.randn(count, 16, generator=generator)
    )


def test_the_picture_comes_to_show_the_context() -> None:
    latents, wanted = asked()
    cosines = [(embed(decode(latents)[:, :, 8:120, 8:120]) * wanted).sum(1)]
    for steps in (4, 16):
        moved = refined(latents, wanted, decode, Refinement(embed, steps, size=0.1))
        cosines.append((embed(decode(moved)[:, :, 8:120, 8:120]) * wanted).sum(1))
        length = (moved - latents).flatten(1).norm(dim=1)
        assert (length <= steps * 0.1 * math.sqrt(256) + 1e-4).all(), "a step is 0.1 in the root of the mean square"
    assert (cosines[1] > cosines[0] + 0.2).all()
    assert (cosines[2] > cosines[1]).all()


def test_every_picture_is_moved_for_itself_and_always_alike() -> None:
    latents, wanted = asked()
    refinement = Refinement(embed, 5)
    together = refined(latents, wanted, decode, refinement)
    for row in range(3):
        alone = refined(latents[row : row + 1], wanted[row : row + 1], decode, refinement)
        torch.testing.assert_close(alone, together[row : row + 1])
    assert torch.equal(refined(latents, wanted, decode, refinement), together)


def test_a_picture_without_a_gradient_stays() -> None:
    latents, wanted = asked()
    still = refined(latents, torch.zeros_like(wanted), decode, Refinement(embed, 2))
    assert torch.equal(still, latents)
    with pytest.raises(ConfigError, match="gives no gradient"):
        refined(latents, wanted, lambda x: decode(x).detach(), Refinement(embed, 2))


@pytest.mark.parametrize("steps", [0, -1, 51])
def test_steps_out_of_range(steps: int) -> None:
    with pytest.raises(ConfigError, match="steps of refinement must lie in"):
        Refinement(embed, steps)


def test_a_generator_refines_its_pictures() -> None:
    generator = tiny_generator()
    wanted = torch.nn.functional.normalize(torch.randn(2, 16, generator=torch.Generator().manual_seed(1)))
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    refinement = Refinement(embed, 8, size=0.1)
    plain = generator.sample(wanted, noise, steps=2)
    moved = generator.sample(wanted, noise, steps=2, refinement=refinement)
    before, after = ((embed(x[:, :, 8:120, 8:120]) * wanted).sum(1) for x in (plain, moved))
    assert (after > before + 0.05).all()
    assert all(weights.grad is None for weights in generator.parameters())
