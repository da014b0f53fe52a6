"""Muon: orthogonal updates of matrices, AdamW for the rest."""

import pytest
import torch
from torch import nn

from facewright.training.muon import RMS, Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = orthogonalise(matrix).float()
    assert made.shape == shape
    values = torch.linalg.svdvals(made)
    assert float(values.min()) > 0.4
    assert float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert float((made * (left @ right)).sum()) > 0.7 * min(shape), "the nearest orthogonal matrix points the same way"
    assert torch.allclose(orthogonalise(100 * matrix).float(), made, atol=0.05), "length does not matter"


def test_vectors_follow_adamw() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    mine = Muon([{"params": [ours], "weight_decay": 0.1}], lr=0.01, betas=(0.9, 0.99))
    adam = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(5, generator=generator)
        for parameter, optimiser in ((ours, mine), (theirs, adam)):
            parameter.grad = gradient.clone()
            optimiser.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_kernels_move_by_the_usual_size_whatever_the_gradient() -> None:
    for size in (1e-3, 1e3):
        kernel = nn.Parameter(torch.zeros(16, 8, 3, 3))
        optimiser = Muon([{"params": [kernel], "orthogonal": True}], lr=0.01, betas=(0.9, 0.99))
        kernel.grad = size * torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
        optimiser.step()
        assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.01 * RMS, rel=0.3)
