"""Pictures of people, lent to the identities of a set: each begins from those of one person.

So hair, age, dress and place belong together within an identity as they do in photos. Somebody on twice as many
pictures as an identity has lends them to two, and so on; once all are lent they are grouped and lent anew, so that
people who look alike but for their faces come to be. Whoever has fewer lends them in the mirror too.
"""

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from facewright.data.images import centre_crop
from facewright.data.sets import CROP_SIZE, SetRow
from facewright.diffusion.faces import Pictures
from facewright.errors import ConfigError
from facewright.synthesis.models import CropEncoder
from facewright.training.seeds import seed_of

BLOCK = 64  # groups among which identities find theirs; embedded together, so that bits do not depend on a batch


class Lending:
    """Whose pictures each identity of one set begins from.

    Args:
        pictures: all, uint8 (N, 128, 128, 3) RGB.
        people: rows of the pictures of each person that lends.
        contexts: of the set's identities, unit rows (I, D).
        seed: of the set; it groups the pictures and lends them.
        size: pictures of an identity; those of higher numbers begin from the same in the mirror, and so on.
        encoder: of the contexts; for `match`.
        match: of 64 identities and 64 groups of pictures those that are alike go together, the likest first; else the
            first identity gets the first group, and so on.
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
        if match and encoder is None:
            raise ConfigError(
                "people are matched by the encoder that the generator was trained with; give that, such as bundled"
            )
        self.images, self.people, self.identities = pictures, people, contexts
        self.seed, self.size, self.encoder = seed, size, encoder if match else None
        self._grouped, self._block = cache(self._group), lru_cache(2)(self._lend)

    def pictures(self, plan: Sequence[SetRow]) -> np.ndarray:
        """A picture for each row of the set, uint8 (B, 128, 128, 3) RGB."""
        lent = [self._block(row.identity // BLOCK)[row.identity % BLOCK] for row in plan]
        chosen = self.images[np.array([rows[row.index % len(rows)] for row, rows in zip(plan, lent, strict=True)])]
        mirrored = np.array([row.index // len(rows) % 2 == 1 for row, rows in zip(plan, lent, strict=True)])
        return np.where(mirrored[:, None, None, None], chosen[:, :, ::-1], chosen)

    def _lend(self, number: int) -> list[np.ndarray]:
        """The rows of the pictures of each identity of a block."""
        places = range(number * BLOCK, (number + 1) * BLOCK)
        in_all = len(self._grouped(0))
        groups = [self._grouped(place // in_all)[place % in_all] for place in places]
        if self.encoder is None:
            return groups
        crops = centre_crop(self.images[np.concatenate(groups)], CROP_SIZE)
        ends = np.cumsum([len(rows) for rows in groups])[:-1]
        embeddings = np.split(self.encoder.embed(np.ascontiguousarray(crops)), ends)
        means = np.stack([theirs.mean(axis=0, dtype=np.float64) for theirs in embeddings])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return [groups[column] for column in likest(self.identities[places.start : places.stop] @ means.T)]

    def _group(self, time: int) -> tuple[np.ndarray, ...]:
        """All pictures in groups of one person, in the order in which they are lent the first time (0) or again."""
        random = np.random.default_rng(seed_of("start people", self.seed, self.size, time))
        groups = [
            group[: self.size]
            for theirs in self.people
            for group in np.array_split(random.permutation(theirs), max(1, len(theirs) // self.size))
        ]
        return tuple(groups[place] for place in random.permutation(len(groups)))


def likest(similarities: np.ndarray) -> list[int]:
    """Pair rows with columns, each once, the largest similarity left over first.

    Args:
        similarities: (n, m), n at most m.

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
