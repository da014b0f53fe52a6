"""Softmax cross-entropy over classes that are split over processes, with the exact gradient."""

import math
from typing import Any

import torch
from torch import Tensor

from facewright.recognition.heads.processes import Processes
from facewright.recognition.heads.scores import Scores


def split_losses(scores: Scores, processes: Processes) -> Tensor:
    """The loss of each sample over the classes of all processes, (B,), the same on every process."""
    losses: Tensor = _SplitCrossEntropy.apply(  # type: ignore[no-untyped-call]
        scores.logits, scores.columns, processes
    )
    return losses if scores.extra is None else losses + scores.extra


def clamp_losses(losses: Tensor, *, smallest: float = 1e-30) -> Tensor:
    """Cross-entropies as arcface_torch reports them: the probability of the own class counts as at least `smallest`."""
    return losses.clamp_max(-math.log(smallest))


class _SplitCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, columns: Tensor, processes: Processes) -> Tensor:
        highest = processes.max(logits.amax(1))
        shifted = logits - highest[:, None]
        present = columns >= 0
        at = columns.clamp_min(0)[:, None]
        own = processes.sum(torch.where(present, shifted.gather(1, at)[:, 0], 0.0))
        shares = shifted.exp_()
        total = processes.sum(shares.sum(1))
        ctx.save_for_backward(shares.div_(total[:, None]), at, present)
        return total.log() - own

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        probabilities, at, present = ctx.saved_tensors
        upstream = gradients[0][:, None]
        own = torch.where(present[:, None], -upstream, 0.0)
        return (probabilities * upstream).scatter_add_(1, at, own), None, None
