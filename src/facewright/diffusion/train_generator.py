"""Train the denoiser on cached latents and the embeddings of the same faces."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.data.packs import FacePack
from facewright.diffusion.autoencoder import Autoencoder
from facewright.diffusion.generator import DiffusionConfig
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.diffusion.unet import ConditionalUNet, UNetConfig
from facewright.errors import ConfigError
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Schedule, Trainer

VALIDATION_TIMES = 8  # noise levels at which the held-out loss is measured


@dataclass(frozen=True)
class LatentCache:
    """Every face encoded once.

    latents: float16 (N, 2, C, 16, 16), the picture and its mirror, about unit normal.
    embeddings: float32 (N, 2, D), unit length, of the picture and of its mirror.
    masks: uint8 (N, 16, 16), 1 where the picture is real.
    held_out: (N,) bool, faces that training does not see.
    """

    latents: np.ndarray
    embeddings: np.ndarray
    masks: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class GeneratorTraining:
    """How the denoiser is trained."""

    schedule: Schedule
    network: UNetConfig = field(default_factory=UNetConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    context_dropout: float = 0.1  # share of the samples whose whole context is left out, for guidance
    identity_weight: float = 0.0  # of the identity term; 0: none
    identity_share: float = 0.25  # share of the samples that have it
    compile: bool = False  # torch.compile the denoiser; pays after some minutes

    def __post_init__(self) -> None:
        if self.identity_weight < 0 or not 0 < self.identity_share <= 1:
            raise ConfigError(
                f"identity_weight must be at least 0 and identity_share in (0, 1], got {self.identity_weight} and "
                f"{self.identity_share}"
            )


def cache_latents(
    pack: FacePack,
    autoencoder: Autoencoder,
    embed: Callable[[np.ndarray], np.ndarray],
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> LatentCache:
    """Encode the faces of a pack and their mirrors.

    Args:
        pack: 128-px faces.
        autoencoder: in eval mode.
        embed: uint8 (N, 128, 128, 3) to unit (N, D).
        progress: called with (faces done, faces in all).
    """
    rows = np.flatnonzero(pack.sources >= 0)
    latents, embeddings = [], []
    for start in range(0, len(rows), batch):
        images = pack.images[rows[start : start + batch]]
        views = np.stack([images, images[:, :, ::-1]], 1).reshape(-1, *images.shape[1:])
        with torch.inference_mode(), arithmetic("auto", "cpu"):
            encoded = autoencoder.encode(to_tensor(views).contiguous(memory_format=torch.channels_last))
        latents.append(encoded.half().numpy().reshape(len(images), 2, *encoded.shape[1:]))
        embeddings.append(embed(views).reshape(len(images), 2, -1))
        if progress is not None:
            progress(min(start + batch, len(rows)), len(rows))
    return LatentCache(np.concatenate(latents), np.concatenate(embeddings), pack.masks[rows], pack.held_out[rows])


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
) -> ConditionalUNet:
    """Train the denoiser; the same call again resumes.

    The loss is the mean squared error of the target (noise, or velocity) at a uniformly drawn time, counted where the
    picture is real. Where `config.identity_weight` is above 0, the clean latents that the denoiser's output stands for
    are also decoded and embedded, and the loss gains weight * sqrt(alpha_bar) * (1 - cosine to the context) for a share
    of the samples: the noisier the input, the less its guess of a face counts. `metrics.jsonl` also gets the loss on
    held-out people at fixed times and noise. `settings` are kept in RUN/config.json too, and a resumed run must share
    them.

    Args:
        cache: latents and embeddings of every face.
        config: the recipe.
        out: run folder.
        device: such as "cpu" or "cuda".
        progress: called with (images seen, images in all).
        settings: kept in RUN/config.json.
        on_save: called with the averaged denoiser at every save.
        identify: clean latents (B, C, 16, 16) to unit embeddings (B, D), differentiable, drawing its augmentation from
            the generator; `decode_and_embed` makes one.

    Returns:
        The denoiser with its averaged weights, in eval mode.
    """
    if config.identity_weight > 0 and identify is None:
        raise ConfigError("identity_weight is above 0, and there is no encoder to judge identities by")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.schedule.seed)
        network = ConditionalUNet(config.network)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(
        network, config.schedule, out=out, device=device, config={"kind": "generator", **(settings or {})}
    )
    estimate = torch.compile(network) if config.compile else network
    bars = alpha_bars(linear_betas(config.diffusion.timesteps)).float()
    trained, held_out = np.flatnonzero(~cache.held_out), np.flatnonzero(cache.held_out)
    latents, embeddings = torch.from_numpy(cache.latents), torch.from_numpy(cache.embeddings)
    masks = torch.from_numpy(cache.masks)

    def error(
        network: Callable[..., Tensor], rows: Tensor, view: Tensor, times: Tensor, noise: Tensor, drop: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the clean latents that the denoiser's output stands for."""
        clean = latents[rows, view].float()
        context = embeddings[rows, view]
        mask = masks[rows].float()
        mask = torch.where(view[:, None, None] == 1, mask.flip(2), mask)[:, None].to(device)
        bar = bars[times].view(-1, 1, 1, 1)
        noisy = bar.sqrt() * clean + (1 - bar).sqrt() * noise
        target = noise if config.diffusion.target == "noise" else bar.sqrt() * noise - (1 - bar).sqrt() * clean
        noisy = noisy.to(device).contiguous(memory_format=torch.channels_last)
        drop = None if drop is None else drop.to(device)
        out = network(noisy, times.to(device), context.to(device), drop=drop).float()
        squared = F.mse_loss(out, target.to(device), reduction="none")
        bar = bar.to(device)
        if config.diffusion.target == "noise":
            guess = (noisy - (1 - bar).sqrt() * out) / bar.sqrt()
        else:
            guess = bar.sqrt() * noisy - (1 - bar).sqrt() * out
        return (squared * mask).sum() / (mask.sum() * squared.shape[1]).clamp_min(1), guess

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        rows, count = torch.from_numpy(trained)[indices], len(indices)
        view = torch.randint(2, (count,), generator=generator)
        times = torch.randint(len(bars), (count,), generator=generator)
        noise = torch.randn(count, *latents.shape[2:], generator=generator)
        drop = torch.rand(count, generator=generator) < config.context_dropout
        denoising, guess = error(estimate, rows, view, times, noise, drop)
        if identify is None or config.identity_weight == 0:
            return {"denoising": denoising}
        judged = math.ceil(config.identity_share * count)
        cosine = (identify(guess[:judged], generator) * embeddings[rows, view][:judged].to(device)).sum(1)
        weight = bars[times[:judged]].sqrt() * ~drop[:judged]
        identity = config.identity_weight * (weight.to(device) * (1 - cosine)).mean()
        return {"denoising": denoising, "identity": identity}

    def validate() -> Mapping[str, float]:
        averaged = _with(config.network, trainer.averaged()).to(device)
        chosen = torch.from_numpy(held_out[:256])
        generator = torch.Generator().manual_seed(0)
        values = []
        with torch.inference_mode(), arithmetic(config.schedule.precision, trainer.device):
            for k in range(VALIDATION_TIMES):
                times = torch.full((len(chosen),), (2 * k + 1) * len(bars) // (2 * VALIDATION_TIMES))
                noise = torch.randn(len(chosen), *latents.shape[2:], generator=generator)
                values.append(float(error(averaged, chosen, torch.zeros_like(chosen), times, noise, None)[0]))
        return {"held_out": sum(values) / len(values)}

    trainer.fit(
        losses,
        samples=len(trained),
        progress=progress,
        validate=validate if len(held_out) else None,
        on_save=None if on_save is None else lambda: on_save(_with(config.network, trainer.averaged())),
    )
    return _with(config.network, trainer.averaged())


def decode_and_embed(
    autoencoder: Autoencoder, embed: Callable[[Tensor], Tensor], *, shift: int = 4
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


def _with(config: UNetConfig, state: Mapping[str, Tensor]) -> ConditionalUNet:
    network = ConditionalUNet(config)
    network.load_state_dict(dict(state))
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
