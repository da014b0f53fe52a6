"""Each person in a part of the picture of their own: another prompt is read in each region.

The prompts of all regions are joined along the tokens, the one of the background first. By "attention" a bias of the
cross-attention keeps each pixel to the prompt of its region, in one call of the network. By "estimates" the network is
asked once for each prompt and its answers are joined by region (MultiDiffusion, Bar-Tal et al. 2023), which costs as
many calls, and holds for networks too that read a prompt as a whole. Either way a person's words, and whatever the text
encoder has spread of them over later tokens, are read in that person's region alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facewright.errors import InputError

WAYS = ("attention", "estimates", "windows")
"""How regions are kept apart; windows are those of `windows`."""

Box = tuple[float, float, float, float]
"""left, top, right, bottom as shares of the picture's width and height, each in [0, 1]."""


def columns(count: int) -> list[Box]:
    """Side by side from left to right, equally wide and as high as the picture."""
    return [(index / count, 0.0, (index + 1) / count, 1.0) for index in range(count)]


def box_masks(boxes: Sequence[Box], size: tuple[int, int]) -> Tensor:
    """How much of each pixel a box covers, float32 (N, H, W) in [0, 1].

    Args:
        boxes: at least one.
        size: (H, W).

    Raises:
        InputError: a box is empty or reaches outside the picture.
    """
    for box in boxes:
        left, top, right, bottom = box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(f"a box is left, top, right, bottom from 0 to 1, left and top first; got {box}")
    rows = [
        _covered(top, bottom, size[0])[:, None] * _covered(left, right, size[1]) for left, top, right, bottom in boxes
    ]
    return torch.stack(rows)


def region_weights(masks: Tensor) -> Tensor:
    """Shares of the prompts in each pixel, (N + 1, H, W): the background, then the regions; they add up to 1.

    Args:
        masks: (N, H, W) in [0, 1]; where they overlap the regions share the pixel.

    Raises:
        InputError: another shape or range.
    """
    if masks.ndim != 3 or not len(masks) or not bool(((masks >= 0) & (masks <= 1)).all()):
        raise InputError(f"masks must be (people, height, width) in [0, 1], got {tuple(masks.shape)}")
    masks = masks.float()
    total = masks.sum(0, keepdim=True)
    return torch.cat([(1 - total).clamp_min(0), masks / total.clamp_min(1)])


class RegionalProcessor:
    """An attention processor of diffusers that adds the bias of the regions and leaves the rest to another one."""

    def __init__(self, inner: Any, biases: Mapping[int, Tensor]) -> None:
        self.inner = inner
        self.biases = biases  # (H * W, regions) by H * W

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        pixels = hidden_states.shape[1]
        if encoder_hidden_states is None or pixels not in self.biases:
            raise InputError(
                f"regions need cross-attention over maps of {sorted(self.biases)} pixels, got {pixels}; "
                "give the size of the picture that is drawn"
            )
        bias = self.biases[pixels].to(hidden_states)
        batch, tokens = encoder_hidden_states.shape[:2]
        wide = bias.repeat_interleave(tokens // bias.shape[1], 1)
        mask = wide.expand(batch * attn.heads, -1, -1)
        if attention_mask is not None:
            mask = mask + attention_mask
        return self.inner(attn, hidden_states, encoder_hidden_states, mask, *args, **kwargs)


@contextmanager
def regional_attention(networks: Sequence[Any], weights: Tensor, *, latent: tuple[int, int]) -> Iterator[None]:
    """While the block runs, the cross-attention of these networks keeps to regions.

    Args:
        networks: U-Nets and ControlNets of diffusers.
        weights: (R, H, W), as from `region_weights`.
        latent: (height, width) of the latents.
    """
    before = [dict(network.attn_processors) for network in networks]
    try:
        for network, processors in zip(networks, before, strict=True):
            biases = _biases(weights, latent, levels=len(network.config.block_out_channels))
            network.set_attn_processor(
                {
                    name: RegionalProcessor(processor, biases) if "attn2" in name else processor
                    for name, processor in processors.items()
                }
            )
        yield
    finally:
        for network, processors in zip(networks, before, strict=True):
            network.set_attn_processor(processors)


@contextmanager
def regional_estimates(network: Any, weights: Tensor, *, latent: tuple[int, int]) -> Iterator[None]:
    """While the block runs, this network answers each region's prompt and gives the answers joined by region.

    Args:
        network: U-Net of diffusers, called with `encoder_hidden_states` (B, R T, D): R prompts in a row.
        weights: (R, H, W), as from `region_weights`.
        latent: (height, width) of the latents.
    """
    count = len(weights)
    shares = F.interpolate(weights[None], latent, mode="area")[0]

    def ask_all(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        states = kwargs["encoder_hidden_states"]
        others = {name: each_region(value, count) for name, value in kwargs.items() if name != "encoder_hidden_states"}
        prompts = states.unflatten(1, (count, -1)).flatten(0, 1)
        return tuple(each_region(value, count) for value in args), {**others, "encoder_hidden_states": prompts}

    def join(_: Any, args: Any, output: Any) -> Any:  # noqa: ARG001
        answers = output[0].unflatten(0, (-1, count))
        joined = (answers * shares.to(answers)[:, None]).sum(1)
        return (joined, *output[1:]) if isinstance(output, tuple) else type(output)(joined)

    hooks = [
        network.register_forward_pre_hook(ask_all, with_kwargs=True),
        network.register_forward_hook(join),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def each_region(value: Any, count: int) -> Any:
    """What belongs to the samples of a batch, once for each region; what belongs to none stays."""
    if isinstance(value, Tensor) and value.ndim:
        return value.repeat_interleave(count, 0)
    if isinstance(value, list | tuple):
        return type(value)(each_region(each, count) for each in value)
    if isinstance(value, dict):
        return {name: each_region(each, count) for name, each in value.items()}
    return value


def _biases(weights: Tensor, latent: tuple[int, int], *, levels: int) -> dict[int, Tensor]:
    """Logarithms of the shares at every size that the network works at, (H * W, R) by H * W."""
    biases = {}
    height, width = latent
    for _ in range(levels):
        shares = F.interpolate(weights[None], (height, width), mode="area")[0]
        biases[height * width] = shares.flatten(1).T.log()
        height, width = (height + 1) // 2, (width + 1) // 2
    return biases


def _covered(start: float, stop: float, cells: int) -> Tensor:
    edges = torch.arange(cells + 1, dtype=torch.float64) / cells
    overlap = edges[1:].clamp_max(stop) - edges[:-1].clamp_min(start)
    return (overlap.clamp_min(0) * cells).clamp_max(1).float()
