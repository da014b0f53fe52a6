"""A trained generator: identity embedding and noise in, pictures out."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright.diffusion.autoencoder import Autoencoder, AutoencoderConfig
from facewright.diffusion.controlnet import HINT_FACTOR, ControlNet, check_control, controlled
from facewright.diffusion.denoising import check_target
from facewright.diffusion.fast_decoder import FastDecoder, FastDecoderConfig
from facewright.diffusion.guidance import guided
from facewright.diffusion.refinement import Refinement, refined
from facewright.diffusion.samplers import Predict, ddim_invert_exactly, ddim_plan
from facewright.diffusion.samplers_config import SamplerConfig, run_sampler, sampler_config
from facewright.diffusion.schedules import alpha_bars, linear_betas
from facewright.diffusion.unet import ConditionalUNet, UNetConfig
from facewright.diffusion.vq import VQConfig
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.errors import ConfigError, DataError, InputError
from facewright.training.precision import arithmetic
from facewright.weights import Card, load_weights, read_card, weights_path

IMAGE_SIZE = 128


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise levels and what the denoiser estimates."""

    timesteps: int = 1000
    target: str = "velocity"  # noise, or velocity (Salimans & Ho 2022)

    def __post_init__(self) -> None:
        check_target(self.target)
        linear_betas(self.timesteps)


class Generator(nn.Module):
    """Autoencoder, denoiser and noise levels with the card they came with.

    A generator may have a small decoder, which then stands in for the autoencoder's, and a control branch. Its card may
    say how it is sampled best, which is what `sample` does where it is told nothing else.
    """

    def __init__(
        self,
        autoencoder: Autoencoder | VQAutoencoder,
        denoiser: ConditionalUNet,
        diffusion: DiffusionConfig,
        card: Card,
        *,
        decoder: FastDecoder | None = None,
        control: ControlNet | None = None,
        sampling: SamplerConfig | None = None,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.denoiser = denoiser
        self.decoder = decoder
        self.control = control
        if control is not None:
            check_control(denoiser, control)
        self.diffusion = diffusion
        self.sampling = sampling or SamplerConfig()
        self.betas = linear_betas(diffusion.timesteps)
        self.alpha_bars = alpha_bars(self.betas)
        self.card: Mapping[str, Any] = asdict(card)
        self.name = card.name
        self.sha256 = card.sha256
        self.encoder_sha256 = card.encoder_sha256
        self.image_size = IMAGE_SIZE
        side = IMAGE_SIZE // autoencoder.factor
        self.latent_shape = (denoiser.config.channels, side, side)
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
        sampler: str | SamplerConfig | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        negative: Tensor | None = None,
        step_noise: Callable[[int], Tensor] | None = None,
        hints: Tensor | None = None,
        control_scale: float = 1.0,
        refinement: Refinement | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Make pictures; the same arguments give the same pictures.

        Args:
            contexts: identity embeddings, (B, D), unit length, on any device.
            noise: unit normal, (B, *latent_shape).
            sampler: a name of `samplers_config.SAMPLERS`, or everything in one record; None: as the card says, or else
                ddim.
            steps: calls of the network, with a sampler given by name; None: 25, or as the card says.
            guidance: weight w of classifier-free guidance, empty + w (conditioned - empty) (Ho & Salimans 2022), with a
                sampler given by name; None or 1 is off and costs half.
            negative: embeddings of other identities, (B, D), that guidance moves away from in place of the empty
                context; it counts where the weight is not 1.
            step_noise: unit normal noise of draw k, (B, *latent_shape), for the samplers that add noise on the way.
            hints: pictures that steer a generator with a control branch, (B, 3, H, W) RGB in [-1, 1] at 8 px to one of
                the latent, such as 128 x 128; None: the branch is left out.
            control_scale: strength of the control; 0 is none.
            refinement: moves the finished latents towards the contexts; None: not so.
            start: pictures to begin from, (B, 3, 128, 128) RGB in [-1, 1], for a SamplerConfig whose strength is below
                1: noise is added to them as it is at that share of time.

        Returns:
            Pictures, (B, 3, 128, 128) RGB in [-1, 1], on the CPU; the central 112 x 112 is the ArcFace crop.
        """
        if sampler is None:
            given = {"steps": steps, "guidance": guidance}
            config = replace(self.sampling, **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
        else:
            config = sampler_config(sampler, steps=steps, guidance=guidance)
        predict = self.noise_estimate(contexts, config, negative=negative, hints=hints, control_scale=control_scale)
        draw = None if step_noise is None else lambda k: step_noise(k).to(self.device)
        with arithmetic("auto", self.device):
            begin = None if start is None else self.autoencoder.encode(start.to(self.device)).float()
            x = run_sampler(config, predict, noise.to(self.device), self.betas, step_noise=draw, start=begin)
            if refinement is not None:
                x = refined(x, contexts.to(self.device), self.decode, refinement)
            return self.decode(x).cpu()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, *latent_shape) to pictures (B, 3, 128, 128) in [-1, 1], by the small decoder if there is one."""
        return (self.autoencoder if self.decoder is None else self.decoder).decode(latents)

    @torch.inference_mode()
    def invert(self, pictures: Tensor, contexts: Tensor, *, steps: int = 50) -> Tensor:
        """The noise from which `sample` makes these pictures again by ddim with as many steps and no guidance.

        What the autoencoder loses is lost, and `sample` may calculate in bfloat16, this in float32.

        Args:
            pictures: (B, 3, 128, 128) RGB in [-1, 1].
            contexts: identity embeddings of the pictures, (B, D).
            steps: of the run; each costs some 4 to 10 calls of the network.

        Returns:
            Noise, (B, *latent_shape), on the CPU; about unit normal where picture and context go together.

        Raises:
            WorkError: a step did not settle; take more of them.
        """
        predict = self.noise_estimate(contexts, SamplerConfig())
        latents = self.autoencoder.encode(pictures.to(self.device))
        plan = ddim_plan(self.alpha_bars, steps)
        return ddim_invert_exactly(predict, latents, plan, tolerance=1e-4).cpu()

    def noise_estimate(
        self,
        contexts: Tensor,
        config: SamplerConfig,
        *,
        negative: Tensor | None = None,
        hints: Tensor | None = None,
        control_scale: float = 1.0,
    ) -> Predict:
        """The denoiser's noise estimate for given identities under the config's guidance, for any sampler.

        Args:
            contexts: identity embeddings, (B, D).
            config: its guidance counts.
            negative, hints, control_scale: as of `sample`.
        """
        if self.context_width == 0 and (config.guidance != 1 or config.identity_from < 1):
            raise ConfigError(f"generator {self.name!r} knows no identities, so there is nothing to guide it by")
        hint = None if hints is None else self._hint(hints, len(contexts))

        def denoise(x: Tensor, time: int, contexts: Tensor, drop: Tensor | None) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            times = torch.full((len(x),), time, device=x.device)
            if hint is None or self.control is None:
                return self.denoiser(x, times, contexts, drop=drop).float()
            shown = hint.repeat(len(x) // len(hint), 1, 1, 1)  # twice under guidance
            return controlled(
                self.denoiser, self.control, x, times, contexts, hint=shown, drop=drop, scales=control_scale
            ).float()

        estimate = guided(
            denoise,
            contexts.to(self.device),
            timesteps=self.diffusion.timesteps,
            weight=config.guidance,
            interval=config.guidance_interval,
            identity_from=config.identity_from,
            negative=None if negative is None else negative.to(self.device),
        )
        if self.diffusion.target == "noise":
            return estimate

        def predict(x: Tensor, time: int) -> Tensor:
            bar = float(self.alpha_bars[time])
            return bar**0.5 * estimate(x, time) + (1 - bar) ** 0.5 * x

        return predict

    def _hint(self, hints: Tensor, count: int) -> Tensor:
        """The hints where the weights are, refused unless there is one of the right size for each picture."""
        if self.control is None:
            raise ConfigError(f"generator {self.name!r} has no control branch for hints; train one with train control")
        side = HINT_FACTOR * self.latent_shape[1]
        if hints.shape != (count, 3, side, side):
            raise InputError(f"{count} pictures need hints of (3, {side}, {side}) each, got {tuple(hints.shape)}")
        return hints.to(self.device).contiguous(memory_format=torch.channels_last)


def architecture(
    autoencoder: AutoencoderConfig | VQConfig,
    denoiser: UNetConfig,
    diffusion: DiffusionConfig,
    *,
    decoder: FastDecoderConfig | None = None,
    control: bool = False,
    sampling: SamplerConfig | None = None,
) -> dict[str, Any]:
    """What a generator's card says of its networks; `load` builds them from it.

    A VQ autoencoder, a small decoder, a control branch and a way of sampling are named only where there is one.
    """
    return {
        "autoencoder": autoencoder_architecture(autoencoder),
        "denoiser": asdict(denoiser),
        "diffusion": asdict(diffusion),
        **({} if decoder is None else {"decoder": asdict(decoder)}),
        **({"control": True} if control else {}),
        **({} if sampling is None else {"sampling": sampling.record()}),
    }


def autoencoder_architecture(config: AutoencoderConfig | VQConfig) -> dict[str, Any]:
    """What a card says of an autoencoder; `build_autoencoder` builds it from that."""
    return {"kind": "vq", **asdict(config)} if isinstance(config, VQConfig) else asdict(config)


def build_autoencoder(values: Mapping[str, Any]) -> Autoencoder | VQAutoencoder:
    """The autoencoder of a card, untrained; KeyError or TypeError where the card names what is not known."""
    values = dict(values)
    kind = values.pop("kind", "small")
    if kind == "vq":
        return VQAutoencoder(_config(VQConfig, values))
    if kind != "small":
        raise KeyError(f"no autoencoder of kind {kind}")
    return Autoencoder(_config(AutoencoderConfig, values))


def load_card(name: str | Path = "bundled") -> Card:
    """Only the card of a generator, named as for `load`; raises InputError and DataError as that does."""
    return read_card(weights_path(name, kind="generator"))


def load(name: str | Path = "bundled", *, device: str = "cpu") -> Generator:
    """Load a generator in eval mode.

    Args:
        name: "bundled", "bundled-4steps" (distilled to 4 steps), or the path of a generator's .safetensors file.
        device: such as "cpu" or "cuda".

    Raises:
        InputError: no such file, or a model of another kind.
        DataError: the file is damaged, or its tensors do not fit the networks that its card names.
    """
    state, card = load_weights(name, kind="generator")
    try:
        parts = card.architecture
        autoencoder = build_autoencoder(parts["autoencoder"])
        denoiser = ConditionalUNet(_config(UNetConfig, parts["denoiser"]))
        generator = Generator(
            autoencoder,
            denoiser,
            _config(DiffusionConfig, parts["diffusion"]),
            card,
            decoder=FastDecoder(_config(FastDecoderConfig, parts["decoder"])) if "decoder" in parts else None,
            control=ControlNet(denoiser.config) if parts.get("control") else None,
            sampling=SamplerConfig.from_record(parts["sampling"]) if "sampling" in parts else None,
        )
        generator.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError, ConfigError) as error:
        raise DataError(f"generator {name}: its card and its tensors do not fit each other ({error})") from error
    generator = generator.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator.eval()


def _config(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A config from the JSON values of a card, where tuples have become lists."""
    known = {field.name for field in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise KeyError(f"{kind.__name__} has no {unknown[0]}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
