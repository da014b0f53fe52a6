"""Pictures that sampling begins from in place of noise alone, each picture of a set from another one.

Noise is added to a given picture and taken away again under the identity's context (SDEdit, Meng et al. 2022). Pose,
light, hair and background stay, the face becomes the identity's; so the pictures of a set vary as the given ones do.
DCFace (Kim et al. 2023) takes the style of its pictures from photos too, by a condition of its generator.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from facewright.data.images import to_tensor
from facewright.diffusion import fingerprint, open_faces
from facewright.diffusion.faces import Pictures, training_rows
from facewright.errors import InputError
from facewright.training.seeds import seed_of


class StartingPictures:
    """Aligned pictures to begin from; they are opened when first used.

    Of a pack those of known people that trainings may see count, as for `train recogniser`; of a pack without known
    people, and of a set or a folder of crops, all that trainings may see.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @cached_property
    def sha256(self) -> str:
        """By which a set knows them: `diffusion.fingerprint`."""
        return fingerprint(self.path)

    @cached_property
    def _faces(self) -> tuple[Pictures, np.ndarray]:
        faces = open_faces(self.path)
        rows = training_rows(faces)
        known = rows[np.asarray(getattr(faces, "labels", np.zeros(len(faces.sources))))[rows] >= 0]
        if not len(rows):
            raise InputError(f"{self.path} holds no picture to begin from; name a pack, a set or a folder of crops")
        return faces.images, known if len(known) else rows

    def drawn(self, seeds: Sequence[int]) -> Tensor:
        """A picture for each seed, every other one mirrored on average: (B, 3, 128, 128) RGB in [-1, 1]."""
        images, rows = self._faces
        own = [seed_of(seed, "start") for seed in seeds]
        chosen = images[rows[np.array([number % len(rows) for number in own])]]
        mirrored = np.array([number // len(rows) % 2 == 1 for number in own])
        return to_tensor(np.where(mirrored[:, None, None, None], chosen[:, :, ::-1], chosen))
