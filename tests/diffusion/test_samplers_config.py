"""One record settles a run: what it accepts, how it is written, and that every name samples."""

import json

import pytest
import torch
from torch import Tensor

from facewright.diffusion import SAMPLERS, SamplerConfig, alpha_bars, linear_betas, run_sampler, sampler_config
from facewright.diffusion.samplers import ancestral, ddim, ddim_plan
from facewright.errors import ConfigError

BETAS = linear_betas(1000)
BARS = alpha_bars(BETAS)
SPREAD = 0.5


def gaussian(x: Tensor, time: int) -> Tensor:
    bar = float(BARS[time])
    return x * (1 - bar) ** 0.5 / (bar * SPREAD**2 + 1 - bar)


def draws(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2000, generator=generator, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_the_spread_of_the_data(sampler: str) -> None:
    start, *noise = draws(51)
    made = run_sampler(SamplerConfig(sampler, steps=50), gaussian, start, BETAS, step_noise=noise.__getitem__)
    # Solvers of first order lose some of the spread, ancestral steps of variance beta add some.
    # lcm takes a mean for the picture again and again, which a distilled denoiser's is.
    known = {"ddim": (0.06, 0.0), "eule": (0.07, 0.0), "ddpm": (0.0, 0.06), "lcm": (0.15, 0.0)}
    lost, added = known.get(sampler[:4], (0.01, 0.01))
    lost += 0.03 if "published" in sampler else 0.0
    assert SPREAD - lost - 0.02 < float(made.std() / start.std()) < SPREAD + added + 0.02
    assert abs(float(made.mean())) < 0.03


@pytest.mark.parametrize("sampler", ["ddpm", "euler-ancestral"])
def test_ancestral_samplers_on_a_subset_come_nearer_with_more_steps(sampler: str) -> None:
    errors = []
    for steps in (5, 20, 100):
        start, *noise = draws(steps + 1)
        made = run_sampler(SamplerConfig(sampler, steps=steps), gaussian, start, BETAS, step_noise=noise.__getitem__)
        errors.append(abs(float(made.std()) - SPREAD))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_names_are_the_functions_they_stand_for() -> None:
    start, *noise = draws(1001)
    draw = noise.__getitem__
    for name, variant in (("ddim", "exact"), ("ddim-published", "published")):
        made = run_sampler(SamplerConfig(name, steps=20), gaussian, start, BETAS)
        assert torch.equal(made, ddim(gaussian, start, ddim_plan(BARS, 20, variant=variant)))
        made = run_sampler(SamplerConfig(name, steps=20, eta=0.5), gaussian, start, BETAS, step_noise=draw)
        assert torch.equal(made, ddim(gaussian, start, ddim_plan(BARS, 20, eta=0.5, variant=variant), noise=draw))
    for name, variant in (("ddpm", "exact"), ("ddpm-published", "published")):
        made = run_sampler(
            SamplerConfig(name, steps=1000), gaussian, start[:9], BETAS, step_noise=lambda k: noise[k][:9]
        )
        expected = ancestral(gaussian, start[:9], BETAS, noise=lambda k: noise[k][:9], variant=variant)
        assert torch.equal(made, expected)
    euler = run_sampler(SamplerConfig("euler", steps=20, spacing="stride"), gaussian, start, BETAS)
    assert torch.equal(euler, run_sampler(SamplerConfig("ddim", steps=20), gaussian, start, BETAS))
    spaced = SamplerConfig("ddim", steps=20, spacing="trailing", eta=1.0)
    one = run_sampler(spaced, gaussian, start, BETAS, step_noise=draw)
    assert torch.equal(one, run_sampler(SamplerConfig("euler-ancestral", 20), gaussian, start, BETAS, step_noise=draw))


def test_a_record_holds_what_differs_and_is_read_back() -> None:
    assert SamplerConfig().record() == {"sampler": "ddim", "steps": 25, "guidance": 1.0}
    config = SamplerConfig("unipc", 16, 1.5, spacing="karras", guidance_interval=(0.1, 0.8), identity_from=0.7)
    record = json.loads(json.dumps({**config.record(), "seed": 3}))
    assert record["guidance_interval"] == [0.1, 0.8]
    assert "eta" not in record
    assert SamplerConfig.from_record(record) == config


def test_a_call_means_one_config() -> None:
    assert sampler_config("unipc", steps=8) == SamplerConfig("unipc", 8)
    assert sampler_config("ddim", guidance=2.0) == SamplerConfig(guidance=2.0)
    config = SamplerConfig("dpmpp-2m", 9)
    assert sampler_config(config) is config
    with pytest.raises(ConfigError, match="has its own steps and guidance"):
        sampler_config(config, steps=9)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": "heun"}, "unknown sampler 'heun'; known: ddim, "),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"spacing": "even"}, "unknown spacing 'even'; known: stride, "),
        ({"eta": 1.5}, r"eta must be in \[0, 1\]"),
        ({"sampler": "unipc", "eta": 0.5}, "eta belongs to ddim, sampler unipc has none"),
        ({"guidance": float("nan")}, "guidance must be a finite number"),
        ({"guidance_interval": (0.5, 0.4)}, "two shares of time"),
        ({"identity_from": 0.0}, "identity_from must be a share"),
    ],
)
def test_what_cannot_be_sampled_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SamplerConfig(**settings)  # type: ignore[arg-type]


def test_noise_on_the_way_has_to_be_given() -> None:
    for config in (SamplerConfig("ddpm"), SamplerConfig("euler-ancestral"), SamplerConfig(eta=0.2)):
        with pytest.raises(ConfigError, match="needs step_noise"):
            run_sampler(config, gaussian, torch.zeros(3), BETAS)
