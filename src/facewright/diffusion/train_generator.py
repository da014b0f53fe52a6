"""Train the denoiser on cached latents and the embeddings of the same faces."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facewright.diffusion.autoencoder import Autoencoder
from facewright.diffusion.begun import begun
from facewright.diffusion.checks import SampleChecks
from facewright.diffusion.denoising import (
    check_identity_term,
    clean_of,
    masked_mean,
    min_snr_weights,
    noised,
    target_of,
    time_bars,
)
from facewright.diffusion.generator import DiffusionConfig
from facewright.diffusion.latents import LatentBatches, LatentCache
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.diffusion.unet import ConditionalUNet, UNetConfig, unet_with
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.errors import ConfigError
from facewright.training.precision import arithmetic
from facewright.training.run_folder import LAST, RunFolder
from facewright.training.trainer import Losses, Schedule, Trainer

VALIDATION_TIMES = 8  # noise levels at which the held-out loss is measured
VALIDATION_FACES = 256


@dataclass(frozen=True)
class DenoiserTraining:
    """How a denoiser of any sizes is trained."""

    schedule: Schedule
    context_dropout: float = 0.1  # share of the samples whose whole context is left out, for guidance
    identity_weight: float = 0.0  # of the identity term; 0: none
    identity_share: float = 0.25  # share of the samples that have it
    compile: bool = False  # torch.compile the denoiser; pays after some minutes
    min_snr: float | None = None  # gamma of min-SNR weighting, the paper's is 5; None: every time counts alike
    exported: float | None = None  # which average is written, by its cap; None: schedule.ema_maximum's
    export_all: bool = False  # write the last weights and every other average too, beside the exported one
    checks: SampleChecks | None = None  # pictures made and judged at every save

    def __post_init__(self) -> None:
        check_identity_term(self.identity_weight, self.identity_share)
        if not 0 <= self.context_dropout <= 1:
            raise ConfigError(f"context_dropout must be in [0, 1], got {self.context_dropout}")
        if self.min_snr is not None and self.min_snr <= 0:
            raise ConfigError(f"min_snr must be above 0, or none, got {self.min_snr}")
        kept = (None, self.schedule.ema_maximum, *self.schedule.ema_more)
        if self.exported not in kept:
            raise ConfigError(f"exported must be one of the averages {kept[1:]} of the schedule, got {self.exported}")


@dataclass(frozen=True)
class GeneratorTraining(DenoiserTraining):
    """How the denoiser of a generator is trained."""

    network: UNetConfig = field(default_factory=UNetConfig)  # context_inputs None: unconditional
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network.context_inputs is None and self.identity_weight > 0:
            raise ConfigError("an unconditional network has no identity to hold; set identity_weight to 0")

    @classmethod
    def further(cls, how: DenoiserTraining, network: UNetConfig, diffusion: DiffusionConfig) -> "GeneratorTraining":
        """The training of a denoiser that is there already."""
        told = {field.name: getattr(how, field.name) for field in fields(DenoiserTraining)}
        return cls(network=network, diffusion=diffusion, **told)


def train_generator(
    cache: LatentCache,
    config: GeneratorTraining,
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
    """Train the denoiser; the same call again resumes.

    The loss is the mean squared error of the target (noise, or velocity) at a uniformly drawn time, weighted by
    min-SNR if `config.min_snr` says so, and counted where the picture is real. Where `config.identity_weight` is above
    0, the clean latents that the denoiser's output stands for are also decoded and embedded, and the loss gains
    weight * sqrt(alpha_bar) * (1 - cosine to the context) for a share of the samples: the noisier the input, the less
    its guess of a face counts. `metrics.jsonl` also gets the unweighted loss on held-out people at fixed times and
    noise, of every average that is kept. `settings` are kept in RUN/config.json too, and a resumed run must share them.

    Args:
        cache: latents and embeddings of every face.
        config: the recipe.
        out: run folder.
        device: such as "cpu" or "cuda".
        progress: called with (images seen, images in all).
        settings: kept in RUN/config.json.
        on_save: called with the exported average of the denoiser at every save.
        identify: clean latents (B, C, h, w) to unit embeddings (B, D), differentiable, drawing its augmentation from
            the generator; `decode_and_embed` makes one.
        measure: figures of the exported average, which it gets with the images seen, for `metrics.jsonl` at every save.
        start: a denoiser of the same sizes whose weights it begins with; None: drawn ones.

    Returns:
        The denoiser with its exported average, in eval mode.
    """
    if config.identity_weight > 0 and identify is None:
        raise ConfigError("identity_weight is above 0, and there is no encoder to judge identities by")
    cache.check_fits(channels=config.network.channels, context_inputs=config.network.context_inputs)
    network = begun(lambda: ConditionalUNet(config.network), seed=config.schedule.seed)
    if start is not None:
        network.load_state_dict(start.state_dict())
    trainer = Trainer(
        network, config.schedule, out=out, device=device, config={"kind": "generator", **(settings or {})}
    )
    estimate = torch.compile(network) if config.compile else network
    bars = alpha_bars(linear_betas(config.diffusion.timesteps)).float()
    faces, target = LatentBatches(cache, device), config.diffusion.target
    exported = None if config.exported == config.schedule.ema_maximum else config.exported

    def error(
        network: Callable[..., Tensor],
        rows: Tensor,
        view: Tensor,
        times: Tensor,
        noise: Tensor,
        drop: Tensor | None,
        gamma: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the clean latents that the denoiser's output stands for."""
        clean, bar = faces.clean(rows, view), time_bars(bars, times)
        noisy = faces.to_device(noised(clean, noise, bar))
        drop = None if drop is None else drop.to(device)
        out = network(noisy, times.to(device), faces.contexts(rows, view), drop=drop).float()
        squared = (out - target_of(target, clean, noise, bar).to(device)).square()
        if gamma is not None:
            squared = squared * min_snr_weights(bar, target=target, gamma=gamma).to(device)
        return masked_mean(squared, faces.mask(rows, view)), clean_of(target, out, noisy, bar.to(device))

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        rows, count = faces.trained[indices], len(indices)
        view = torch.randint(2, (count,), generator=generator)
        times = torch.randint(len(bars), (count,), generator=generator)
        noise = torch.randn(count, *faces.shape, generator=generator)
        drop = torch.rand(count, generator=generator) < config.context_dropout
        denoising, guess = error(estimate, rows, view, times, noise, drop, config.min_snr)
        if identify is None or config.identity_weight == 0:
            return {"denoising": denoising}
        judged = math.ceil(config.identity_share * count)
        cosine = (identify(guess[:judged], generator) * faces.contexts(rows[:judged], view[:judged])).sum(1)
        weight = bars[times[:judged]].sqrt() * ~drop[:judged]
        identity = config.identity_weight * (weight.to(device) * (1 - cosine)).mean()
        return {"denoising": denoising, "identity": identity}

    def held_out_loss(denoiser: ConditionalUNet) -> float:
        chosen = faces.held_out[:VALIDATION_FACES]
        generator = torch.Generator().manual_seed(0)
        values = []
        with torch.inference_mode(), arithmetic(config.schedule.precision, trainer.device):
            for k in range(VALIDATION_TIMES):
                times = torch.full((len(chosen),), (2 * k + 1) * len(bars) // (2 * VALIDATION_TIMES))
                noise = torch.randn(len(chosen), *faces.shape, generator=generator)
                values.append(float(error(denoiser, chosen, torch.zeros_like(chosen), times, noise, None)[0]))
        return sum(values) / len(values)

    def average(maximum: float | None) -> ConditionalUNet:
        return unet_with(config.network, trainer.averaged(maximum)).to(device)

    def validate() -> Mapping[str, float]:
        denoiser = average(exported)
        figures = {} if measure is None else dict(measure(denoiser, trainer.images))
        if len(faces.held_out):
            figures["held_out"] = held_out_loss(denoiser)
            for maximum in (None, *config.schedule.ema_more):
                if maximum != exported:
                    named = config.schedule.ema_maximum if maximum is None else maximum
                    figures[f"held_out_{named:g}"] = held_out_loss(average(maximum))
        return figures

    trainer.fit(
        losses,
        samples=len(faces.trained),
        progress=progress,
        validate=validate if len(faces.held_out) or measure else None,
        on_save=None if on_save is None else lambda: on_save(average(exported).cpu()),
    )
    return average(exported).cpu()


def kept_averages(run: Path, config: GeneratorTraining) -> dict[str, ConditionalUNet]:
    """Every state of the denoiser that a run folder holds, on the CPU and in eval mode.

    Args:
        run: folder of `train_generator`.
        config: its recipe.

    Returns:
        "last", the weights after the last step; and the averages by the caps of their decays, such as "0.9995".
    """
    state = RunFolder(run).load(LAST, torch.device("cpu"))
    kept = {"last": state["module"]}
    averages = {} if state["ema"] is None else {config.schedule.ema_maximum: state["ema"]}
    for maximum, average in {**averages, **state.get("ema_more", {})}.items():
        weights = {name.removeprefix("averaged."): value for name, value in average.items() if name != "updates"}
        kept[f"{maximum:g}"] = weights
    return {name: unet_with(config.network, weights) for name, weights in kept.items()}


def decode_and_embed(
    autoencoder: Autoencoder | VQAutoencoder, embed: Callable[[Tensor], Tensor], *, shift: int = 4
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A differentiable judge of identity for `train_generator`.

    Args:
        autoencoder: frozen here.
        embed: crops (B, 3, 112, 112) in [-1, 1] to unit embeddings (B, D), such as an encoder; frozen by its owner.
        shift: pixels by which the crop is off its place at random, so that no single pixel pattern pleases the encoder.
    """
    autoencoder = autoencoder.requires_grad_(requires_grad=False).eval()

    def identify(latents: Tensor, generator: torch.Generator) -> Tensor:
        pictures = autoencoder.decode(latents.contiguous(memory_format=torch.channels_last))
        edge = (pictures.shape[-1] - 112) // 2
        top, left = (torch.randint(-shift, shift + 1, (2,), generator=generator) + edge).tolist()
        return embed(pictures[:, :, top : top + 112, left : left + 112])

    return identify
