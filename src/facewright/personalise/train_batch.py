"""Batches of a personaliser's training: pictures, masks and tokenized captions, with everything drawn by chance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.personalise.mapper import WORDS
from facewright.personalise.prompts import Tokenizer, place_people
from facewright.personalise.subject_captions import named_prompt
from facewright.personalise.subject_view import View, centre_view, draw_view, shrunk
from facewright.personalise.train_people import People


@dataclass(frozen=True)
class Loaded:
    """A photo as it is read, no larger than it can be shown."""

    photo: int
    caption: str
    picture: np.ndarray  # uint8 (H, W, 3) RGB
    labels: np.ndarray  # int32 (H, W)
    points: np.ndarray  # (N, 5, 2), of the photo's people


@dataclass(frozen=True)
class Prompts:
    """Captions of a batch for one text encoder."""

    ids: Tensor
    """int64 (B, T), with room for each person's words."""
    plain: Tensor
    """int64 (B, T), everybody by their noun."""
    starts: Tensor
    """int64 (M,): the first of each person's tokens in `ids`."""


@dataclass(frozen=True)
class Batch:
    """What one step is computed on: B pictures with M people, of whom N are on one picture at most."""

    pictures: Tensor
    """float32 (B, 3, S, S) RGB in [-1, 1]."""
    masks: Tensor
    """float32 (B, N, S, S), 0 or 1; all 0 where there is nobody."""
    sample: Tensor
    """int64 (M,): the picture of each person."""
    slot: Tensor
    """int64 (M,): which of the picture's people, in the order of the caption."""
    row: Tensor
    """int64 (M,): of each person in `People`."""
    points: np.ndarray
    """(M, 5, 2) x, y of their faces in the picture."""
    identity: Tensor
    """float32 (M, D), of this photo or another one of theirs."""
    own: Tensor
    """float32 (M, D), of this photo's face as it is shown."""
    expression: Tensor
    """float32 (M, E); 0 where none is given."""
    given: Tensor
    """float32 (M,), 1 where the expression counts."""
    prompts: tuple[Prompts, ...]
    """For each text encoder."""


@dataclass(frozen=True)
class Chances:
    """What is drawn for a sample; the defaults draw nothing."""

    most: int = 1  # people of a picture
    appear: float = 1.0  # share of the people who are put into the caption; others are their nouns
    unconditional: float = 0.0  # share of the samples with an empty caption
    mirrored: float = 0.0
    least: float = 1.0  # smallest window, as a share of the photo's shorter side
    other_photo: float = 0.0  # share whose identity is of another photo of the person, where there is one
    expression_dropout: float = 0.0  # share whose expression is left out


class Batches:
    """Makes batches of a folder's people.

    Args:
        people: of the folder.
        tokenizers: of the base model's text encoders.
        size: of the pictures, in pixels.
        keep_nouns: as of `place_people`: whether words are fused into the noun instead of replacing it.
        chances: what is drawn.
    """

    def __init__(
        self, people: People, tokenizers: Sequence[Tokenizer], *, size: int, keep_nouns: bool, chances: Chances
    ) -> None:
        self.people, self.size, self.chances = people, size, chances
        self._tokenizers, self._keep_nouns = tokenizers, keep_nouns
        self._others = people.others() if chances.other_photo else None

    def load(self, photos: Sequence[int]) -> list[Loaded]:
        """Read photos; nothing is drawn."""
        return [self._load(int(photo)) for photo in photos]

    def draw(self, photos: Sequence[Loaded], generator: torch.Generator) -> Batch:
        """A batch as training sees it."""
        return self._batch([self._sample(photo, generator) for photo in photos])

    def fixed(self, photos: Sequence[Loaded]) -> Batch:
        """A batch for validation: up to `most` people in the middle of each picture, nothing drawn."""
        return self._batch([self._plain(photo) for photo in photos])

    def _load(self, photo: int) -> Loaded:
        people, name = self.people, self.people.ids[photo]
        picture = people.folder.picture(name)
        labels = people.folder.labels(name, picture.shape)
        short = -(-self.size // self.chances.least) if self.chances.least < 1 else self.size
        kept = shrunk(picture, labels, people.points[people.rows_of(photo)], short=int(short))
        return Loaded(photo, people.folder.record(name).caption, *kept)

    def _plain(self, photo: Loaded) -> "_Sample":
        rows = self.people.rows_of(photo.photo)
        kept = np.arange(len(rows))[: self.chances.most]
        view = centre_view(photo.picture.shape, photo.points[kept], size=self.size)
        kept = kept[_at_least_one(view.shows(photo.points[kept]))]
        return _Sample(photo, view, kept, rows[kept], rows[kept], self._expressions(rows[kept], lambda: 1.0))

    def _sample(self, photo: Loaded, generator: torch.Generator) -> "_Sample":
        def chance() -> float:
            return float(torch.rand((), generator=generator, dtype=torch.float64))

        chances, rows = self.chances, self.people.rows_of(photo.photo)
        order = torch.randperm(len(rows), generator=generator).numpy()
        kept = np.array([place for place in order if chance() < chances.appear], np.int64)
        kept = (kept if len(kept) else order[:1])[: chances.most]
        view = draw_view(
            photo.picture.shape,
            photo.points[kept],
            size=self.size,
            least=chances.least,
            mirrored=chances.mirrored,
            generator=generator,
        )
        kept = np.sort(kept[_at_least_one(view.shows(photo.points[kept]))])
        chosen, sources = rows[kept], rows[kept].copy()
        if self._others is not None:
            for place, row in enumerate(chosen):
                first, second = chance(), chance()
                others = self._others[row]
                if len(others) and first < chances.other_photo:
                    sources[place] = others[int(second * len(others))]
        expressions = self._expressions(chosen, chance)
        if chance() < chances.unconditional:
            return _Sample(photo, view, kept[:0], chosen[:0], sources[:0], expressions[:0], empty=True)
        return _Sample(photo, view, kept, chosen, sources, expressions)

    def _expressions(self, rows: np.ndarray, chance: Callable[[], float]) -> np.ndarray:
        """The expressions that count, (n, E); rows of NaN where none does."""
        drawn = np.array([chance() for _ in rows])
        left_out = drawn < self.chances.expression_dropout
        return np.where(left_out[:, None], np.float32(np.nan), self.people.expression[rows])

    def _batch(self, samples: Sequence["_Sample"]) -> Batch:
        people = self.people
        most = max(1, *(len(sample.rows) for sample in samples))
        masks = np.zeros((len(samples), most, self.size, self.size), np.float32)
        for place, sample in enumerate(samples):
            if len(sample.rows):
                labels = sample.view.labels(sample.photo.labels)
                masks[place, : len(sample.rows)] = labels == people.number[sample.rows][:, None, None]
        rows = np.concatenate([sample.rows for sample in samples])
        sources = np.concatenate([sample.sources for sample in samples])
        counts = np.array([len(sample.rows) for sample in samples])
        index = np.repeat(np.arange(len(samples)), counts)
        turned = np.array([sample.view.mirrored for sample in samples], np.int64)[index]
        expression = np.concatenate([sample.expression for sample in samples])
        given = ~np.isnan(expression).any(1)
        shown = [sample.view.points(sample.photo.points[sample.places]) for sample in samples]
        return Batch(
            pictures=to_tensor(np.stack([sample.view.picture(sample.photo.picture) for sample in samples])),
            masks=torch.from_numpy(masks),
            sample=torch.from_numpy(index),
            slot=torch.from_numpy(np.concatenate([np.arange(count) for count in counts])),
            row=torch.from_numpy(rows),
            points=np.concatenate(shown),
            identity=torch.from_numpy(people.embedding[sources, turned]),
            own=torch.from_numpy(people.embedding[rows, turned]),
            expression=torch.from_numpy(np.where(given[:, None], expression, np.float32(0))),
            given=torch.from_numpy(given.astype(np.float32)),
            prompts=tuple(self._prompts(samples, tokenizer) for tokenizer in self._tokenizers),
        )

    def _prompts(self, samples: Sequence["_Sample"], tokenizer: Tokenizer) -> Prompts:
        ids, plain, starts = list[tuple[int, ...]](), list[tuple[int, ...]](), list[int]()
        for sample in samples:
            caption = "" if sample.empty else sample.photo.caption
            phrases = [(int(start), int(end)) for start, end in self.people.phrase[sample.rows]]
            prompt, nouns = named_prompt(caption, phrases)
            words = dict.fromkeys(nouns, WORDS)
            placed = place_people(prompt, nouns, tokenizer, words=words, keep_nouns=self._keep_nouns)
            ids.append(placed.ids)
            starts += [placed.spans[name].start for name in nouns]
            plain.append(place_people(prompt, nouns, tokenizer).ids)
        return Prompts(torch.tensor(ids), torch.tensor(plain), torch.tensor(starts, dtype=torch.int64))


@dataclass(frozen=True)
class _Sample:
    photo: Loaded
    view: View
    places: np.ndarray  # which of the photo's people, in the order of the caption
    rows: np.ndarray  # theirs in `People`
    sources: np.ndarray  # rows whose embeddings stand for them
    expression: np.ndarray  # (n, E)
    empty: bool = False


def _at_least_one(shown: np.ndarray) -> np.ndarray:
    """The people in the window, or the first one where the middle of no face lies in it."""
    return shown if shown.any() else np.arange(len(shown)) == 0
