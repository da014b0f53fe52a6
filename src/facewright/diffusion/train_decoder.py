"""Distil a generator's decoder to a small one that takes its place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facewright.diffusion.adversarial import CriticTerms, Features, WithCritic, feature_distance, step_errors
from facewright.diffusion.autoencoder import Autoencoder
from facewright.diffusion.begun import begun, holding
from facewright.diffusion.fast_decoder import FastDecoder, FastDecoderConfig
from facewright.diffusion.latents import LatentBatches, LatentCache
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.errors import ConfigError
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Schedule, Trainer

VALIDATION_FACES = 64


@dataclass(frozen=True)
class DecoderTraining:
    """How a small decoder is distilled."""

    schedule: Schedule
    network: FastDecoderConfig = field(default_factory=FastDecoderConfig)
    noise: float = 0.1  # standard deviation added to the latents, which a denoiser's are off by
    edge_weight: float = 1.0  # of the differences between neighbouring pixels
    feature_weight: float = 0.0  # of the distance between feature maps; 0: none
    critic: CriticTerms | None = None

    def __post_init__(self) -> None:
        if self.noise < 0 or self.edge_weight < 0 or self.feature_weight < 0:
            raise ConfigError(
                f"noise, edge_weight and feature_weight must be at least 0, got {self.noise}, {self.edge_weight} and "
                f"{self.feature_weight}"
            )


def train_decoder(
    cache: LatentCache,
    autoencoder: Autoencoder | VQAutoencoder,
    config: DecoderTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    on_save: Callable[[FastDecoder], None] | None = None,
    features: Features | None = None,
) -> FastDecoder:
    """Distil; the same call again resumes.

    At latents of real faces with some noise the small decoder shall make the picture that the given one makes: the loss
    is the absolute error of pixels and of differences between neighbouring pixels and, if asked for, a distance of
    feature maps and an adversarial term. `metrics.jsonl` also gets the error of pixels on held-out people, without
    noise, as `held_out`.

    Args:
        cache: latents of every face; the embeddings do not count.
        autoencoder: whose decoder is distilled; frozen here.
        config: the recipe.
        out, device, progress, settings: as of `train_generator`.
        on_save: called with the averaged decoder at every save.
        features: pictures (B, 3, 128, 128) to feature maps, of frozen weights.

    Returns:
        The decoder with its averaged weights, in eval mode.
    """
    if config.feature_weight > 0 and features is None:
        raise ConfigError("feature_weight is above 0, and there is no encoder to take features from")
    cache.check_fits(channels=config.network.channels, context_inputs=None)
    if config.network.factor != autoencoder.factor:
        raise ConfigError(
            f"the autoencoder has {autoencoder.factor} px to one of the latent, the decoder {config.network.factor}; "
            "change recipe.network.factor"
        )
    teacher = autoencoder.to(device).eval().requires_grad_(requires_grad=False)
    module = begun(lambda: WithCritic(FastDecoder(config.network), config.critic), seed=config.schedule.seed)
    student = module.network
    trainer = Trainer(module, config.schedule, out=out, device=device, config={"kind": "decoder", **(settings or {})})
    faces = LatentBatches(cache, device)

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        rows = faces.trained[indices]
        view = torch.randint(2, (len(rows),), generator=generator)
        noise = torch.randn(len(rows), *faces.shape, generator=generator) * config.noise
        latents = faces.to_device(faces.clean(rows, view) + noise)
        with torch.no_grad():
            wanted = teacher.decode(latents)
        made = student(latents).float()
        terms = {"pixels": (made - wanted).abs().mean(), "edges": config.edge_weight * step_errors(made - wanted)}
        if features is not None and config.feature_weight > 0:
            terms["features"] = config.feature_weight * feature_distance(features(made), features(wanted))
        rebuilding = torch.stack(list(terms.values())).sum()
        return {**terms, **module.losses(made, wanted, rebuilding, student.last, images=trainer.images)}

    def average() -> FastDecoder:
        return holding(FastDecoder(config.network), module.network_state(trainer.averaged()))

    def validate() -> Mapping[str, float]:
        chosen, network = faces.held_out[:VALIDATION_FACES], average().to(device)
        latents = faces.to_device(faces.clean(chosen, torch.zeros_like(chosen)))
        with torch.inference_mode(), arithmetic(config.schedule.precision, trainer.device):
            return {"held_out": float((network.decode(latents) - teacher.decode(latents)).abs().mean())}

    trainer.fit(
        losses,
        samples=len(faces.trained),
        progress=progress,
        validate=validate if len(faces.held_out) else None,
        on_save=None if on_save is None else lambda: on_save(average()),
    )
    return average().cpu()
