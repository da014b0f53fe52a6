"""Pictures that sampling begins from in place of noise alone, each picture of a set from another one.

Noise is added to a given picture and taken away again under the identity's context (SDEdit, Meng et al. 2022). Pose,
light, hair and background stay, the face becomes the identity's; so the pictures of a set vary as the given ones do.
DCFace (Kim et al. 2023) takes the style of its pictures from photos too, by a condition of its generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.data.sets import SetRow
from facewright.diffusion import fingerprint, open_faces
from facewright.diffusion.faces import Pictures, training_rows
from facewright.errors import ConfigError, InputError
from facewright.training.seeds import seed_of

START_BY = ("picture", "person")


Theirs = tuple[np.ndarray, ...]
"""Rows of pictures, each array those of one person."""


@dataclass(frozen=True)
class _Faces:
    pictures: Pictures
    rows: np.ndarray  # those that may be begun from
    people: Theirs  # the same, parted by who is on them; by person, those of too few left out


class StartingPictures:
    """Aligned pictures to begin from; they are opened when first used.

    Of a pack those of known people that trainings may see count, as for `train recogniser`; of a pack without known
    people, and of a set or a folder of crops, all that trainings may see.

    Args:
        path: a pack, a set, or a folder of crops.
        by: "picture", each from any of them, as its own seed says; or "person", those of one identity from those of one
            person, so that hair, age and dress belong together as they do in photos. Somebody on twice as many pictures
            as an identity has lends them to two, and so on. Once all are lent they are grouped and lent anew, so that
            people who look alike but for their faces come to be; whoever has fewer lends them in the mirror too.
        least: by person, pictures that somebody must be on to count, 1 or more.
    """

    def __init__(self, path: Path | str, *, by: str = "picture", least: int = 2) -> None:
        if by not in START_BY:
            raise ConfigError(f"pictures begin by {' or '.join(START_BY)}, got {by!r}")
        if least < 1:
            raise ConfigError(f"somebody must be on at least 1 picture to lend it, got {least}")
        self.path, self.by, self.least = Path(path), by, least
        self._lent: dict[tuple[int, ...], Theirs] = {}

    @property
    def record(self) -> dict[str, Any]:
        """What the settings of a set say of it."""
        by_person = {"start_least": self.least} if self.by == "person" else {}
        return {"start_sha256": self.sha256, "start_by": self.by, **by_person}

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
        if self.by == "person" and not (people := [theirs for theirs in people if len(theirs) >= self.least]):
            raise InputError(
                f"{self.path} does not say who is on its pictures, or has nobody on {self.least} of them; begin by"
                " picture, or ask for fewer"
            )
        return _Faces(faces.images, rows, tuple(people))

    def drawn(self, plan: Sequence[SetRow], *, seed: int, per_identity: int) -> Tensor:
        """A picture for each row of a set, some mirrored: (B, 3, 128, 128) RGB in [-1, 1].

        Args:
            plan: rows of the set; by picture their seeds count, by person their identities and numbers.
            seed: of the set; by person it groups the pictures and lends them to the identities.
            per_identity: pictures of an identity; those of higher numbers are the same in the mirror, and so on.
        """
        faces = self._faces
        if self.by == "picture":
            own = [seed_of(row.seed, "start") for row in plan]
            chosen = [int(faces.rows[number % len(faces.rows)]) for number in own]
            mirrored = [number // len(faces.rows) % 2 == 1 for number in own]
        else:
            groups = len(self._groups(seed, per_identity, 0))
            theirs = [self._groups(seed, per_identity, row.identity // groups)[row.identity % groups] for row in plan]
            chosen = [int(rows[row.index % len(rows)]) for row, rows in zip(plan, theirs, strict=True)]
            mirrored = [row.index // len(rows) % 2 == 1 for row, rows in zip(plan, theirs, strict=True)]
        pictures = faces.pictures[np.array(chosen)]
        return to_tensor(np.where(np.array(mirrored)[:, None, None, None], pictures[:, :, ::-1], pictures))

    def _groups(self, seed: int, size: int, time: int) -> Theirs:
        """Whose pictures go to which identity, the first time all are lent, or a later one."""
        key = (seed, size, time)
        if key not in self._lent:
            rng = np.random.default_rng(seed_of("start people", *key))
            groups = [
                group[:size]
                for theirs in self._faces.people
                for group in np.array_split(rng.permutation(theirs), max(1, len(theirs) // size))
            ]
            self._lent[key] = tuple(groups[place] for place in rng.permutation(len(groups)))
        return self._lent[key]
