"""A prompt with people in it as what conditions a Stable Diffusion pipeline of diffusers."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facewright.errors import InputError
from facewright.personalise.injection import fuse_people, inserting
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.prompts import Placed, Tokenizer, place_people


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts of a pipeline."""

    states: Tensor
    """(B, T, D); of two text encoders side by side along D."""
    pooled: Tensor | None
    """(B, P) of the second text encoder, where the pipeline has one."""
    cut: tuple[str, ...] = ()
    """Words that found no room in the prompt."""

    def repeated(self, times: int) -> "Conditioning":
        """The same for several pictures."""
        pooled = None if self.pooled is None else self.pooled.repeat_interleave(times, 0)
        return Conditioning(self.states.repeat_interleave(times, 0), pooled, self.cut)


@torch.no_grad()
def encode_people(
    pipe: Any,
    prompt: str,
    *,
    nouns: Mapping[str, str],
    words: Mapping[str, Tensor] | None = None,
    fuse: PostFuse | None = None,
) -> Conditioning:
    """Encode a prompt that names people, for `prompt_embeds` of a Stable Diffusion pipeline.

    Args:
        pipe: a pipeline of diffusers with one text encoder (Stable Diffusion 1.x, 2.x) or two (XL).
        prompt: names each person once.
        nouns: a class noun for each person by name; people without words are written as their noun.
        words: (K, D) of some or all people, D the width of all text encoders together.
        fuse: None puts words in place of the name before the text encoder; else they are fused after it.

    Raises:
        InputError: as `place_people`; words have another width; or the pipeline has no CLIP text encoder.
    """
    words = dict(words or {})
    counts = {name: len(own) for name, own in words.items()}
    encoders = _encoders(pipe)
    _check_widths(words, sum(encoder.config.hidden_size for _, encoder in encoders))
    last = len(encoders) == 1  # XL reads the last layer but one of both, without the final norm
    states, pooled, start = list[Tensor](), None, 0
    placed = Placed((), {}, ())
    for tokenizer, encoder in encoders:
        placed = place_people(prompt, nouns, tokenizer, words=counts, keep_nouns=fuse is not None)
        stop = start + encoder.config.hidden_size
        own = {} if fuse else {name: words[name][:, start:stop] for name in placed.spans}
        ids = torch.tensor([placed.ids], device=encoder.device)
        with inserting(encoder, own, spans=placed.spans) if own else nullcontext():
            output = encoder(ids, output_hidden_states=not last)
        states.append(output[0] if last else output.hidden_states[-2])
        pooled = None if last else output[0]
        start = stop
    joined = torch.cat(states, 2)
    if fuse is not None:
        joined = fuse_people(joined, {name: words[name] for name in placed.spans}, spans=placed.spans, fuse=fuse)
    return Conditioning(joined, pooled, placed.cut)


def encode_negative(pipe: Any, text: str, like: Conditioning) -> Conditioning:
    """Encode what the picture shall not show; without text, XL models that ask for it take zeros."""
    if not text and like.pooled is not None and pipe.config.get("force_zeros_for_empty_prompt", False):
        return Conditioning(torch.zeros_like(like.states), torch.zeros_like(like.pooled))
    return encode_people(pipe, text, nouns={})


def _encoders(pipe: Any) -> list[tuple[Tokenizer, Any]]:
    found = [
        (getattr(pipe, f"tokenizer{suffix}", None), getattr(pipe, f"text_encoder{suffix}"))
        for suffix in ("", "_2")
        if hasattr(pipe, f"text_encoder{suffix}")
    ]
    complete = [(tokenizer, encoder) for tokenizer, encoder in found if tokenizer is not None and encoder is not None]
    if not found or len(complete) < len(found):
        raise InputError(f"{type(pipe).__name__} lacks a text encoder or tokenizer to put people into")
    return complete


def _check_widths(words: Mapping[str, Tensor], width: int) -> None:
    for name, own in words.items():
        if own.ndim != 2 or own.shape[1] != width:
            raise InputError(
                f"the words of {name!r} are {own.shape[-1]} wide, the text encoders of this base model take {width}; "
                "use a mapper trained for it"
            )
