"""A base model as a personaliser is trained through it: latents, prompts with people, noise, prediction, target."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facewright.align import ARCFACE_TEMPLATE, similarity
from facewright.errors import InputError
from facewright.personalise.injection import embedding_module
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.prompts import Tokenizer
from facewright.personalise.train_batch import Batch

CROP = 112


@dataclass(frozen=True)
class Prompted:
    """Encoded captions as the denoiser takes them."""

    states: Tensor
    """(B, T, D)."""
    pooled: Tensor | None
    """(B, P), of Stable Diffusion XL."""


class BaseModel:
    """The parts of a Stable Diffusion 1.x, 2.x or XL pipeline of diffusers, frozen; noise is DDPM's (Ho et al. 2020).

    Args:
        pipe: with all its parts on one device.
        size: of the pictures, in pixels; None: the base model's own.

    Raises:
        InputError: the size does not fit the denoiser, or the pipeline lacks a text encoder.
    """

    def __init__(self, pipe: Any, *, size: int | None = None) -> None:
        from diffusers import DDPMScheduler

        own = pipe.unet.config.sample_size
        self.pipe, self.unet, self.vae = pipe, pipe.unet, pipe.vae
        self.factor = int(pipe.vae_scale_factor)
        self.size = size or self.factor * int(own if isinstance(own, int) else own[0])
        step = self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if self.size < step or self.size % step:
            raise InputError(f"pictures for this base model are a multiple of {step} px wide, got {self.size}")
        pairs = [
            (getattr(pipe, f"tokenizer{suffix}", None), getattr(pipe, f"text_encoder{suffix}", None))
            for suffix in ("", "_2")
        ]
        found = [(tokenizer, encoder) for tokenizer, encoder in pairs if tokenizer is not None and encoder is not None]
        if not found:
            raise InputError(f"{type(pipe).__name__} lacks a text encoder or tokenizer to put people into")
        self.tokenizers: list[Tokenizer] = [tokenizer for tokenizer, _ in found]
        self.encoders: list[Any] = [encoder for _, encoder in found]
        self.widths = [int(encoder.config.hidden_size) for encoder in self.encoders]
        scheduler: Any = DDPMScheduler
        self.noise = scheduler.from_config(pipe.scheduler.config)
        self.times = int(self.noise.config.num_train_timesteps)
        for part in (self.unet, self.vae, *self.encoders):
            part.requires_grad_(requires_grad=False).eval()
        self.device = self.unet.device

    @torch.no_grad()
    def latents(self, pictures: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """(B, C, h, w) float32 of pictures (B, 3, S, S) in [-1, 1]; the mean of the autoencoder's without generator."""
        spread = self.vae.encode(pictures.to(self.device, self.vae.dtype)).latent_dist
        latents = spread.mean.float()
        if generator is not None:
            drawn = torch.randn(latents.shape, generator=generator)
            latents = latents + spread.std.float() * drawn.to(self.device)
        return (latents - float(self.vae.config.get("shift_factor") or 0)) * float(self.vae.config.scaling_factor)

    def pictures(self, latents: Tensor) -> Tensor:
        """(B, 3, S, S) float32 of latents, not clipped; gradients run through it."""
        scaled = latents / float(self.vae.config.scaling_factor) + float(self.vae.config.get("shift_factor") or 0)
        return self.vae.decode(scaled.to(self.vae.dtype), return_dict=False)[0].float()

    @torch.no_grad()
    def plain(self, batch: Batch) -> Prompted:
        """The captions with everybody by their noun."""
        return self._encoded([prompts.plain for prompts in batch.prompts], None, batch)

    def prompted(self, batch: Batch, words: Tensor, fuse: PostFuse | None) -> Prompted:
        """The captions with everybody's words; gradients run to the words.

        Args:
            batch: M people.
            words: (M, K, D), D the width of all text encoders together.
            fuse: None puts the words in place of the tokens before the text encoder; else the fusion after it.
        """
        ids = [prompts.ids for prompts in batch.prompts]
        if fuse is None:
            return self._encoded(ids, words, batch)
        with torch.no_grad():
            encoded = self._encoded(ids, None, batch)
        return Prompted(_fused(encoded.states, words, batch, fuse), encoded.pooled)

    def predicted(self, noisy: Tensor, times: Tensor, prompted: Prompted) -> Tensor:
        """What the denoiser predicts, (B, C, h, w) float32."""
        more: dict[str, Any] = {}
        if prompted.pooled is not None:
            frame = [self.size, self.size, 0, 0, self.size, self.size]  # whole and cut size of the picture, no offset
            frames = torch.tensor(frame, device=self.device).expand(len(noisy), -1)
            more["added_cond_kwargs"] = {"text_embeds": prompted.pooled, "time_ids": frames}
        dtype = self.unet.dtype
        return self.unet(
            noisy.to(dtype), times, encoder_hidden_states=prompted.states.to(dtype), return_dict=False, **more
        )[0].float()

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Latents with noise added as DDPM does, keeping their variance."""
        return self.noise.add_noise(clean, noise, times)

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the denoiser was trained to predict: the noise, the velocity or the clean latents."""
        kind = self.noise.config.prediction_type
        if kind == "v_prediction":
            return self.noise.get_velocity(clean, noise, times)
        return clean if kind == "sample" else noise

    def cleaned(self, noisy: Tensor, predicted: Tensor, times: Tensor) -> Tensor:
        """The clean latents that a prediction implies (x0-hat)."""
        bar = self.noise.alphas_cumprod.to(self.device)[times][:, None, None, None]
        kind = self.noise.config.prediction_type
        if kind == "v_prediction":
            return bar.sqrt() * noisy - (1 - bar).sqrt() * predicted
        return predicted if kind == "sample" else (noisy - (1 - bar).sqrt() * predicted) / bar.sqrt()

    def noun_embedding(self, nouns: Sequence[str]) -> Tensor:
        """The token embeddings of words of one token, (len(nouns), D) of all text encoders side by side."""
        parts = []
        for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True):
            ids = [tokenizer(noun, add_special_tokens=False).input_ids[-1] for noun in nouns]
            parts.append(encoder.get_input_embeddings().weight.detach()[ids].float())
        return torch.cat(parts, 1)

    def _encoded(self, ids: Sequence[Tensor], words: Tensor | None, batch: Batch) -> Prompted:
        states, pooled, start = list[Tensor](), None, 0
        last = len(self.encoders) == 1  # XL reads the last layer but one of both, without the final norm
        for tokens, prompts, encoder, width in zip(ids, batch.prompts, self.encoders, self.widths, strict=True):
            with ExitStack() as stack:
                if words is not None:
                    own = words[..., start : start + width]
                    stack.enter_context(replacing(encoder, own, batch.sample, prompts.starts))
                output = encoder(tokens.to(self.device), output_hidden_states=not last)
            states.append(output[0] if last else output.hidden_states[-2])
            pooled = None if last else output[0]
            start += width
        return Prompted(torch.cat(states, 2), pooled)


def aligned_faces(pictures: Tensor, points: np.ndarray) -> Tensor:
    """Crops (M, 3, 112, 112) at the ArcFace template, by bilinear sampling that gradients run through.

    Args:
        pictures: (M, 3, H, W) in [-1, 1]; black, -1, outside.
        points: of the face in each, (M, 5, 2).
    """
    height, width = pictures.shape[2:]
    grids = []
    rows, columns = np.indices((CROP, CROP))
    places = np.stack([columns.ravel(), rows.ravel(), np.ones(CROP * CROP)])
    for own in points:
        x, y = (np.linalg.inv(similarity(own, ARCFACE_TEMPLATE)) @ places)[:2]
        grids.append(np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], 1).reshape(CROP, CROP, 2))
    grid = torch.from_numpy(np.stack(grids)).to(pictures)
    return F.grid_sample(pictures + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1


@contextmanager
def replacing(encoder: nn.Module, words: Tensor, sample: Tensor, starts: Tensor) -> Iterator[None]:
    """While the block runs, the encoder reads words (M, K, D) at `starts` of their samples, without positions.

    As `injection.inserting`, but each prompt of the batch has people of its own.
    """
    count = words.shape[1]
    rows = sample.repeat_interleave(count)
    columns = (starts[:, None] + torch.arange(count)).flatten()

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:  # noqa: ARG001 - the shape of torch's hooks
        places = rows.to(output.device), columns.to(output.device)
        return output.index_put(places, words.flatten(0, 1).to(output.dtype))

    handle = embedding_module(encoder).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _fused(states: Tensor, words: Tensor, batch: Batch, fuse: PostFuse) -> Tensor:
    """States with the words of each sample's people fused into their tokens."""
    device, count, most = states.device, words.shape[1], batch.masks.shape[1]
    sample, slot, starts = (part.to(device) for part in (batch.sample, batch.slot, batch.prompts[0].starts))
    subjects = words.new_zeros(len(states), most, *words.shape[1:]).index_put((sample, slot), words).flatten(1, 2)
    marked = torch.zeros(states.shape[:2], dtype=torch.bool, device=device)
    marked[sample[:, None], starts[:, None] + torch.arange(count, device=device)] = True
    counts = torch.bincount(sample, minlength=len(states)) * count
    return fuse(states.to(words.dtype), subjects, marked=marked, counts=counts)
