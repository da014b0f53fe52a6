"""What one step of a training of personalised pictures computes, as a module that `facewright plan` counts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from facewright.cli.plan_base import BaseShapes
from facewright.personalise.base_networks import AutoencoderSizes, make_autoencoder
from facewright.personalise.injection import embedding_module
from facewright.personalise.mapping import Mapping
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.prompt_classifier import PromptClassifier, PromptClassifierConfig
from facewright.personalise.train_attention import AttentionMaps, recorded_attention
from facewright.personalise.train_recipe import PersonaliserTraining

Encoded = tuple[Tensor, Tensor | None]
"""States (B, T, D) of a prompt, and the pooled one of Stable Diffusion XL."""


class PersonaliserStep(nn.Module):
    """A mapping, and the base model that it is trained through; the size of an XL picture is not counted."""

    def __init__(self, config: PersonaliserTraining, shapes: BaseShapes, *, identity_width: int) -> None:
        super().__init__()
        self.config = config
        self.widths = [int(text["hidden_size"]) for text in shapes.texts]
        self.mapping = Mapping(config.mapping(identity_width, shapes.word_width))
        self.fuse = PostFuse(shapes.word_width) if config.mode == "fuse" else None
        self.autoencoder = frozen(shapes.make_autoencoder())
        self.texts = nn.ModuleList(frozen(text) for text in shapes.make_text_encoders())
        self.denoiser = shapes.make_denoiser()
        if config.checkpointing:
            self.denoiser.enable_gradient_checkpointing()
        if config.trained != "denoiser":
            frozen(self.denoiser, but=(".attn2.to_k.", ".attn2.to_v.") if config.trained == "attention" else ())

    def forward(self, pictures: Tensor, times: Tensor, ids: Tensor, identity: Tensor, expression: Tensor) -> Tensor:
        """What the loss is made of, (B, C, h, w).

        Args:
            pictures: (B, 3, S, S).
            times: (B,).
            ids: tokens, (B, T).
            identity: (B, P, W), of P people a picture.
            expression: (B, P, E).
        """
        config = self.config
        with torch.no_grad():
            latents = self.autoencoder.encode(pictures).latent_dist.mean
        words = torch.stack(self.mapping(identity.flatten(0, 1), expression.flatten(0, 1)), 1)
        words = words.unflatten(0, identity.shape[:2]).flatten(1, 2)  # (B, 2 P, D)
        with recorded_attention(self.denoiser) if config.localisation else nullcontext(AttentionMaps()) as maps:
            with maps.kept() as kept:
                found = self._predicted(latents, times, self._prompted(ids, words))
            if config.cgdr:
                with torch.no_grad():
                    noun = self._predicted(latents, times, self._encoded(ids, None))
                found = found - noun
        return found + sum(layer.mean() for layer in kept)

    def _prompted(self, ids: Tensor, words: Tensor) -> Encoded:
        if self.fuse is None:
            return self._encoded(ids, words)
        with torch.no_grad():
            states, pooled = self._encoded(ids, None)
        subjects = words.mean(1, keepdim=True).expand_as(states)  # PostFuse asks for marks, which have no values here
        fused = self.fuse.mlp1(torch.cat([states, subjects], 2)) + states
        return self.fuse.layer_norm(fused + self.fuse.mlp2(fused)), pooled

    def _encoded(self, ids: Tensor, words: Tensor | None) -> Encoded:
        last = len(self.texts) == 1
        parts = [None] * len(self.widths) if words is None else words.split(self.widths, 2)
        states, pooled = list[Tensor](), None
        for text, own in zip(self.texts, parts, strict=True):
            with nullcontext() if own is None else _inserted(text, own):
                output: Any = text(ids, output_hidden_states=not last)
            states.append(output[0] if last else output.hidden_states[-2])
            pooled = None if last else output[0]
        return torch.cat(states, 2), pooled

    def _predicted(self, latents: Tensor, times: Tensor, encoded: Encoded) -> Tensor:
        states, pooled = encoded
        more: dict[str, Any] = {}
        if pooled is not None:
            more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": pooled.new_zeros(len(pooled), 6)}
        found: Tensor = self.denoiser(latents, times, encoder_hidden_states=states, return_dict=False, **more)[0]
        return found


class BaseRoundTrip(nn.Module):
    """The autoencoder of a base model."""

    def __init__(self, sizes: AutoencoderSizes, *, picture: int) -> None:
        super().__init__()
        self.autoencoder = make_autoencoder(sizes, picture=picture)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), there and back."""
        latents = self.autoencoder.encode(images).latent_dist
        found: Tensor = self.autoencoder.decode(latents.mean + latents.std).sample
        return found


class Answers(nn.Module):
    """The classifier of prompts."""

    def __init__(self, config: PromptClassifierConfig) -> None:
        super().__init__()
        self.classifier = PromptClassifier(config)

    def forward(self, images: Tensor) -> Tensor:
        """All logits of images (B, 3, 64, 64), side by side."""
        return torch.cat(list(self.classifier(images).values()), 1)


def frozen(network: Any, *, but: Sequence[str] = ()) -> Any:
    """The network with its parameters made buffers: they take part, and are neither learnt nor counted.

    Args:
        network: changed in place.
        but: parameters stay whose full name has one of these in it.
    """
    for prefix, module in network.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not any(part in f"{prefix}.{name}" for part in but):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())
    return network


@contextmanager
def _inserted(text: Any, words: Tensor) -> Iterator[None]:
    """While the block runs, the encoder reads words (B, K, D) in place of its first tokens but the start."""

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:  # noqa: ARG001 - the shape of torch's hooks
        return torch.cat([output[:, :1], words.to(output.dtype), output[:, 1 + words.shape[1] :]], 1)

    handle = embedding_module(text).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
