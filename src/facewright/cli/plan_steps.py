"""What one step of a training computes, as a module that `facewright plan` counts; frozen networks are not its own."""

from typing import Any

import torch
from torch import Tensor, nn

from facewright import diffusion
from facewright.diffusion.controlnet import controlled

Autoencoder = diffusion.Autoencoder | diffusion.VQAutoencoder


class Frozen:
    """A network that takes part in a step and does not learn: no parameter, gradient or average of it is counted."""

    def __init__(self, network: Any) -> None:
        self._network = network.requires_grad_(requires_grad=False)

    def like(self, tensor: Tensor) -> Any:
        """The network on the tensor's device and in its precision."""
        return self._network.to(device=tensor.device, dtype=tensor.dtype)


class RoundTrip(nn.Module):
    """The small autoencoder."""

    def __init__(self, config: diffusion.AutoencoderConfig) -> None:
        super().__init__()
        self.autoencoder = diffusion.Autoencoder(config)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 128, 128), there and back."""
        return self.autoencoder.decode(self.autoencoder.encode(images).to(images.dtype))


class CodedRoundTrip(nn.Module):
    """The VQ autoencoder; looking up codes costs next to nothing and is left out."""

    def __init__(self, config: diffusion.VQConfig) -> None:
        super().__init__()
        self.autoencoder = diffusion.VQAutoencoder(config)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 128, 128), there and back."""
        return self.autoencoder.decoder(self.autoencoder.encoder(images), quantise=False)


class DecoderStep(nn.Module):
    """A small decoder beside the one that it learns from."""

    def __init__(self, config: diffusion.FastDecoderConfig, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.decoder = diffusion.FastDecoder(config)
        self.teacher = Frozen(autoencoder)

    def forward(self, latents: Tensor) -> Tensor:
        """The error at latents (B, C, h, w), (B, 3, H, W)."""
        return self.decoder(latents) - decoded(self.teacher.like(latents), latents)


class ControlStep(nn.Module):
    """A control branch with the denoiser that it steers."""

    def __init__(self, config: diffusion.UNetConfig) -> None:
        super().__init__()
        self.control = diffusion.ControlNet(config)
        self.denoiser = Frozen(diffusion.ConditionalUNet(config))

    def forward(self, latents: Tensor, times: Tensor, contexts: Tensor, hints: Tensor) -> Tensor:
        """The denoiser's estimate under hints, (B, C, h, w)."""
        return controlled(self.denoiser.like(latents), self.control, latents, times, contexts, hint=hints)


class FewStepStep(nn.Module):
    """A few-step denoiser with its teacher, guided or not, and the average that it follows."""

    def __init__(self, config: diffusion.UNetConfig, *, guided: bool) -> None:
        super().__init__()
        self.student = diffusion.ConditionalUNet(config)
        self.teacher = Frozen(diffusion.ConditionalUNet(config))
        self.follower = Frozen(diffusion.ConditionalUNet(config))
        self.guided = guided

    def forward(self, latents: Tensor, times: Tensor, contexts: Tensor | None = None) -> Tensor:
        """The error at noisy latents, (B, C, h, w)."""
        asked = (latents, times, contexts)
        twice = tuple(None if x is None else torch.cat([x, x]) for x in asked) if self.guided else asked
        led = self.teacher.like(latents)(*twice)[: len(latents)]
        return self.student(*asked) - self.follower.like(latents)(*asked) - led


def decoded(autoencoder: Autoencoder, latents: Tensor) -> Tensor:
    """Pictures of unscaled latents, in their precision; of a VQ autoencoder without looking up codes."""
    if isinstance(autoencoder, diffusion.VQAutoencoder):
        return autoencoder.decoder(latents, quantise=False)
    return autoencoder.decoder(latents)
