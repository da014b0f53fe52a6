"""Teach a mapping the words of a base model that begins as a generator, before it is trained through the denoiser.

Such a base model reads the prompt as a whole where the generator read an identity embedding. So it is known what the
words of a person have to make of a prompt, and the mapping learns it through the frozen text encoder by regression,
hundreds of prompts a second.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facewright.errors import ConfigError, InputError
from facewright.personalise.base_from_generator import said_of
from facewright.personalise.mapper import WORDS
from facewright.personalise.mapping import Mapping as MappingNetwork
from facewright.personalise.prompts import Tokenizer, place_people
from facewright.personalise.train_denoiser import BaseModel, replacing
from facewright.personalise.world_captions import PERSON, caption_of, templates
from facewright.personalise.world_styles import STYLES
from facewright.training.trainer import Losses, Schedule, Trainer

NAMES = ("one", "two")  # people of a prompt, in its order


@dataclass(frozen=True)
class WordsTraining:
    """How it is taught."""

    schedule: Schedule  # its images are prompts
    pairs: float = 0.3  # share of prompts with two people, whose context is the mean of both

    def __post_init__(self) -> None:
        if not 0 <= self.pairs <= 1:
            raise ConfigError(f"pairs is a share from 0 to 1, got {self.pairs}")


def train_words(
    mapping: MappingNetwork,
    base: BaseModel,
    identities: np.ndarray,
    contexts: np.ndarray,
    config: WordsTraining,
    *,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Train the mapping in place, on prompts of the miniature world in every style; the same call again resumes.

    The loss is the squared error of the context in what the denoiser adds to the time, over the mean square of the
    contexts.

    Args:
        mapping: to words of `base`.
        base: with one text encoder and a denoiser that reads the prompt as a whole; it stays as it is.
        identities: embeddings of faces, (N, D).
        contexts: what the generator makes of the same faces' embeddings, (N, C).
        config: the recipe.
        out: run folder.
        progress: called with (prompts seen, prompts in all).
        settings: kept in RUN/config.json; a resumed run must share them.

    Raises:
        InputError: the base model's denoiser does not read the prompt as a whole.
    """
    if getattr(base.unet, "add_embedding", None) is None or len(base.encoders) != 1:
        raise InputError(
            "words can be taught before the mapping for base models that begin as a generator alone; leave [words] out"
        )
    encoder, tokenizer = base.encoders[0], base.tokenizers[0]
    alone, both = (_prompts(NAMES[:count], tokenizer) for count in (1, 2))
    trainer = Trainer(
        mapping, config.schedule, out=out, device=str(base.device), config={"kind": "words", **(settings or {})}
    )
    given, wanted = torch.from_numpy(identities), torch.from_numpy(contexts)
    scale = float(np.square(contexts).mean())

    def losses(indices: Tensor, generator: torch.Generator) -> Losses:
        count = len(indices)
        pairs = int((torch.rand(count, generator=generator) < config.pairs).sum())
        paired, other = torch.arange(pairs), (torch.arange(pairs) + 1) % count
        drawn = torch.randint(len(alone.ids), (count,), generator=generator)
        ids = torch.cat([both.ids[drawn[:pairs]], alone.ids[drawn[pairs:]]])
        starts = torch.cat(
            [both.starts[drawn[:pairs], 0], alone.starts[drawn[pairs:], 0], both.starts[drawn[:pairs], 1]]
        )
        words = torch.stack(mapping(given[indices].to(base.device)), 1)
        words = torch.cat([words, words[other.to(base.device)]])
        target = wanted[indices].clone()
        target[paired] = (target[paired] + wanted[indices[other]]) / 2
        with replacing(encoder, words, torch.cat([torch.arange(count), paired]), starts):
            states = encoder(ids.to(base.device))[0]
        said, _ = said_of(base.unet.add_embedding(states).float(), target.shape[1])
        return {"context": (said - target.to(base.device)).square().mean() / scale}

    trainer.fit(losses, samples=len(identities), progress=progress)
    mapping.load_state_dict(trainer.averaged())


@dataclass(frozen=True)
class _Prompts:
    """All prompts of so many people: ids int64 (N, T) and the first token of each person's words, int64 (N, P)."""

    ids: Tensor
    starts: Tensor


def _prompts(names: Sequence[str], tokenizer: Tokenizer) -> _Prompts:
    placed = [
        place_people(
            caption_of(names, style, template=template),
            dict.fromkeys(names, PERSON),
            tokenizer,
            words=dict.fromkeys(names, WORDS),
        )
        for style in STYLES
        for template in range(len(templates(style)))
    ]
    starts = [[each.spans[name].start for name in names] for each in placed]
    return _Prompts(torch.tensor([each.ids for each in placed]), torch.tensor(starts))
