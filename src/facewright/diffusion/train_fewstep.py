"""Distil a denoiser to one that makes pictures in a few steps (latent consistency distillation)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facewright.diffusion.consistency import consistency_target, pseudo_huber, skip_plan
from facewright.diffusion.denoising import check_identity_term, clean_of, guided_output, masked_mean, noised
from facewright.diffusion.generator import DiffusionConfig
from facewright.diffusion.latents import LatentBatches, LatentCache
from facewright.diffusion.samplers_config import SamplerConfig
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.diffusion.unet import ConditionalUNet, unet_with
from facewright.errors import ConfigError
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Schedule, Trainer

VALIDATION_FACES = 256


@dataclass(frozen=True)
class FewStepTraining:
    """How a denoiser is distilled to a few steps."""

    schedule: Schedule
    steps: int = 4  # that the card will advise
    phases: int = 1  # 1: a consistency model, sampled by lcm; as many as steps: each goes to an end of its own, by ddim
    skips: int = 40  # steps of the teacher from noise to picture; a multiple of the steps
    guidance: float = 1.0  # of the teacher, folded into the student
    target_decay: float = 0.95  # of the average of the student's weights that it follows
    huber: float = 0.001  # below this an error counts by its square; 0: always
    identity_weight: float = 0.0  # of the identity term, as of GeneratorTraining; 0: none
    identity_share: float = 0.25  # share of the samples that have it

    def __post_init__(self) -> None:
        if self.steps < 1 or self.skips % self.steps:
            raise ConfigError(f"skips must be a multiple of the steps, got {self.skips} and {self.steps}")
        if self.phases not in (1, self.steps):
            raise ConfigError(f"phases must be 1, or as many as the {self.steps} steps, got {self.phases}")
        if not 0 <= self.target_decay < 1 or self.huber < 0:
            raise ConfigError(
                f"target_decay must be in [0, 1) and huber at least 0, got {self.target_decay} and {self.huber}"
            )
        check_identity_term(self.identity_weight, self.identity_share)
        if self.schedule.ema_maximum is None:
            raise ConfigError("a few-step denoiser is the average of its weights; set schedule.ema_maximum")

    def sampling(self) -> SamplerConfig:
        """How the student is sampled: lcm, or DDIM from the start of each phase to its end."""
        if self.phases == 1:
            return SamplerConfig("lcm", self.steps)
        return SamplerConfig("ddim", self.steps, spacing="trailing")


def train_fewstep(
    cache: LatentCache,
    teacher: ConditionalUNet,
    diffusion: DiffusionConfig,
    config: FewStepTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    on_save: Callable[[ConditionalUNet], None] | None = None,
    identify: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    measure: Callable[[ConditionalUNet, int], Mapping[str, float]] | None = None,
    start: ConditionalUNet | None = None,
) -> ConditionalUNet:
    """Distil; the same call again resumes.

    The student begins as the teacher, or as an earlier student, `start`. At a noisy latent it shall name the same clean
    one as its average does one step further on, where the teacher's guided DDIM step led
    (`consistency.consistency_target`; Luo et al. 2023, "Latent consistency models", Eq. 15 with a fixed weight of
    guidance). The error counts by its pseudo-Huber distance where the picture is real. The identity term is
    `train_generator`'s. `metrics.jsonl` also gets the same error at the first step, from noise, on held-out people.

    Args:
        cache: latents and embeddings of every face.
        teacher: the denoiser; frozen here.
        diffusion: its noise levels and target.
        config: the recipe.
        out, device, progress, settings, on_save, identify, measure: as of `train_generator`.
        start: a student of the same sizes to go on from; None: the teacher.

    Returns:
        The student with its averaged weights, in eval mode.
    """
    if config.identity_weight > 0 and identify is None:
        raise ConfigError("identity_weight is above 0, and there is no encoder to judge identities by")
    if teacher.config.context_inputs is None and (config.guidance != 1 or config.identity_weight > 0):
        raise ConfigError("the teacher knows no identities; set guidance to 1 and identity_weight to 0")
    cache.check_fits(channels=teacher.config.channels, context_inputs=teacher.config.context_inputs)
    network_config = replace(teacher.config, partial_dropout=0.0)  # the student sees the whole context, as in use
    if start is not None and replace(start.config, partial_dropout=0.0) != network_config:
        raise ConfigError("the student to go on from has other sizes than the teacher; name one distilled from it")
    student = unet_with(network_config, (teacher if start is None else start).state_dict())
    teacher = unet_with(teacher.config, teacher.state_dict()).to(device).requires_grad_(requires_grad=False)
    schedule = config.schedule
    if config.target_decay not in schedule.ema_more:
        schedule = replace(schedule, ema_more=(*schedule.ema_more, config.target_decay))
    trainer = Trainer(student, schedule, out=out, device=device, config={"kind": "fewstep", **(settings or {})})
    follower = unet_with(network_config, trainer.averaged(config.target_decay)).to(device)
    follower.load_state_dict(trainer.averaged(config.target_decay), assign=True)  # its weights are the average itself
    follower.requires_grad_(requires_grad=False)
    table = alpha_bars(linear_betas(diffusion.timesteps))
    plan = skip_plan(table, steps=config.skips, phases=config.phases)
    faces = LatentBatches(cache, device)

    def estimate(network: ConditionalUNet, x: Tensor, times: Tensor, bars: Tensor, context: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return clean_of(diffusion.target, network(x, times, context).float(), x, bars)

    def error(
        network: ConditionalUNet, rows: Tensor, view: Tensor, skip: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean pseudo-Huber error, and the student's clean estimates."""
        levels = (plan.bars, plan.next_bars, plan.end_bars)
        bars, next_bars, end_bars = (level[skip].float().view(-1, 1, 1, 1).to(device) for level in levels)
        times, next_times = plan.times[skip].to(device), plan.next_times[skip].to(device)
        context = faces.contexts(rows, view)
        x = faces.to_device(noised(faces.clean(rows, view), noise, plan.bars[skip].float().view(-1, 1, 1, 1)))

        def led(x: Tensor) -> Tensor:
            output = guided_output(teacher, x, times, context, weight=config.guidance)
            return clean_of(diffusion.target, output, x, bars)

        with torch.no_grad():
            wanted = consistency_target(
                led, lambda x: estimate(follower, x, next_times, next_bars, context), x, bars, next_bars, end_bars
            )
        guess = estimate(network, x, times, bars, context)
        return masked_mean(pseudo_huber(guess - wanted, width=config.huber), faces.mask(rows, view)), guess

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        rows, count = faces.trained[indices], len(indices)
        view = torch.randint(2, (count,), generator=generator)
        skip = torch.randint(config.skips, (count,), generator=generator)
        noise = torch.randn(count, *faces.shape, generator=generator)
        consistency, guess = error(student, rows, view, skip, noise)
        if identify is None or config.identity_weight == 0:
            return {"consistency": consistency}
        judged = max(1, round(config.identity_share * count))
        cosine = (identify(guess[:judged], generator) * faces.contexts(rows[:judged], view[:judged])).sum(1)
        weight = plan.end_bars[skip[:judged]].float().sqrt().to(device)  # an estimate is as sharp as what it leads to
        return {"consistency": consistency, "identity": config.identity_weight * (weight * (1 - cosine)).mean()}

    def validate() -> Mapping[str, float]:
        average = unet_with(network_config, trainer.averaged()).to(device)
        figures = {} if measure is None else dict(measure(average, trainer.images))
        if len(chosen := faces.held_out[:VALIDATION_FACES]):
            noise = torch.randn(len(chosen), *faces.shape, generator=torch.Generator().manual_seed(0))
            first = torch.zeros_like(chosen)
            with torch.inference_mode(), arithmetic(schedule.precision, trainer.device):
                figures["held_out"] = float(error(average, chosen, first, first, noise)[0])
        return figures

    trainer.fit(
        losses,
        samples=len(faces.trained),
        progress=progress,
        validate=validate,
        on_save=None if on_save is None else lambda: on_save(unet_with(network_config, trainer.averaged()).cpu()),
    )
    return unet_with(network_config, trainer.averaged()).cpu()
