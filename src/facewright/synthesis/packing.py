"""Identities packed on the sphere: the smallest angle between two made as large as it will go (HyperFace)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.embeddings import Embeddings
from facewright.errors import ConfigError, InputError
from facewright.synthesis.contexts import check_count, numbered
from facewright.synthesis.statistics import EmbeddingStatistics
from facewright.training.seeds import seed_of

TEMPERATURES = (0.1, 0.005)
"""Of the smooth maximum, at the first and the last iteration, in units of the cosine."""

STEP = 0.3
"""Length of the first step of each point, in radians about; it falls to zero as half a cosine."""


def packed_contexts(
    count: int,
    *,
    seed: int,
    width: int = 512,
    like: EmbeddingStatistics | None = None,
    gallery: Embeddings | None = None,
    pull: float = 0.5,
    iterations: int = 200,
    chunk: int = 1024,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Spread identities as far apart as possible (HyperFace, Shahreza and Marcel 2025, Eq. 2 to 5).

    Gradient descent lowers the largest cosine between two identities, smoothed as t log sum exp(cosine / t) over all
    pairs with a temperature t that falls, and keeps every point on the sphere. The best arrangement met is returned.

    Three ways to stay where faces are:
    - none: the whole sphere; 512-d identities end near a right angle to each other, far from real embeddings.
    - `like`: points move on the shell of the fitted Gaussian that typical draws lie on, normalised. All packed
      identities are as probable as a typical draw.
    - `gallery`: HyperFace's own: start at embeddings of (synthetic) faces, and add `pull` times the mean of
      1 - cosine to the nearest of them.

    Args:
        count: N.
        seed: of the start.
        width: D, where neither `like` nor `gallery` says it.
        like: statistics of real embeddings.
        gallery: at least N embeddings.
        pull: HyperFace's alpha, at least 0; only with `gallery`.
        iterations: at least 1; each costs about 4 N^2 D multiplications.
        chunk: rows compared with all others at a time; memory is chunk * N * 8 bytes.
        device: where to compute.
        progress: called with (iterations done, iterations).

    Returns:
        Embeddings named "000000" and on. The provenance tells the smallest angle at the start and at the end, radians.
    """
    check_count(count)
    if iterations < 1 or chunk < 1:
        raise ConfigError(f"iterations and chunk must be at least 1, got {iterations} and {chunk}")
    if not (math.isfinite(pull) and pull >= 0):
        raise ConfigError(f"pull must be at least 0, got {pull}")
    if like is not None and gallery is not None:
        raise ConfigError("pack either like statistics or near a gallery; give one of the two")
    if gallery is not None and len(gallery) < count:
        raise InputError(f"packing {count} identities needs a gallery of as many embeddings, got {len(gallery)}")
    width = like.width if like is not None else gallery.embeddings.shape[1] if gallery is not None else width
    if width < 2:
        raise ConfigError(f"contexts must be at least 2 wide, got {width}")
    random = np.random.default_rng(seed_of("packed contexts", seed))
    near = None if gallery is None else torch.from_numpy(gallery.embeddings).to(device)
    if gallery is None:
        start = random.standard_normal((count, width)).astype(np.float32)
    else:
        start = gallery.embeddings[np.sort(random.permutation(len(gallery))[:count])]
    place = (lambda points: points) if like is None else _shell(like, device)
    descent = _Descent(F.normalize(torch.from_numpy(start).to(device)), place, near, pull, chunk)
    for iteration in range(iterations):
        descent.step(iteration / max(1, iterations - 1))
        if progress is not None:
            progress(iteration + 1, iterations)
    best, largest = descent.finish()
    made_with: Mapping[str, Any] = {}
    if like is not None:
        made_with = asdict(like)
    elif gallery is not None:
        made_with = gallery.provenance
    provenance = {
        "kind": "packed",
        "seed": seed,
        "iterations": iterations,
        "start_min_angle": math.acos(descent.first),
        "min_angle": math.acos(largest),
        "statistics_sha256": None if like is None else like.sha256,
        "gallery_sha256": None if gallery is None else gallery.sha256,
        "pull": None if gallery is None else pull,
        **{key: made_with.get(key) for key in ("encoder", "encoder_sha256", "licence")},
    }
    return Embeddings(numbered(count), best, provenance)


class _Descent:
    """Points on the sphere, moved by Adam whose second moment is one number a point (a step has no preferred axis)."""

    def __init__(
        self,
        points: Tensor,
        place: Callable[[Tensor], Tensor],
        near: Tensor | None,
        pull: float,
        chunk: int,
    ) -> None:
        self.points, self.place, self.near, self.pull, self.chunk = points, place, near, pull, chunk
        self.drift = torch.zeros_like(points)
        self.square = torch.zeros(len(points), 1, device=points.device)
        self.steps = 0
        self.largest = 1.0  # cosine met last
        self.first = -1.0
        self.best: tuple[float, Tensor] | None = None

    def step(self, done: float) -> None:
        """One move; `done` runs from 0 to 1 over the descent."""
        warm, cold = TEMPERATURES
        points = self.points.requires_grad_()
        rows = self.place(points)
        largest, gradient = self._gradient(rows.detach(), warm * (cold / warm) ** done)
        self._remember(largest, rows.detach())
        (slope,) = torch.autograd.grad(rows, points, gradient)
        points = points.detach()
        slope = slope - (slope * points).sum(dim=1, keepdim=True) * points
        self.steps += 1
        self.drift.mul_(0.9).add_(slope, alpha=0.1)
        self.square.mul_(0.99).add_(slope.square().sum(dim=1, keepdim=True), alpha=0.01)
        size = (self.square / (1 - 0.99**self.steps)).sqrt().clamp_min(1e-20)
        move = self.drift / (1 - 0.9**self.steps) / size
        self.points = F.normalize(points - STEP * 0.5 * (1 + math.cos(math.pi * done)) * move)

    def finish(self) -> tuple[np.ndarray, float]:
        """The best arrangement, (N, D) float32, and its largest cosine."""
        rows = self.place(self.points.detach())
        self._remember(self._gradient(rows, TEMPERATURES[1])[0], rows)
        assert self.best is not None
        return F.normalize(self.best[1]).cpu().numpy(), min(max(self.best[0], -1.0), 1.0)

    def _remember(self, largest: float, rows: Tensor) -> None:
        if self.best is None:
            self.first = min(max(largest, -1.0), 1.0)
        if self.best is None or largest < self.best[0]:
            self.best = largest, rows.clone()
        self.largest = largest

    def _gradient(self, rows: Tensor, temperature: float) -> tuple[float, Tensor]:
        """Largest cosine of two rows, and the gradient (N, D) of the smooth one and of the pull."""
        count = len(rows)
        gradient, total, largest = torch.zeros_like(rows), rows.new_zeros(()), rows.new_full((), -1.0)
        for start in range(0, count, self.chunk):
            some = rows[start : start + self.chunk]
            cosines = some @ rows.T
            own = torch.arange(len(some), device=rows.device)
            cosines[own, start + own] = -math.inf
            largest = torch.maximum(largest, cosines.max())
            weights = cosines.sub_(self.largest).div_(temperature).exp_()
            total = total + weights.sum()
            gradient[start : start + len(some)] += weights @ rows
            gradient += weights.T @ some
        gradient /= total.clamp_min(1e-30)
        if self.near is not None and self.pull:
            for start in range(0, count, self.chunk):
                nearest = (rows[start : start + self.chunk] @ self.near.T).argmax(dim=1)
                gradient[start : start + self.chunk] -= self.pull / count * self.near[nearest]
        return float(largest), gradient


def _shell(statistics: EmbeddingStatistics, device: str) -> Callable[[Tensor], Tensor]:
    """Unit points (N, D) to unit embeddings: noise of the length of typical noise, sqrt(D), through the Gaussian."""
    mean, directions, deviations = (
        torch.from_numpy(values).float().to(device)
        for values in (statistics.mean, statistics.directions, statistics.deviations)
    )
    extra = deviations - statistics.residual

    def place(points: Tensor) -> Tensor:
        noise = points * math.sqrt(statistics.width)
        return F.normalize(mean + statistics.residual * noise + ((noise @ directions.T) * extra) @ directions)

    return place
