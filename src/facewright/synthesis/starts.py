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

from facewright.data.sets import SetRow
from facewright.diffusion import fingerprint, open_faces
from facewright.diffusion.faces import Pictures, training_rows
from facewright.errors import ConfigError, InputError
from facewright.synthesis.lending import Lending
from facewright.synthesis.models import CropEncoder
from facewright.training.seeds import seed_of

START_BY = ("picture", "person")


@dataclass(frozen=True)
class _Faces:
    pictures: Pictures
    rows: np.ndarray  # those that may be begun from
    people: tuple[np.ndarray, ...]  # by person: the rows of each who is on enough


@dataclass(frozen=True)
class StartingPictures:
    """Aligned pictures to begin from; they are opened when first used.

    Of a pack those of known people that trainings may see count, as for `train recogniser`; of a pack without known
    people, and of a set or a folder of crops, all that trainings may see.

    path: a pack, a set, or a folder of crops.
    by: "picture", each from any of them, as its own seed says; or "person", those of one identity from those of one
        person, as `lending` tells.
    least: by person, pictures that somebody must be on to lend them, 1 or more.
    match: by person, identities get pictures of people like them (`lending.Lending`).
    """

    path: Path | str
    by: str = "picture"
    least: int = 2
    match: bool = False

    def __post_init__(self) -> None:
        if self.by not in START_BY:
            raise ConfigError(f"pictures begin by {' or '.join(START_BY)}, got {self.by!r}")
        if self.least < 1:
            raise ConfigError(f"somebody must be on at least 1 picture to lend it, got {self.least}")
        if self.match and self.by != "person":
            raise ConfigError("only people are matched to identities; begin by person")

    @cached_property
    def sha256(self) -> str:
        """By which a set knows them: `diffusion.fingerprint`."""
        return fingerprint(Path(self.path))

    @property
    def record(self) -> dict[str, Any]:
        """What the settings of a set say of it."""
        by_person = {"start_least": self.least, "start_match": self.match} if self.by == "person" else {}
        return {"start_sha256": self.sha256, "start_by": self.by, **by_person}

    @cached_property
    def _faces(self) -> _Faces:
        faces = open_faces(Path(self.path))
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
        people = [theirs for theirs in people if len(theirs) >= self.least]
        if self.by == "person" and not people:
            raise InputError(
                f"{self.path} has nobody on {self.least} pictures, as far as it says who is on them; begin by picture,"
                " or by person from those on fewer"
            )
        return _Faces(faces.images, rows, tuple(people))

    def drawn(self, plan: Sequence[SetRow]) -> np.ndarray:
        """By picture: one for each row of a set, some mirrored, as their seeds say; uint8 (B, 128, 128, 3) RGB."""
        faces = self._faces
        own = [seed_of(row.seed, "start") for row in plan]
        chosen = faces.pictures[np.array([faces.rows[number % len(faces.rows)] for number in own])]
        mirrored = np.array([number // len(faces.rows) % 2 == 1 for number in own])
        return np.where(mirrored[:, None, None, None], chosen[:, :, ::-1], chosen)

    def lending(
        self, contexts: np.ndarray, *, seed: int, per_identity: int, encoder: CropEncoder | None = None
    ) -> Lending:
        """By person: whose pictures each identity of a set begins from.

        Args:
            contexts: of the identities, unit rows (I, D).
            seed: of the set.
            per_identity: pictures of each.
            encoder: of the contexts, where the people are matched.
        """
        faces = self._faces
        return Lending(
            faces.pictures, faces.people, contexts, seed=seed, size=per_identity, encoder=encoder, match=self.match
        )
