"""Train the autoencoder on a face pack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.diffusion.adversarial import Features, step_errors
from facewright.diffusion.autoencoder import Autoencoder, AutoencoderConfig
from facewright.diffusion.begun import begun
from facewright.diffusion.faces import TrainingFaces, training_rows
from facewright.diffusion.train_vq import VQTerms, train_vq_autoencoder
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.training.trainer import Losses, Schedule, Trainer


@dataclass(frozen=True)
class AutoencoderTraining:
    """How the autoencoder is trained."""

    schedule: Schedule
    network: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    noise: float = 0.1  # standard deviation added to the latents, whose own is near 1
    prior_weight: float = 1e-3  # pull of the latents towards unit size
    edge_weight: float = 1.0  # of the differences between neighbouring pixels
    vq: VQTerms | None = None  # train the VQ-f4 autoencoder, by these terms alone, instead of the small one


def train_autoencoder(
    faces: TrainingFaces,
    config: AutoencoderTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    features: Features | None = None,
) -> Autoencoder | VQAutoencoder:
    """Train to reproduce 128-px faces; the same call again resumes.

    The VQ-f4 autoencoder has the losses of `train_vq_autoencoder`. The small one has the absolute error of pixels and
    of differences between neighbouring pixels, counted only where the picture is real (`faces.masks`), plus a small
    pull of the latents towards unit size. Noise on the latents keeps the decoder smooth around them: this is a
    variational autoencoder with one fixed variance. `settings` are kept in RUN/config.json too, and a resumed run must
    share them.

    Args:
        faces: a pack, or what `open_faces` gives.
        config: the recipe.
        out, device, progress: as of `train_generator`.
        settings: kept in RUN/config.json.
        features: pictures (B, 3, 128, 128) to feature maps, for the VQ-f4 autoencoder.

    Returns:
        The network with its averaged weights and the latents' mean and spread, in eval mode.
    """
    rows = training_rows(faces)
    measured = rows[:: max(1, len(rows) // 2048)]
    if config.vq is not None:
        coded = train_vq_autoencoder(
            faces,
            config.vq,
            config.schedule,
            out=out,
            device=device,
            progress=progress,
            settings=settings,
            features=features,
        )
        _measure_latents(coded, to_tensor(faces.images[measured]))
        return coded
    network = begun(lambda: Autoencoder(config.network), seed=config.schedule.seed)
    trainer = Trainer(
        network, config.schedule, out=out, device=device, config={"kind": "autoencoder", **(settings or {})}
    )
    masks = torch.from_numpy(faces.masks[rows])

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        images = to_tensor(faces.images[rows[indices.numpy()]])
        mask = masks[indices][:, None].float()
        flip = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        images = torch.where(flip, images.flip(3), images).to(device).contiguous(memory_format=torch.channels_last)
        mask = F.interpolate(torch.where(flip, mask.flip(3), mask), scale_factor=8).to(device)
        latents = network.encoder(images).float()
        noise = torch.randn(latents.shape, generator=generator).to(device) * config.noise
        rebuilt = network.decoder(latents + noise).float()
        error = (rebuilt - images) * mask
        return {
            "pixels": error.abs().mean(),
            "edges": config.edge_weight * step_errors(error),
            "prior": config.prior_weight * latents.square().mean(),
        }

    trainer.fit(losses, samples=len(rows), progress=progress)
    trained = Autoencoder(config.network)
    trained.load_state_dict(trainer.averaged())
    trained.eval()
    _measure_latents(trained, to_tensor(faces.images[measured]))
    return trained


@torch.inference_mode()
def _measure_latents(network: Autoencoder | VQAutoencoder, images: Tensor) -> None:
    """Set the mean and spread by which `encode` makes the latents of `images` unit normal."""
    latents = torch.cat([network.encoder(part) for part in images.split(64)])
    network.mean.copy_(latents.mean((0, 2, 3), keepdim=True))
    network.std.copy_(latents.std((0, 2, 3), keepdim=True))
