"""Train the autoencoder of a small base model on the miniature world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.diffusion.adversarial import step_errors
from facewright.errors import ConfigError
from facewright.personalise.base_identity import FaceTerm
from facewright.personalise.base_networks import AutoencoderSizes, make_autoencoder, standardise
from facewright.personalise.world_scenes import World
from facewright.training.precision import arithmetic
from facewright.training.trainer import Losses, Schedule, Trainer

MEASURED = 1024  # pictures that the latents' mean and spread are measured on
PART = 64  # pictures that are encoded together


@dataclass(frozen=True)
class BaseAutoencoderTraining:
    """How it is trained."""

    schedule: Schedule
    sizes: AutoencoderSizes = field(default_factory=AutoencoderSizes)
    edge_weight: float = 1.0  # of the differences between neighbouring pixels
    prior_weight: float = 1e-3  # of the divergence of a latent's distribution from the unit normal, per number
    given_weight: float = 1.0  # of the squared error of latents that another autoencoder gives
    noise: float = 0.1  # standard deviation of what is added to given latents before they are decoded
    identity_weight: float = 0.0  # of the identity term; 0: none
    decoder_alone: bool = False  # the encoder stays as it is; for given latents alone

    def __post_init__(self) -> None:
        for name in ("edge_weight", "prior_weight", "given_weight", "noise", "identity_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")


def train_base_autoencoder(
    world: World,
    config: BaseAutoencoderTraining,
    *,
    out: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    given: Callable[[Tensor], Tensor] | None = None,
    faces: FaceTerm | None = None,
    begun: Mapping[str, Tensor] | None = None,
) -> Any:
    """Train an `AutoencoderKL` on as many scenes as the schedule has images; the same call again resumes.

    The loss is the absolute error of pixels and of differences between neighbouring pixels, plus the divergence of
    the latents' distributions from the unit normal (Kingma & Welling 2014). The latents that come back are unit normal
    in each channel over the world's pictures, which is done by `standardise`. With `given` they are those of another
    autoencoder instead: the loss gains their squared error, of the divergence only the part of the variance stays, and
    what is decoded are the given latents with a little noise, as they will come from the denoiser. The identity term
    is one minus the cosine of a face of the rebuilt picture to the same one of the picture.

    Args:
        world: of people who are not held out.
        config: the recipe.
        out: run folder.
        device: such as "cpu" or "cuda".
        progress: called with (images seen, images in all).
        settings: kept in RUN/config.json; a resumed run must share them.
        given: pictures (B, 3, H, W) in [-1, 1] on the device to the latents that they shall have, (B, C, h, w).
        faces: judges those of pictures, for the identity term.
        begun: weights that the network begins with in place of drawn ones.

    Returns:
        The network with its averaged weights, in eval mode, on the CPU.

    Raises:
        ConfigError: an identity term without a judge, or a decoder alone without given latents.
    """
    if config.decoder_alone and given is None:
        raise ConfigError("decoder_alone needs the latents of another autoencoder; give [text], or train both")
    if config.identity_weight > 0 and faces is None:
        raise ConfigError("identity_weight is above 0, and there is nothing to judge identities by; give faces")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.schedule.seed)
        network = make_autoencoder(config.sizes, picture=world.config.size)
    if begun is not None:
        network.load_state_dict(begun)
    if config.decoder_alone:
        network.encoder.requires_grad_(requires_grad=False)
        network.quant_conv.requires_grad_(requires_grad=False)
    network = network.to(memory_format=torch.channels_last)
    trainer = Trainer(
        network, config.schedule, out=out, device=device, config={"kind": "base autoencoder", **(settings or {})}
    )

    def load(indices: Tensor) -> tuple[Tensor, np.ndarray]:
        scenes = [world.scene(number) for number in indices.tolist()]
        return to_tensor(world.draw(scenes)[0]), world.points(scenes)

    def code(pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Losses]:
        """Latents to decode, (B, C, h, w), and what coding costs."""
        costs: dict[str, Tensor] = {}
        wanted = None
        if given is not None:
            with torch.no_grad():
                wanted = given(pictures).float()
        if not config.decoder_alone:
            latents = network.encode(pictures).latent_dist
            mean, log_variance = latents.mean.float(), latents.logvar.float()
            divergence = 0.5 * (log_variance.exp() - 1 - log_variance)
            if wanted is None:
                divergence = divergence + 0.5 * mean.square()
            else:
                costs["given"] = config.given_weight * (mean - wanted).square().mean()
            costs["prior"] = config.prior_weight * divergence.mean()
        clean, deviation = (mean, (0.5 * log_variance).exp()) if wanted is None else (wanted, config.noise)
        return clean + deviation * torch.randn(clean.shape, generator=generator).to(device), costs

    def losses(drawn: tuple[Tensor, np.ndarray], generator: torch.Generator) -> Losses:
        images, points = drawn
        pictures = images.to(device).contiguous(memory_format=torch.channels_last)
        latents, costs = code(pictures, generator)
        rebuilt = network.decode(latents).sample.float()
        error = rebuilt - pictures
        found = {**costs, "pixels": error.abs().mean(), "edges": config.edge_weight * step_errors(error)}
        if faces is not None and config.identity_weight > 0:
            apart = faces(rebuilt, pictures, points, generator=generator)
            found["identity"] = config.identity_weight * apart.mean()
        return found

    trainer.fit(
        losses,
        samples=config.schedule.images,
        load=load,
        progress=progress,
    )
    trained = make_autoencoder(config.sizes, picture=world.config.size)
    trained.load_state_dict(trainer.averaged())
    trained.eval()
    if given is not None:
        return trained
    on_device = trained.to(device)
    pictures = world.images(range(min(MEASURED, config.schedule.images)))
    latents = encode_pictures(means_of(on_device), pictures, device=device)
    trained = on_device.cpu()
    measured = torch.from_numpy(latents).float()
    standardise(trained, measured.mean((0, 2, 3)), measured.std((0, 2, 3)))
    return trained


def means_of(autoencoder: Any) -> Callable[[Tensor], Tensor]:
    """Pictures (B, 3, H, W) RGB in [-1, 1] to the mean latents (B, C, h, w) of an `AutoencoderKL`."""
    return lambda pictures: autoencoder.encode(pictures).latent_dist.mean


@torch.inference_mode()
def encode_pictures(encode: Callable[[Tensor], Tensor], images: np.ndarray, *, device: str = "cpu") -> np.ndarray:
    """The latents of pictures, float16 (B, C, h, w).

    Args:
        encode: pictures (B, 3, H, W) RGB in [-1, 1] on the device to latents.
        images: uint8 (B, H, W, 3) RGB.
        device: such as "cpu" or "cuda".
    """
    parts = []
    with arithmetic("auto", torch.device(device)):
        for part in to_tensor(images).split(PART):
            given = part.to(device).contiguous(memory_format=torch.channels_last)
            parts.append(encode(given).half().cpu())
    return torch.cat(parts).numpy()
