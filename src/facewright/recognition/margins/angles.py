"""Angles added to cosines without leaving cosines, with gradients that stay finite at 1 and -1."""

import math
from typing import Literal

import torch
from torch import Tensor

EPSILON = 1e-7  # of a squared sine: keeps the gradient of its root finite at a cosine of 1

Beyond = Literal["linear", "easy", "none"]
BEYOND: tuple[Beyond, ...] = ("linear", "easy", "none")

Gradient = Literal["exact", "straight-through"]
GRADIENTS: tuple[Gradient, ...] = ("exact", "straight-through")


def sine_of(cosine: Tensor) -> Tensor:
    """Sine of the angle in [0, pi] that has this cosine."""
    return (1.0 - cosine.square()).clamp_min(EPSILON).sqrt()


def angle_of(cosine: Tensor) -> Tensor:
    """The angle in [0, pi] that has this cosine."""
    return torch.atan2(sine_of(cosine), cosine)


def add_angle(cosine: Tensor, angle: float | Tensor, *, beyond: Beyond) -> Tensor:
    """cos(theta + angle) where cosine = cos(theta).

    Args:
        cosine: any shape, in [-1, 1].
        angle: radians, one for all or one each.
        beyond: what to do past theta + angle = pi, where the cosine would rise again. "linear": fall on as
            cosine - angle * sin(angle), as the papers' code and TFace do; "none": let it rise, as arcface_torch and
            ElasticFace do; "easy": add the angle only to positive cosines and leave the others as they are.
    """
    cos_angle = angle.cos() if isinstance(angle, Tensor) else math.cos(angle)
    sin_angle = angle.sin() if isinstance(angle, Tensor) else math.sin(angle)
    moved = cosine * cos_angle - sine_of(cosine) * sin_angle
    if beyond == "linear":
        return torch.where(cosine > -cos_angle, moved, cosine - angle * sin_angle)
    if beyond == "easy":
        return torch.where(cosine > 0, moved, cosine)
    return moved


def straight_through(value: Tensor, cosine: Tensor) -> Tensor:
    """`value`, with the gradient of `cosine`: the margin lies outside the graph, as in the published trainers."""
    return cosine + (value - cosine).detach()
