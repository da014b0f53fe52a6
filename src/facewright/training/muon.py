"""Muon: momentum whose update of every matrix is made orthogonal (Jordan et al. 2024; scaling of Liu et al. 2025).

On the small networks and short runs of this project it needs markedly fewer images than AdamW for the same loss
(docs/LOG.md has the figures).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, from the authors
RMS = 0.2  # root mean square that the update of an entry gets, AdamW's usual one


def orthogonalise(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """The nearest matrix with orthonormal rows or columns, roughly: singular values end up in about [0.7, 1.2].

    Args:
        matrix: (R, C), any float type; computed in bfloat16.
        steps: of the Newton-Schulz iteration.
    """
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon on matrices and convolution kernels; AdamW on everything else.

    Args:
        groups: parameter groups; those with `orthogonal=True` are updated by Muon, the others by AdamW.
        lr: learning rate, in AdamW's scale for both.
        momentum: of Muon, with Nesterov's look-ahead.
        betas: of AdamW.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float = 0.95, betas: tuple[float, float]
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": 0.0, "orthogonal": False}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._muon if group["orthogonal"] else self._adam
                parameter.sub_(update(parameter, parameter.grad, group), alpha=group["lr"])

    def _muon(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(grad, 1 - group["momentum"])
        ahead = torch.lerp(grad, average, group["momentum"])
        flat = ahead.reshape(len(ahead), -1)
        update = orthogonalise(flat).to(parameter.dtype) * (RMS * max(flat.shape) ** 0.5)
        return update.view(ahead.shape)

    def _adam(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        low, high = group["betas"]
        first = state["first"].lerp_(grad, 1 - low) / (1 - low ** float(state["step"]))
        second = state["second"].lerp_(grad.square(), 1 - high) / (1 - high ** float(state["step"]))
        return first / (second.sqrt() + 1e-8)
