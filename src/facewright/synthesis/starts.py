"""Pictures that sampling begins from in place of noise alone, each picture of a set from another one.

Noise is added to a given picture and taken away again under the identity's context (SDEdit, Meng et al. 2022). Pose,
light, hair and background stay, the face becomes the identity's; so the pictures of a set vary as the given ones do.
DCFace (Kim et al. 2023) takes the style of its pictures from photos too, by a condition of its generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.data.sets import SetRow
from facewright.diffusion import fingerprint, open_faces
from facewright.diffusion.faces import Pictures, training_rows
from facewright.errors import ConfigError, InputError
from facewright.training.seeds import seed_of

START_BY = ("picture", "person")


@dataclass(frozen=True)
class _Faces:
    pictures: Pictures
    rows: np.ndarray  # those that may be begun from
    people: tuple[np.ndarray, ...]  # the same, parted by who is on them


class StartingPictures:
    """Aligned pictures to begin from; they are opened when first used.

    Of a pack those of known people that trainings may see count, as for `train recogniser`; of a pack without known
    people, and of a set or a folder of crops, all that trainings may see.

    Args:
        path: a pack, a set, or a folder of crops.
        by: "picture", each from any of them, as its own seed says; or "person", those of one identity from those of one
            person, one after the other, so that hair, age and dress belong together as they do in photos. Where they
            run out, pictures are used again in the mirror, and people for further identities.
    """

    def __init__(self, path: Path | str, *, by: str = "picture") -> None:
        if by not in START_BY:
            raise ConfigError(f"pictures begin by {' or '.join(START_BY)}, got {by!r}")
        self.path, self.by = Path(path), by

    @cached_property
    def sha256(self) -> str:
        """By which a set knows them: `diffusion.fingerprint`."""
        return fingerprint(self.path)

    @cached_property
    def _faces(self) -> _Faces:
        faces = open_faces(self.path)
        rows = training_rows(faces)
        if not len(rows):
            raise InputError(f"{self.path} holds no picture to begin from; name a pack, a set or a folder of crops")
        labels = np.asarray(faces.labels)[rows]
        if (known := labels >= 0).any():
            rows, labels = rows[known], labels[known]
        elif self.by == "person":
            raise InputError(f"{self.path} does not say who is on its pictures; begin by picture")
        order = np.argsort(labels, kind="stable")
        people = np.split(rows[order], np.flatnonzero(np.diff(labels[order])) + 1)
        if self.by == "person" and max(len(theirs) for theirs in people) == 1:
            raise InputError(f"{self.path} does not say who is on its pictures, or has one of each; begin by picture")
        return _Faces(faces.images, rows, tuple(people))

    def drawn(self, plan: Sequence[SetRow], *, seed: int) -> Tensor:
        """A picture for each row of a set, some mirrored: (B, 3, 128, 128) RGB in [-1, 1].

        Args:
            plan: rows of the set; by picture their seeds count, by person their identities and numbers.
            seed: of the set; by person it deals the people out to the identities.
        """
        faces = self._faces
        if self.by == "picture":
            own = [seed_of(row.seed, "start") for row in plan]
            chosen = [int(faces.rows[number % len(faces.rows)]) for number in own]
            mirrored = [number // len(faces.rows) % 2 == 1 for number in own]
        else:
            dealt = np.random.default_rng(seed_of(seed, "start people")).permutation(len(faces.people))
            theirs = [faces.people[dealt[row.identity % len(dealt)]] for row in plan]
            chosen = [int(rows[row.index % len(rows)]) for row, rows in zip(plan, theirs, strict=True)]
            mirrored = [row.index // len(rows) % 2 == 1 for row, rows in zip(plan, theirs, strict=True)]
        pictures = faces.pictures[np.array(chosen)]
        return to_tensor(np.where(np.array(mirrored)[:, None, None, None], pictures[:, :, ::-1], pictures))
