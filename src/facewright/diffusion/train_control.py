"""Train a control branch: hint pictures steer a denoiser that stays as it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.diffusion.begun import begun, holding
from facewright.diffusion.controlnet import HINT_FACTOR, ControlNet, controlled
from facewright.diffusion.denoising import masked_mean, noised, target_of, time_bars
from facewright.diffusion.generator import DiffusionConfig
from facewright.diffusion.latents import LatentBatches, LatentCache
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.diffusion.unet import ConditionalUNet, unet_with
from facewright.errors import ConfigError
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Schedule, Trainer

VALIDATION_TIMES = 4
VALIDATION_FACES = 64


@dataclass(frozen=True)
class ControlTraining:
    """How a control branch is trained."""

    schedule: Schedule
    context_dropout: float = 0.1  # share of the samples whose whole context is left out, for guidance

    def __post_init__(self) -> None:
        if not 0 <= self.context_dropout <= 1:
            raise ConfigError(f"context_dropout must be in [0, 1], got {self.context_dropout}")


def train_control(
    cache: LatentCache,
    hints: Callable[[np.ndarray], np.ndarray],
    denoiser: ConditionalUNet,
    diffusion: DiffusionConfig,
    config: ControlTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    on_save: Callable[[ControlNet], None] | None = None,
) -> ControlNet:
    """Train a branch that begins as a copy of the denoiser's first half; the same call again resumes.

    The loss is the denoiser's own (mean squared error of its target, where the picture is real) under the hint of the
    picture (Zhang et al. 2023, Eq. 1). `metrics.jsonl` also gets it on held-out people at fixed times and noise, with
    the hint as `held_out` and, for comparison, without as `held_out_plain`.

    Args:
        cache: latents and embeddings of every face.
        hints: rows of the cache (n,) to their hint pictures, uint8 (n, H, W, 3) RGB, H W square; they are resized to 8
            px to one of the latent, and mirrored where the face is.
        denoiser: frozen here.
        diffusion: its noise levels and target.
        config: the recipe.
        out, device, progress, settings: as of `train_generator`.
        on_save: called with the averaged branch at every save.

    Returns:
        The branch with its averaged weights, in eval mode.
    """
    cache.check_fits(channels=denoiser.config.channels, context_inputs=denoiser.config.context_inputs)
    base = unet_with(denoiser.config, denoiser.state_dict()).to(device).requires_grad_(requires_grad=False)
    control = begun(lambda: ControlNet.begin(denoiser), seed=config.schedule.seed)
    trainer = Trainer(control, config.schedule, out=out, device=device, config={"kind": "control", **(settings or {})})
    bars = alpha_bars(linear_betas(diffusion.timesteps)).float()
    faces = LatentBatches(cache, device)

    def hint_of(rows: Tensor, view: Tensor) -> Tensor:
        pictures = to_tensor(hints(rows.numpy()))
        pictures = torch.where(view[:, None, None, None] == 1, pictures.flip(3), pictures)
        side = HINT_FACTOR * faces.shape[1]
        if pictures.shape[2] != side:
            pictures = F.interpolate(pictures, (side, side), mode="bilinear", antialias=True)
        return faces.to_device(pictures)

    def error(
        branch: ControlNet | None, rows: Tensor, view: Tensor, times: Tensor, noise: Tensor, drop: Tensor | None
    ) -> Tensor:
        clean, bar = faces.clean(rows, view), time_bars(bars, times)
        noisy, context = faces.to_device(noised(clean, noise, bar)), faces.contexts(rows, view)
        drop = None if drop is None else drop.to(device)
        if branch is None:
            output = base(noisy, times.to(device), context, drop=drop)
        else:
            output = controlled(base, branch, noisy, times.to(device), context, hint=hint_of(rows, view), drop=drop)
        target = target_of(diffusion.target, clean, noise, bar).to(device)
        return masked_mean((output.float() - target).square(), faces.mask(rows, view))

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        rows, count = faces.trained[indices], len(indices)
        view = torch.randint(2, (count,), generator=generator)
        times = torch.randint(len(bars), (count,), generator=generator)
        noise = torch.randn(count, *faces.shape, generator=generator)
        drop = torch.rand(count, generator=generator) < config.context_dropout
        return {"denoising": error(control, rows, view, times, noise, drop)}

    def average() -> ControlNet:
        return holding(ControlNet(denoiser.config), trainer.averaged())

    def validate() -> Mapping[str, float]:
        chosen, branch = faces.held_out[:VALIDATION_FACES], average().to(device)
        generator = torch.Generator().manual_seed(0)
        figures = {"held_out": 0.0, "held_out_plain": 0.0}
        with torch.inference_mode(), arithmetic(config.schedule.precision, trainer.device):
            for k in range(VALIDATION_TIMES):
                times = torch.full((len(chosen),), (2 * k + 1) * len(bars) // (2 * VALIDATION_TIMES))
                noise = torch.randn(len(chosen), *faces.shape, generator=generator)
                for name, used in (("held_out", branch), ("held_out_plain", None)):
                    value = error(used, chosen, torch.zeros_like(chosen), times, noise, None)
                    figures[name] += float(value) / VALIDATION_TIMES
        return figures

    trainer.fit(
        losses,
        samples=len(faces.trained),
        progress=progress,
        validate=validate if len(faces.held_out) else None,
        on_save=None if on_save is None else lambda: on_save(average()),
    )
    return average().cpu()
