"""People's words put into a prompt, before the text encoder (Face2Diffusion) or after it (FastComposer)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from facewright.errors import InputError
from facewright.personalise.postfuse import PostFuse
from facewright.personalise.text import insert_words

MODES = ("replace", "fuse")
"""Before the text encoder in place of the name's tokens, or after it into the noun's last tokens."""


def insert_people(embeddings: Tensor, words: Mapping[str, Tensor], *, spans: Mapping[str, range]) -> Tensor:
    """Put everybody's words in place of their tokens; these carry no position embedding then (Face2Diffusion).

    Args:
        embeddings: of the tokens with their positions, (B, T, D).
        words: (K, D) by name.
        spans: the K tokens of each person, as `Placed.spans`.

    Returns:
        A new (B, T, D).

    Raises:
        InputError: words and spans are of different people, numbers or widths.
    """
    _check(words, spans, embeddings.shape[2])
    for name, span in spans.items():
        start = torch.full((len(embeddings),), span.start, device=embeddings.device)
        own = words[name].to(embeddings)[None].expand(len(embeddings), -1, -1)
        embeddings = insert_words(embeddings, own, positions=start)
    return embeddings


def fuse_people(states: Tensor, words: Mapping[str, Tensor], *, spans: Mapping[str, range], fuse: PostFuse) -> Tensor:
    """Fuse everybody's words into the encoded tokens of their noun (FastComposer); arguments as `insert_people`.

    Args:
        states: encoded prompt, (B, T, D).
        words, spans: as of `insert_people`.
        fuse: the trained fusion; it computes in the precision of its own weights.

    Returns:
        A new (B, T, D) of the precision of `states`.
    """
    _check(words, spans, states.shape[2])
    if not spans:
        return states
    batch, length = states.shape[:2]
    ordered = sorted(spans, key=lambda name: spans[name].start)
    marked = torch.zeros(batch, length, dtype=torch.bool, device=states.device)
    for span in spans.values():
        marked[:, span.start : span.stop] = True
    weight = next(fuse.parameters())
    subjects = torch.cat([words[name].to(weight) for name in ordered])[None].expand(batch, -1, -1)
    counts = torch.full((batch,), subjects.shape[1], device=states.device)
    return fuse(states.to(weight.dtype), subjects, marked=marked, counts=counts).to(states.dtype)


@contextmanager
def inserting(encoder: nn.Module, words: Mapping[str, Tensor], *, spans: Mapping[str, range]) -> Iterator[None]:
    """While the block runs, `encoder` reads the people's words in place of their tokens.

    A torch forward hook on the module that adds token and position embeddings, taken off when the block ends; the
    encoder and whatever is attached to it (LoRA, another attention) stay as they are.

    Args:
        encoder: a CLIP text encoder of transformers.
        words, spans: as of `insert_people`.

    Raises:
        InputError: the encoder has no such module; and as `insert_people`, from within the block.
    """
    embedding = embedding_module(encoder)

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:  # noqa: ARG001 - the shape of torch's hooks
        return insert_people(output, words, spans=spans)

    handle = embedding.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def embedding_module(encoder: nn.Module) -> nn.Module:
    """The module of a CLIP text encoder that adds token and position embeddings."""
    for module in encoder.modules():
        if hasattr(module, "token_embedding") and hasattr(module, "position_embedding"):
            return module
    raise InputError(f"{type(encoder).__name__} is no CLIP text encoder: it has no token and position embeddings")


def _check(words: Mapping[str, Tensor], spans: Mapping[str, range], width: int) -> None:
    if words.keys() != spans.keys():
        raise InputError(f"words of {sorted(words)} do not fit a prompt of {sorted(spans)}; give the same names")
    for name, own in words.items():
        if own.shape != (len(spans[name]), width):
            raise InputError(
                f"the words of {name!r} must be ({len(spans[name])}, {width}) for this text encoder, "
                f"got {tuple(own.shape)}"
            )
