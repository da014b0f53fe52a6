"""All that settles how a picture is sampled, in one record, and the run it stands for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from facewright.diffusion.consistency import consistency_steps
from facewright.diffusion.guidance import check_guidance
from facewright.diffusion.samplers import Predict, ancestral, ddim, ddim_plan_through
from facewright.diffusion.samplers_dpm import dpm_solver, dpm_solver_single
from facewright.diffusion.samplers_unipc import unipc
from facewright.diffusion.schedules import SPACINGS, alpha_bars, respaced_betas, sampling_times
from facewright.errors import ConfigError

_SPACING = {
    "ddim": "stride",
    "ddim-published": "stride",
    "ddpm": "trailing",
    "ddpm-published": "trailing",
    "euler": "trailing",
    "euler-ancestral": "trailing",
    "dpmpp-2m": "log-snr",
    "dpmpp-3m": "log-snr",
    "dpmpp-2s": "trailing",
    "unipc": "log-snr",
    "lcm": "trailing",
}

SAMPLERS = tuple(_SPACING)
"""ddim; euler, the same on its own spacing; dpmpp-2m, dpmpp-3m and dpmpp-2s, DPM-Solver++; unipc; ddpm and
euler-ancestral, which add noise at every step, of variance beta and of the posterior's; as the public IDiff-Face code
has them, ddim-published and ddpm-published; and lcm, for denoisers that were distilled to a few steps."""


@dataclass(frozen=True)
class SamplerConfig:
    """How pictures are sampled, and all of it: the same record, noise and generator give the same pictures."""

    sampler: str = "ddim"  # one of SAMPLERS
    steps: int = 25  # calls of the network, two contexts counting as one; see spacing "stride"
    guidance: float = 1.0  # weight; 1 is off
    spacing: str | None = None  # of the times, see schedules.sampling_times; None: the sampler's own
    eta: float = 0.0  # noise that ddim adds, 0 (none) ... 1 (as much as euler-ancestral)
    guidance_interval: tuple[float, float] = (0.0, 1.0)  # shares of time, 1 being all noise, where guidance is on
    identity_from: float = 1.0  # share of time where the identity takes over from the empty context
    strength: float = 1.0  # share of time where the run begins, below 1 from a given picture (SDEdit)

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"unknown sampler {self.sampler!r}; known: {', '.join(SAMPLERS)}")
        if self.steps < 1:
            raise ConfigError(f"steps must be at least 1, got {self.steps}")
        if self.spacing is not None and self.spacing not in SPACINGS:
            raise ConfigError(f"unknown spacing {self.spacing!r}; known: {', '.join(SPACINGS)}")
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta must be in [0, 1], got {self.eta}")
        if self.eta > 0 and not self.sampler.startswith("ddim"):
            raise ConfigError(f"eta belongs to ddim, sampler {self.sampler} has none")
        if self.guidance < 0:
            raise ConfigError(f"guidance must be at least 0, got {self.guidance}")
        check_guidance(self.guidance, self.guidance_interval, self.identity_from)
        if not 0 < self.strength <= 1:
            raise ConfigError(f"strength must be above 0 and at most 1, got {self.strength}")
        low, _ = self.guidance_interval
        for what, share in (("guidance_interval", low), ("identity_from", self.identity_from % 1)):
            if self.strength <= share:
                raise ConfigError(f"{what} ends at {share:g} of the time, before strength {self.strength:g} begins")

    @property
    def adds_noise(self) -> bool:
        """Whether the run draws noise on its way."""
        if self.sampler == "lcm":
            return self.steps > 1
        return self.eta > 0 or self.sampler in ("ddpm", "ddpm-published", "euler-ancestral")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values: sampler, steps and guidance, and what differs from its default."""
        default = asdict(SamplerConfig())
        always = ("sampler", "steps", "guidance")
        settings = {key: value for key, value in asdict(self).items() if key in always or value != default[key]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}

    @classmethod
    def from_record(cls, settings: Mapping[str, Any]) -> "SamplerConfig":
        """Read back what `record` wrote, among any other keys, such as those of a set's config.json."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in settings.items() if key in known
        }
        return cls(**values)


def sampler_config(
    sampler: str | SamplerConfig, *, steps: int | None = None, guidance: float | None = None
) -> SamplerConfig:
    """The config that a call means: a whole one, or a sampler's name with steps and guidance (None: the default)."""
    if isinstance(sampler, SamplerConfig):
        if steps is not None or guidance is not None:
            raise ConfigError("a SamplerConfig has its own steps and guidance: give them there alone")
        return sampler
    given: dict[str, Any] = {"steps": steps, "guidance": guidance}
    return SamplerConfig(sampler, **{key: value for key, value in given.items() if value is not None})


def run_sampler(
    config: SamplerConfig,
    predict: Predict,
    x: Tensor,
    betas: Tensor,
    *,
    step_noise: Callable[[int], Tensor] | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Denoise x as the config says.

    Args:
        config: the sampler and its times; guidance is the business of `predict`.
        predict: the noise estimate.
        x: unit normal noise, any shape.
        betas: (T,).
        step_noise: unit normal noise of the shape of x, by the number of the draw; samplers that add none ignore it.
        start: a clean x to begin from, where the config's strength is below 1.
    """
    if step_noise is None and config.adds_noise:
        raise ConfigError(f"sampler {config.sampler} needs step_noise where it adds noise on the way")
    bars = alpha_bars(betas)
    times = sampling_times(bars, config.steps, spacing=config.spacing or _SPACING[config.sampler])
    if config.strength < 1:
        times = tuple(time for time in times if time < config.strength * len(bars))
        x = _begun(x, start, bars, times, config)
    elif start is not None:
        raise ConfigError("strength 1 leaves nothing of what is begun from; set it below 1, such as 0.25")
    name = config.sampler.removesuffix("-published")
    variant = "exact" if name == config.sampler else "published"
    if name == "ddpm" and step_noise is not None:
        rising = times[::-1]
        return ancestral(
            lambda x, k: predict(x, rising[k]), x, respaced_betas(betas, times), noise=step_noise, variant=variant
        )
    if name == "dpmpp-2s":
        return dpm_solver_single(predict, x, bars, times)
    if name == "lcm":
        return consistency_steps(predict, x, bars, times, noise=step_noise)
    if name == "unipc":
        return unipc(predict, x, bars, times)
    if name.startswith("dpmpp"):
        return dpm_solver(predict, x, bars, times, order=3 if name == "dpmpp-3m" else 2)
    eta = 1.0 if name == "euler-ancestral" else config.eta
    return ddim(predict, x, ddim_plan_through(bars, times, eta=eta, variant=variant), noise=step_noise)


def _begun(noise: Tensor, start: Tensor | None, bars: Tensor, times: Sequence[int], config: SamplerConfig) -> Tensor:
    """The given start with as much noise as there is at the first of the times that are left."""
    if start is None:
        raise ConfigError(f"strength {config.strength:g} begins from a given picture, and none is given")
    if not times:
        raise ConfigError(
            f"strength {config.strength:g} leaves none of the {config.steps} steps; raise it, or take more steps"
        )
    bar = float(bars[times[0]])
    return bar**0.5 * start + (1 - bar) ** 0.5 * noise
