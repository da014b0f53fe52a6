import numpy as np
import torch

from facewright.synthesis import image_seed, start_noise, step_noise


def test_noise_is_of_the_image_alone() -> None:
    seeds = [image_seed(0, name, index) for name in ("anna", "bo") for index in range(3)]
    together = start_noise(seeds, (4, 16, 16))
    assert together.shape == (6, 4, 16, 16)
    assert together.dtype == torch.float32
    for row, seed in enumerate(seeds):
        assert torch.equal(start_noise([seed], (4, 16, 16))[0], together[row])
    assert torch.equal(start_noise(seeds[::-1], (4, 16, 16)), together.flip(0))


def test_seeds_differ_by_each_part() -> None:
    seeds = {
        image_seed(*parts) for parts in ((0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "1", 1), (0, "11", 0))
    }
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_high_bits_of_a_seed_count() -> None:
    assert not torch.equal(start_noise([5], (2, 8, 8)), start_noise([5 + 2**32], (2, 8, 8)))


def test_noise_is_unit_gaussian_and_independent() -> None:
    seeds = [image_seed(3, f"{name:06d}", index) for name in range(40) for index in range(5)]
    noise = start_noise(seeds, (4, 16, 16)).flatten(1).double()
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 / np.sqrt(count)
    assert abs(float(noise.var()) - 1) < 5 * np.sqrt(2 / count)
    between = np.corrcoef(noise.numpy())[np.triu_indices(len(seeds), 1)]
    assert np.abs(between).max() < 6 / np.sqrt(noise.shape[1])


def test_step_noise_changes_with_the_step_and_not_with_the_batch() -> None:
    seeds = [image_seed(0, "a", index) for index in range(3)]
    draw = step_noise(seeds, (2, 4, 4))
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert not torch.equal(draw(0), start_noise(seeds, (2, 4, 4)))
    assert torch.equal(step_noise(seeds[1:2], (2, 4, 4))(1)[0], draw(1)[1])
