"""Every sampler against its diffusers counterpart, where that library is installed.

DPM-Solver++ of order 3 is left out: diffusers counts half of the second derivative (see `samplers_dpm`).
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from facewright.diffusion import (
    SamplerConfig,
    alpha_bars,
    dpm_solver,
    dpm_solver_single,
    linear_betas,
    run_sampler,
    unipc,
)

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers

BETAS = linear_betas(1000)
BARS = alpha_bars(BETAS)
COMMON = {"trained_betas": BETAS.float().numpy(), "prediction_type": "epsilon"}


def curved(x: Tensor, time: int) -> Tensor:
    """Some noise estimate that no order solves exactly."""
    return torch.tanh(x) * float((1 - BARS[time]).sqrt()) + 0.1 * x.flip(0)


def start() -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def run(scheduler: Any, steps: int) -> Tensor:
    scheduler.set_timesteps(steps)
    x = start()
    for time in scheduler.timesteps:
        estimate = curved(scheduler.scale_model_input(x, time), int(time))
        x = scheduler.step(estimate, time, x).prev_sample
    return x


@pytest.mark.parametrize(
    ("solver", "kind", "options"),
    [
        (dpm_solver, "DPMSolverMultistepScheduler", {"solver_order": 2}),
        (unipc, "UniPCMultistepScheduler", {"solver_order": 2}),
        (partial(unipc, order=3), "UniPCMultistepScheduler", {"solver_order": 3}),
        (dpm_solver_single, "DPMSolverSinglestepScheduler", {"solver_order": 2, "lower_order_final": True}),
    ],
    ids=["2m", "unipc2", "unipc3", "2s"],
)
@pytest.mark.parametrize("steps", [5, 10])
def test_solvers(solver: Any, kind: str, options: dict[str, Any], steps: int) -> None:
    scheduler = getattr(diffusers, kind)(**COMMON, final_sigmas_type="zero", **options)
    expected = run(scheduler, steps)
    times = tuple(int(time) for time in scheduler.timesteps)
    assert len(times) == steps
    assert torch.allclose(solver(curved, start(), BARS, times), expected, atol=2e-5)


def test_euler() -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**COMMON, timestep_spacing="trailing")
    scheduler.set_timesteps(8)
    top = float(scheduler.sigmas[0])
    x = start() * (top**2 + 1) ** 0.5
    for time in scheduler.timesteps:
        x = scheduler.step(curved(scheduler.scale_model_input(x, time), int(time)), time, x).prev_sample
    ours = run_sampler(SamplerConfig("euler", steps=8, spacing="trailing"), curved, start(), BETAS)
    assert torch.allclose(ours, x, atol=2e-4)


def test_ddim_with_the_stride_of_the_public_code() -> None:
    scheduler = diffusers.DDIMScheduler(**COMMON, timestep_spacing="leading", clip_sample=False, set_alpha_to_one=True)
    ours = run_sampler(SamplerConfig("ddim", steps=10), curved, start(), BETAS)
    assert torch.allclose(ours, run(scheduler, 10), atol=2e-5)
