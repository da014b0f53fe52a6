"""People of captions who are said by words of their own instead of their names, which quantise nothing."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facewright.personalise.train_denoiser import replacing
from facewright.personalise.world_scenes import World


@dataclass(frozen=True)
class SaidByName:
    """The people of captions who have a name, in the order of the captions: M rows."""

    caption: np.ndarray
    """int64 (M,): which."""
    start: np.ndarray
    """int64 (M,): the first token of their name."""
    words: np.ndarray
    """float32 (M, 2, E): words of their own, as of `own_words`."""

    def of(self, captions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the people of these captions, and the place of each one's caption among them."""
        low, high = (np.searchsorted(self.caption, captions, side) for side in ("left", "right"))
        counts = high - low
        rows = np.repeat(low, counts) + np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return rows, np.repeat(np.arange(len(captions)), counts)


def said_by_name(world: World, ids: np.ndarray, words: np.ndarray, tokenizer: Any) -> SaidByName:
    """Who is said by name in the captions of the world's first scenes.

    Args:
        world: whose scenes.
        ids: tokens of their captions, (N, T).
        words: of each face of the world's pack, (F, 2, E).
        tokenizer: that made the ids; each word of a name is one token.
    """
    names = world.faces.names
    found = list[tuple[int, int, int]]()
    for number, tokens in enumerate(ids):
        named = [
            figure for figure in world.scene(number).figures if names is not None and figure.phrase == names[figure.row]
        ]
        at = 0
        for figure in named:
            pair = tokenizer(figure.phrase, add_special_tokens=False).input_ids
            places = np.flatnonzero((tokens[at:-1] == pair[0]) & (tokens[at + 1 :] == pair[1]))
            if len(places):  # else the caption is cut
                at += int(places[0])
                found.append((number, at, figure.row))
                at += 1
    caption, start, row = np.array(found, np.int64).reshape(-1, 3).T
    return SaidByName(caption, start, words[row])


def saying_own_words(
    encoder: nn.Module,
    people: SaidByName | None,
    captions: Tensor,
    drop: Tensor,
    generator: torch.Generator,
    *,
    share: float,
) -> AbstractContextManager[None]:
    """While the block runs, a text encoder reads some people's own words in place of their names.

    Args:
        encoder: that gets the tokens of these captions.
        people: who is said by name in them; None: nobody.
        captions: which, int64 (B,).
        drop: whose captions are empty, bool (B,).
        generator: of the draw of people.
        share: of the people who are said by words of their own.
    """
    if people is None:
        return nullcontext()
    rows, places = people.of(captions.numpy())
    chosen = ((torch.rand(len(rows), generator=generator) < share) & ~drop[torch.from_numpy(places)]).numpy()
    rows, places = rows[chosen], places[chosen]
    parts = people.words[rows], places, people.start[rows]
    return replacing(encoder, *(torch.from_numpy(part) for part in parts))
