"""The endless order of samples."""

import pytest
import torch

from facewright.training.shuffle import EndlessShuffle


def test_every_epoch_is_a_fresh_permutation() -> None:
    epochs = EndlessShuffle(7, seed=1).take(0, 21).reshape(3, 7)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(7))
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize("batch", [1, 3, 7, 20])
def test_any_start_and_batch_see_the_same_order(batch: int) -> None:
    whole = EndlessShuffle(7, seed=1).take(0, 60)
    order = EndlessShuffle(7, seed=1)
    assert torch.equal(torch.cat([order.take(start, batch) for start in range(0, 60, batch)])[:60], whole)
    assert torch.equal(EndlessShuffle(7, seed=1).take(33, 20), whole[33:53])


def test_seeds_differ_and_an_empty_set_is_refused() -> None:
    assert not torch.equal(EndlessShuffle(50, seed=1).take(0, 50), EndlessShuffle(50, seed=2).take(0, 50))
    with pytest.raises(ValueError, match="empty"):
        EndlessShuffle(0, seed=0)
