"""Pictures of people, lent to the identities of a set: each begins from those of one person.

So hair, age, dress and place belong together within an identity as they do in photos. Somebody on twice as many
pictures as an identity has lends them to two, and so on; once all are lent they are grouped and lent anew, so that
people who look alike but for their faces come to be. Whoever has fewer lends them in the mirror too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from facewright.data.images import centre_crop
from facewright.data.sets import CROP_SIZE, SetRow
from facewright.diffusion.faces import Pictures
from facewright.synthesis.models import CropEncoder
from facewright.training.seeds import seed_of

BLOCK = 64  # identities among which people are matched; embedded together, so that bits do not depend on a batch


@dataclass(frozen=True)
class _Lent:
    rows: np.ndarray  # (n,) of the pictures
    residuals: np.ndarray | None  # (n, D), where they are asked for


class Lending:
    """Whose pictures each identity of one set begins from.

    Args:
        pictures: all, uint8 (N, 128, 128, 3) RGB.
        people: rows of the pictures of each person that lends.
        contexts: of the set's identities, unit rows (I, D).
        seed: of the set; it groups the pictures and lends them.
        size: pictures of an identity; those of higher numbers begin from the same in the mirror, and so on.
        encoder: of the contexts; for `match` and `residuals`.
        match: of 64 identities and 64 groups of pictures those that are alike go together, the likest first; else as
            they come.
    """

    def __init__(
        self,
        pictures: Pictures,
        people: Sequence[np.ndarray],
        contexts: np.ndarray,
        *,
        seed: int,
        size: int,
        encoder: CropEncoder | None = None,
        match: bool = False,
    ) -> None:
        self.images, self.people, self.identities = pictures, people, contexts
        self.seed, self.size, self.encoder, self.match = seed, size, encoder, match
        self._time, self._block = lru_cache(2)(self._lend_all), lru_cache(2)(self._lend_block)

    def pictures(self, plan: Sequence[SetRow]) -> np.ndarray:
        """A picture for each row of the set, uint8 (B, 128, 128, 3) RGB."""
        lent = [self._lent(row).rows for row in plan]
        chosen = self.images[np.array([rows[row.index % len(rows)] for row, rows in zip(plan, lent, strict=True)])]
        mirrored = np.array([row.index // len(rows) % 2 == 1 for row, rows in zip(plan, lent, strict=True)])
        return np.where(mirrored[:, None, None, None], chosen[:, :, ::-1], chosen)

    def residuals(self, plan: Sequence[SetRow]) -> np.ndarray:
        """How the embedding of each row's picture differs from the mean of those its identity has, (B, D).

        Times sqrt(n / (n - 1)) where it has n, so that their covariance is that of the person's pictures.
        """
        return np.stack([self._residuals(row) for row in plan])

    def _residuals(self, row: SetRow) -> np.ndarray:
        residuals = self._lent(row).residuals
        assert residuals is not None, "a lending with an encoder has them"
        return residuals[row.index % len(residuals)]

    def _lent(self, row: SetRow) -> _Lent:
        return self._block(row.identity // BLOCK)[row.identity % BLOCK]

    def _lend_block(self, number: int) -> tuple[_Lent, ...]:
        """To the identities of a block."""
        identities = range(number * BLOCK, min((number + 1) * BLOCK, len(self.identities)))
        turn = len(self._time(0))
        groups = [self._time(identity // turn)[identity % turn] for identity in identities]
        if self.encoder is None:
            return tuple(_Lent(rows, None) for rows in groups)
        crops = centre_crop(self.images[np.concatenate(groups)], CROP_SIZE)
        ends = np.cumsum([len(rows) for rows in groups])[:-1]
        embeddings = np.split(self.encoder.embed(np.ascontiguousarray(crops)).astype(np.float64), ends)
        lent = [_Lent(rows, _residuals(theirs)) for rows, theirs in zip(groups, embeddings, strict=True)]
        if not self.match:
            return tuple(lent)
        means = np.stack([theirs.mean(axis=0) for theirs in embeddings])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return tuple(lent[group] for group in likest(self.identities[list(identities)] @ means.T))

    def _lend_all(self, time: int) -> tuple[np.ndarray, ...]:
        """The groups in the order in which they are lent, the first time that all are, or a later one."""
        random = np.random.default_rng(seed_of("start people", self.seed, self.size, time))
        groups = [
            group[: self.size]
            for theirs in self.people
            for group in np.array_split(random.permutation(theirs), max(1, len(theirs) // self.size))
        ]
        return tuple(groups[place] for place in random.permutation(len(groups)))


def _residuals(embeddings: np.ndarray) -> np.ndarray:
    count = len(embeddings)
    return (embeddings - embeddings.mean(axis=0)) * np.sqrt(count / max(1, count - 1))


def likest(similarities: np.ndarray) -> list[int]:
    """Pair rows with columns, each once, the largest similarity left over first.

    Args:
        similarities: (n, n).

    Returns:
        The column of each row.
    """
    left = np.array(similarities, dtype=np.float64)
    columns = [0] * len(left)
    for _ in columns:
        row, column = np.unravel_index(left.argmax(), left.shape)
        columns[row] = int(column)
        left[row], left[:, column] = -np.inf, -np.inf
    return columns
