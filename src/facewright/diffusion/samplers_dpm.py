"""DPM-Solver++, multistep of order 1 to 3 and singlestep of order 2 (Lu et al. 2022, "DPM-Solver++").

Both integrate the estimate of the clean picture exactly over half the log signal-to-noise ratio and differ in where
they take its derivatives from: multistep from the steps before, singlestep from the middle of a step. Both call the
network once a time, so runs of equal length cost the same. Order 1 is DDIM.

Order 3 counts the whole second derivative of the clean estimate, as Taylor's expansion has it, so that a step is exact
where the estimate is a parabola. The authors' code, and diffusers and k-diffusion after it, count half of it.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence

from torch import Tensor

from facewright.diffusion.samplers import Predict
from facewright.diffusion.schedules import Levels, levels
from facewright.errors import ConfigError


def dpm_solver(
    predict: Predict,
    x: Tensor,
    alpha_bars: Tensor,
    times: Sequence[int],
    *,
    order: int = 2,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Denoise x by multistep DPM-Solver++ (Lu et al. 2022, Algorithm 2 for order 2).

    The first steps have the order that the steps before them allow, the last ones a falling order that ends with 1,
    because the step to no noise is infinitely long in the log signal-to-noise ratio.

    Args:
        predict: the noise estimate.
        x: unit normal noise, any shape.
        alpha_bars: (T,).
        times: time indices of the calls, falling (`schedules.sampling_times`).
        order: 1, 2 or 3.
        on_step: sees x after every step.
    """
    if order not in (1, 2, 3):
        raise ConfigError(f"order must be 1, 2 or 3, got {order}")
    run = levels(alpha_bars, times)
    steps = len(run.times)
    cleans: deque[Tensor] = deque(maxlen=order)  # newest first
    for k in range(steps):
        cleans.appendleft(clean_estimate(predict, x, run, k))
        x = _step(x, list(cleans)[: steps - k], run, k, k + 1)
        if on_step is not None:
            on_step(x)
    return x


def dpm_solver_single(
    predict: Predict,
    x: Tensor,
    alpha_bars: Tensor,
    times: Sequence[int],
    *,
    on_step: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Denoise x by singlestep DPM-Solver++ of order 2 (Lu et al. 2022, Algorithm 1).

    A step spans two times and takes its derivative at the second. The last one or two times have a step of order 1
    each, so that the step to no noise does.

    Args:
        predict, x, alpha_bars, times: as of `dpm_solver`.
        on_step: sees x after every call of the network.
    """
    run = levels(alpha_bars, times)
    begin, first = x, x  # state and clean estimate at the start of a step that spans two times
    for k in range(len(run.times)):
        clean = clean_estimate(predict, x, run, k)
        if k % 2 and k + 1 < len(run.times):
            x = _midpoint(begin, first, clean, run, k)
        else:
            begin, first = x, clean
            x = _step(x, [clean], run, k, k + 1)
        if on_step is not None:
            on_step(x)
    return x


def clean_estimate(predict: Predict, x: Tensor, run: Levels, k: int) -> Tensor:
    """What the noise estimate at level k says of the clean picture."""
    return (x - run.noise[k] * predict(x, run.times[k])) / run.signal[k]


def _step(x: Tensor, cleans: Sequence[Tensor], run: Levels, now: int, to: int) -> Tensor:
    """From level `now` to level `to` by Taylor's expansion of the clean estimate, of as many terms as estimates."""
    length = run.log_snr[to] - run.log_snr[now]
    decay = math.expm1(-length)
    x = run.noise[to] / run.noise[now] * x - run.signal[to] * decay * cleans[0]
    if len(cleans) == 1:
        return x
    before = (run.log_snr[now] - run.log_snr[now - 1]) / length
    slope = (cleans[0] - cleans[1]) / before
    if len(cleans) == 2:
        return x - 0.5 * run.signal[to] * decay * slope
    earlier = (run.log_snr[now - 1] - run.log_snr[now - 2]) / length
    earlier_slope = (cleans[1] - cleans[2]) / earlier
    bend = (slope - earlier_slope) / (before + earlier)
    slope = slope + before * bend
    linear = decay / length + 1
    return x + run.signal[to] * (linear * slope - (2 * linear / length - 1) * bend)


def _midpoint(begin: Tensor, first: Tensor, second: Tensor, run: Levels, k: int) -> Tensor:
    """From level k - 1 to level k + 1, the state and clean estimate at k - 1 being `begin` and `first`."""
    length = run.log_snr[k + 1] - run.log_snr[k - 1]
    share = (run.log_snr[k] - run.log_snr[k - 1]) / length
    clean = first + (second - first) / (2 * share)
    return run.noise[k + 1] / run.noise[k - 1] * begin - run.signal[k + 1] * math.expm1(-length) * clean
