"""UniPC: a predictor and a corrector of one order, with no further call of the network (Zhao et al. 2023)."""

import math
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from facewright.diffusion.samplers import Predict
from facewright.diffusion.samplers_dpm import clean_estimate
from facewright.diffusion.schedules import Levels, levels
from facewright.errors import ConfigError


def unipc(
    predict: Predict,
    x: Tensor,
    alpha_bars: Tensor,
    times: Sequence[int],
    *,
    order: int = 2,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Denoise x by UniPC in its B2(h) form on clean estimates (Zhao et al. 2023, Algorithms 1 and 2).

    The call of the network at the end of a predicted step also corrects that step, which raises its order by one. The
    orders of the first and last steps are as of `samplers_dpm.dpm_solver`.

    Args:
        predict: the noise estimate.
        x: unit normal noise, any shape.
        alpha_bars: (T,).
        times: time indices of the calls, falling (`schedules.sampling_times`).
        order: of the predictor, 1, 2 or 3.
        on_step: sees the predicted x after every step.
    """
    if order not in (1, 2, 3):
        raise ConfigError(f"order must be 1, 2 or 3, got {order}")
    run = levels(alpha_bars, times)
    steps = len(run.times)
    cleans: deque[Tensor] = deque(maxlen=order)  # newest first, of the levels before k
    start = x  # corrected state at level k - 1
    for k in range(steps):
        clean = clean_estimate(predict, x, run, k)
        if k > 0:
            known = list(cleans)[: steps - k + 1]
            x = _step(start, known, run, k - 1, corrected=clean)
        cleans.appendleft(clean)
        start = x
        x = _step(x, list(cleans)[: steps - k], run, k)
        if on_step is not None:
            on_step(x)
    return x


def _step(x: Tensor, cleans: Sequence[Tensor], run: Levels, now: int, *, corrected: Tensor | None = None) -> Tensor:
    """From level `now` to the next one.

    Args:
        x: at level `now`.
        cleans: clean estimates at levels now, now - 1, ...; their number is the order of the step.
        run: the levels.
        now: a level.
        corrected: the clean estimate at the next level, which makes this the corrector.
    """
    length = run.log_snr[now + 1] - run.log_snr[now]
    decay = math.expm1(-length)
    scale = run.signal[now + 1] * decay
    x = run.noise[now + 1] / run.noise[now] * x - scale * cleans[0]
    places = [(run.log_snr[now - m] - run.log_snr[now]) / length for m in range(1, len(cleans))]
    differences = [clean - cleans[0] for clean in cleans[1:]]
    if corrected is not None:
        places.append(1.0)
        differences.append(corrected - cleans[0])
    for weight, place, difference in zip(_weights(places, length), places, differences, strict=True):
        x = x - scale * weight / place * difference
    return x


def _weights(places: Sequence[float], length: float) -> list[float]:
    """The coefficients a of Theorem 3.1: R(places) a = phi / B(h), with B(h) = exp(-h) - 1 for clean estimates.

    A single coefficient is 1/2, as the paper and its code set it, which keeps the order.
    """
    if len(places) < 2:
        return [0.5] * len(places)
    growth = math.expm1(-length)
    value, factorial = growth / -length - 1, 1.0
    right = []
    for power in range(1, len(places) + 1):
        factorial *= power
        right.append(value * factorial / growth)
        value = value / -length - 1 / (factorial * (power + 1))
    rows = np.vander(np.array(places), increasing=True).T
    return [float(weight) for weight in np.linalg.solve(rows, np.array(right))]
