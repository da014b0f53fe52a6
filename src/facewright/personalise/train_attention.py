"""Which pixels look at which word: the cross-attention maps of a U-Net of diffusers, kept while it is trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

BLOCKS = 5  # in the middle of the network, as FastComposer has it: maps of 32, 16 and 8 px of Stable Diffusion at 512


class AttentionMaps:
    """Maps of the last calls of a U-Net, while `on`."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []
        """(B * heads, H * W, T) of each layer, softmaxed."""
        self.on = False

    @contextmanager
    def kept(self) -> Iterator[list[Tensor]]:
        """The maps of the calls in the block, empty where none are recorded."""
        self.maps, self.on = [], True
        try:
            yield self.maps
        finally:
            self.maps, self.on = [], False


class RecordingProcessor:
    """An attention processor of diffusers that keeps the map and leaves the rest to another one.

    The map is computed in every call, kept or not: where activations are computed again for the backward pass, the
    second time has to be like the first.
    """

    def __init__(self, inner: Any, maps: AttentionMaps) -> None:
        self.inner = inner
        self._maps = maps

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        scores = attn.get_attention_scores(query, key)
        if self._maps.on:
            self._maps.maps.append(scores)
        return self.inner(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


@contextmanager
def recorded_attention(unet: Any) -> Iterator[AttentionMaps]:
    """While the block runs, the cross-attention of the middle blocks can be kept; then the U-Net is as before."""
    before, maps = dict(unet.attn_processors), AttentionMaps()
    chosen = middle_layers(list(before))
    unet.set_attn_processor(
        {name: RecordingProcessor(inner, maps) if name in chosen else inner for name, inner in before.items()}
    )
    try:
        yield maps
    finally:
        unet.set_attn_processor(before)


def middle_layers(names: list[str]) -> set[str]:
    """Of a U-Net's attention processors those of the cross-attention of its `BLOCKS` middle blocks.

    Args:
        names: such as "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor".
    """
    crossing = [name for name in names if ".attn2." in name]
    blocks = sorted({_block(name) for name in crossing})
    outer = max(0, len(blocks) - BLOCKS) // 2
    inner = set(blocks[outer : len(blocks) - outer][:BLOCKS])
    return {name for name in crossing if _block(name) in inner}


def _block(name: str) -> tuple[int, int]:
    """Where a layer's block stands in the network, from its input to its output."""
    part, number = name.split(".")[:2]
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}[part]
    return order, int(number) if number.isdigit() else 0
