"""A trained generator: identity embedding and noise in, pictures out."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright.diffusion.autoencoder import Autoencoder, AutoencoderConfig
from facewright.diffusion.samplers import Predict, ancestral, ddim, ddim_plan
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.diffusion.unet import ConditionalUNet, UNetConfig
from facewright.errors import ConfigError, DataError
from facewright.weights import Card, load_weights

LATENT_SIDE = 16
IMAGE_SIZE = 128
SAMPLERS = ("ddim", "ddim-published", "ddpm")


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise levels and what the denoiser estimates."""

    timesteps: int = 1000
    target: str = "velocity"  # noise, or velocity (Salimans & Ho 2022)

    def __post_init__(self) -> None:
        if self.target not in ("noise", "velocity"):
            raise ConfigError(f"target must be noise or velocity, got {self.target!r}")


class Generator(nn.Module):
    """Autoencoder, denoiser and noise levels with the card they came with."""

    def __init__(
        self, autoencoder: Autoencoder, denoiser: ConditionalUNet, diffusion: DiffusionConfig, card: Card
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.denoiser = denoiser
        self.diffusion = diffusion
        self.betas = linear_betas(diffusion.timesteps)
        self.alpha_bars = alpha_bars(self.betas)
        self.card: Mapping[str, Any] = asdict(card)
        self.name = card.name
        self.sha256 = card.sha256
        self.encoder_sha256 = card.encoder_sha256
        self.image_size = IMAGE_SIZE
        self.latent_shape = (denoiser.config.channels, LATENT_SIDE, LATENT_SIDE)
        self.context_width = denoiser.config.context_inputs or 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.denoiser.final.weight.device

    @torch.inference_mode()
    def sample(
        self,
        contexts: Tensor,
        noise: Tensor,
        *,
        sampler: str = "ddim",
        steps: int = 25,
        guidance: float = 1.0,
        step_noise: Callable[[int], Tensor] | None = None,
    ) -> Tensor:
        """Make pictures; the same arguments give the same pictures.

        Args:
            contexts: identity embeddings, (B, D), unit length, on any device.
            noise: unit normal, (B, *latent_shape).
            sampler: ddim, ddim-published (the step of the public IDiff-Face code) or ddpm (all time steps).
            steps: of ddim; ddpm always takes all.
            guidance: weight w of classifier-free guidance, empty + w (conditioned - empty) (Ho & Salimans 2022); 1 is
                off and costs half.
            step_noise: unit normal noise of step k, (B, *latent_shape); needed by ddpm only.

        Returns:
            Pictures, (B, 3, 128, 128) RGB in [-1, 1], on the CPU; the central 112 x 112 is the ArcFace crop.
        """
        if sampler not in SAMPLERS:
            raise ConfigError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
        contexts, x = contexts.to(self.device), noise.to(self.device)
        predict = self._noise_estimate(contexts, guidance)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            if sampler == "ddpm":
                if step_noise is None:
                    raise ConfigError("sampler ddpm needs step_noise")
                x = ancestral(predict, x, self.betas, noise=lambda i: step_noise(i).to(self.device))
            else:
                variant = "published" if sampler == "ddim-published" else "exact"
                x = ddim(predict, x, ddim_plan(self.alpha_bars, steps, variant=variant))
            return self.autoencoder.decode(x).cpu()

    def _noise_estimate(self, contexts: Tensor, guidance: float) -> Predict:
        count = len(contexts)
        guided = guidance != 1.0
        both = torch.cat([contexts, contexts]) if guided else contexts
        drop = torch.cat([torch.zeros(count), torch.ones(count)]).bool().to(contexts.device) if guided else None

        def predict(x: Tensor, time: int) -> Tensor:
            doubled = torch.cat([x, x]) if guided else x
            doubled = doubled.contiguous(memory_format=torch.channels_last)
            times = torch.full((len(doubled),), time, device=x.device)
            out = self.denoiser(doubled, times, both, drop=drop).float()
            if guided:
                conditioned, empty = out.chunk(2)
                out = empty + guidance * (conditioned - empty)
            if self.diffusion.target == "noise":
                return out
            bar = float(self.alpha_bars[time])
            return bar**0.5 * out + (1 - bar) ** 0.5 * x

        return predict


def architecture(autoencoder: AutoencoderConfig, denoiser: UNetConfig, diffusion: DiffusionConfig) -> dict[str, Any]:
    """What a generator's card says of its networks; `load` builds them from it."""
    return {"autoencoder": asdict(autoencoder), "denoiser": asdict(denoiser), "diffusion": asdict(diffusion)}


def load(name: str | Path = "bundled", *, device: str = "cpu") -> Generator:
    """Load a generator in eval mode.

    Args:
        name: "bundled", or the path of a generator's .safetensors file.
        device: such as "cpu" or "cuda".

    Raises:
        InputError: no such file, or a model of another kind.
        DataError: the file is damaged, or its tensors do not fit the networks that its card names.
    """
    state, card = load_weights(name, kind="generator")
    try:
        parts = card.architecture
        autoencoder = Autoencoder(_config(AutoencoderConfig, parts["autoencoder"]))
        denoiser = ConditionalUNet(_config(UNetConfig, parts["denoiser"]))
        generator = Generator(autoencoder, denoiser, _config(DiffusionConfig, parts["diffusion"]), card)
        generator.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"generator {name}: its card and its tensors do not fit each other ({error})") from error
    generator = generator.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator.eval()


def _config(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A config from the JSON values of a card, where tuples have become lists."""
    known = {field.name for field in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise KeyError(f"{kind.__name__} has no {unknown[0]}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
