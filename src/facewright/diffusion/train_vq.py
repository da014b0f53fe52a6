"""Train the VQ-f4 autoencoder of latent diffusion on faces."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.diffusion.adversarial import CriticTerms, Features, WithCritic, feature_distance
from facewright.diffusion.begun import begun, holding
from facewright.diffusion.faces import TrainingFaces, training_rows
from facewright.diffusion.vq import VQConfig
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.errors import ConfigError
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Schedule, Trainer

VALIDATION_FACES = 32


@dataclass(frozen=True)
class VQTerms:
    """What the VQ autoencoder is and which losses it has beside the absolute error of pixels."""

    network: VQConfig = field(default_factory=VQConfig)
    commitment: float = 0.25  # beta, pull of the latents towards their codes
    feature_weight: float = 1.0  # of the distance between feature maps; 0: none
    critic: CriticTerms | None = None

    def __post_init__(self) -> None:
        if self.commitment < 0 or self.feature_weight < 0:
            raise ConfigError(
                f"commitment and feature_weight must be at least 0, got {self.commitment} and {self.feature_weight}"
            )


def quantised(network: VQAutoencoder, latents: Tensor, *, commitment: float) -> tuple[Tensor, Tensor]:
    """The codes of latents, through which the gradient goes straight, and the loss that moves both together.

    The loss is |sg[z] - e|^2 + beta |z - sg[e]|^2, sg stopping the gradient (van den Oord et al. 2017, Eq. 3), averaged
    over all numbers. The public VQ-f4 was trained with beta on the first term instead, by a slip that its authors kept.

    Args:
        network: whose codes are looked up.
        latents: z, (B, C, h, w).
        commitment: beta.
    """
    _, numbers = network.decoder.quantize(latents.detach())
    codes = network.decoder.quantize.embedding(numbers).permute(0, 3, 1, 2)
    pull = F.mse_loss(codes, latents.detach()) + commitment * F.mse_loss(latents, codes.detach())
    return latents + (codes - latents).detach(), pull


def codes_in_use(numbers: Tensor, codes: int) -> float:
    """The perplexity of code numbers, int64 of any shape: how many equally frequent codes would be as varied."""
    shares = torch.bincount(numbers.flatten(), minlength=codes).double() / numbers.numel()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def train_vq_autoencoder(
    faces: TrainingFaces,
    terms: VQTerms,
    schedule: Schedule,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    features: Features | None = None,
) -> VQAutoencoder:
    """Train to reproduce 128-px faces through a table of codes; the same call again resumes.

    The loss is the absolute error of pixels where the picture is real, the distance of feature maps, codes and latents
    drawn together and, if asked for, an adversarial term of patches (Esser et al. 2021, Section 3.1). `metrics.jsonl`
    also gets, on held-out people, the error of pixels and the perplexity of the codes.

    Args:
        faces: a pack, or what `open_faces` gives.
        terms, schedule: the recipe.
        out, device, progress, settings: as of `train_generator`.
        features: pictures (B, 3, 128, 128) to feature maps, of frozen weights.

    Returns:
        The network with its averaged weights, in eval mode; its latents are not scaled yet.
    """
    if terms.feature_weight > 0 and features is None:
        raise ConfigError("feature_weight is above 0, and there is no encoder to take features from")
    rows, held_out = training_rows(faces), np.flatnonzero(faces.held_out & (faces.sources >= 0))
    module = begun(lambda: WithCritic(VQAutoencoder(terms.network), terms.critic), seed=schedule.seed)
    network = module.network
    trainer = Trainer(module, schedule, out=out, device=device, config={"kind": "autoencoder", **(settings or {})})
    masks = torch.from_numpy(np.ascontiguousarray(faces.masks[rows]))
    last = network.decoder.decoder.conv_out.weight

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        images = to_tensor(faces.images[rows[indices.numpy()]])
        mask = F.interpolate(masks[indices][:, None].float(), scale_factor=8)
        flip = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        images, mask = (torch.where(flip, x.flip(3), x).to(device) for x in (images, mask))
        images = images.contiguous(memory_format=torch.channels_last)
        codes, pull = quantised(network, network.encoder(images).float(), commitment=terms.commitment)
        made = network.decoder(codes, quantise=False).float()
        made = torch.where(mask > 0, made, images)  # beyond the photo's border nothing is asked
        found = {"pixels": (made - images).abs().mean()}
        if features is not None and terms.feature_weight > 0:
            found["features"] = terms.feature_weight * feature_distance(features(made), features(images))
        rebuilding = torch.stack(list(found.values())).sum()
        adversarial = module.losses(made, images, rebuilding, last, images=trainer.images)
        return {**found, "codes": pull, **adversarial}

    def average() -> VQAutoencoder:
        return holding(VQAutoencoder(terms.network), module.network_state(trainer.averaged()))

    def validate() -> Mapping[str, float]:
        averaged = average().to(device)
        images = to_tensor(faces.images[held_out[:VALIDATION_FACES]]).to(device)
        with torch.inference_mode(), arithmetic(schedule.precision, trainer.device):
            latents = averaged.encode(images)
            error = float((averaged.decode(latents) - images).abs().mean())
            numbers = averaged.decoder.quantize(latents)[1]
        return {"held_out": error, "codes_in_use": codes_in_use(numbers.cpu(), terms.network.codes)}

    trainer.fit(losses, samples=len(rows), progress=progress, validate=validate if len(held_out) else None)
    return average().cpu()
