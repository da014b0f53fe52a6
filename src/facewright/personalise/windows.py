"""Everybody in a window of their own: a picture wider than the base model draws, one person beside the other.

The network answers each window's prompt, which names its person alone, at the size that it was trained for; where two
windows overlap, their answers are mixed at every step (MultiDiffusion, Bar-Tal et al. 2023). A base model that draws
one person well then draws several, at the cost of a call for each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from facewright.errors import InputError
from facewright.personalise.prompts import find_people
from facewright.personalise.regions import each_region

OVERLAP = 0.125  # of two neighbours, as a share of a window; the least
_BETWEEN = {"and", ",", ", and"}


def window_starts(people: int, side: int, *, multiple: int = 1) -> list[int]:
    """Where the windows of so many people begin, from left to right; the picture ends with the last one.

    Args:
        people: at least one.
        side: of a window, in cells of the latents.
        multiple: what starts are multiples of.
    """
    apart = max(multiple, int((1 - OVERLAP) * side) // multiple * multiple)
    return [number * apart for number in range(people)]


def lone_prompts(prompt: str, names: Sequence[str]) -> dict[str, str]:
    """The prompt with one person in place of all, in its order: "a and b at night" gives "a at night", "b at night".

    Raises:
        InputError: as `find_people`; or the prompt does not name them one after another.
    """
    found = find_people(prompt, names)
    for (_, _, end), (_, start, _) in pairwise(found):
        if prompt[end:start].strip() not in _BETWEEN:
            raise InputError(
                f"windows need people who are named one after another, as in 'alice and bob', got {prompt!r}; write it "
                "so, or keep the people apart by attention or estimates"
            )
    first, last = found[0][1], found[-1][2]
    return {name: prompt[:first] + prompt[start:end] + prompt[last:] for name, start, end in found}


@contextmanager
def windowed(network: Any, starts: Sequence[int], *, side: int) -> Iterator[None]:
    """While the block runs, this network answers the prompt of each window and gives the answers side by side.

    Args:
        network: U-Net of diffusers, called with latents (B, C, side, W) and `encoder_hidden_states` (B, N T, D): N
            prompts in a row.
        starts: of the N windows.
        side: of a window; the last one ends where the latents do.
    """
    count, shares = len(starts), _shares(starts, side)

    def look(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        latents, *rest = args
        parts = torch.stack([latents[..., start : start + side] for start in starts], 1).flatten(0, 1)
        others = {name: each_region(value, count) for name, value in kwargs.items() if name != "encoder_hidden_states"}
        prompts = kwargs["encoder_hidden_states"].unflatten(1, (count, -1)).flatten(0, 1)
        return (parts, *(each_region(value, count) for value in rest)), {**others, "encoder_hidden_states": prompts}

    def join(_: Any, args: Any, output: Any) -> Any:  # noqa: ARG001
        answers = output[0].unflatten(0, (-1, count))
        joined = answers.new_zeros(*answers.shape[:1], *answers.shape[2:4], shares.shape[1])
        for number, start in enumerate(starts):
            joined[..., start : start + side] += answers[:, number] * shares[number, start : start + side].to(answers)
        return (joined, *output[1:]) if isinstance(output, tuple) else type(output)(joined)

    hooks = [network.register_forward_pre_hook(look, with_kwargs=True), network.register_forward_hook(join)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _shares(starts: Sequence[int], side: int) -> Tensor:
    """How much each window counts in each column, (N, W); they add up to 1 and fall off towards a window's edges."""
    within = torch.arange(side) + 0.5
    fall = torch.minimum(within, side - within)
    shares = torch.zeros(len(starts), starts[-1] + side)
    for number, start in enumerate(starts):
        shares[number, start : start + side] = fall
    return shares / shares.sum(0)
