"""The pairs that the demo measures on: LFW where it is at hand, else further generated people."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facewright.cli.console import Progress
from facewright.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.data.sets import FaceSet

LFW_PAIRS = ("lfw_pairs.txt", "pairs.txt")
LFW_IMAGES = ("lfw_pairs_112.tar", "lfw_pairs_112", "lfw_112.tar", "lfw_112")


@dataclass(frozen=True)
class Lfw:
    """Where the LFW pairs and their aligned images lie."""

    pairs: Path
    images: Path


@dataclass(frozen=True, eq=False)
class PairCrops:
    """Pairs of crops."""

    crops: "np.ndarray"  # (N, 112, 112, 3) uint8 RGB
    rows: "np.ndarray"  # (2 P,) into `crops`, pair k at 2k and 2k + 1
    issame: "np.ndarray"  # (P,) bool


def find_lfw(folder: Path) -> Lfw:
    """The pairs and images of LFW in a folder; InputError names what is missing."""
    pairs = next((folder / name for name in LFW_PAIRS if (folder / name).is_file()), None)
    images = next((folder / name for name in LFW_IMAGES if (folder / name).exists()), None)
    if pairs is None or images is None:
        wanted = LFW_PAIRS if pairs is None else LFW_IMAGES
        raise InputError(
            f"{folder}: no {' or '.join(wanted)} there; name the folder that holds LFW, or leave out --lfw"
        )
    return Lfw(pairs, images)


def held_out_pairs(faces: "FaceSet", *, seed: int) -> PairCrops:
    """All pairs of one person and as many drawn pairs of two, taking turns, so that every fold holds both."""
    import numpy as np

    labels = faces.identities
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    chance = np.random.default_rng(seed)
    genuine = chance.permutation(np.flatnonzero(same))
    impostor = chance.choice(np.flatnonzero(~same), min(len(genuine), int((~same).sum())), replace=False)
    chosen = np.stack([genuine[: len(impostor)], impostor], axis=1).ravel()
    return PairCrops(faces.crops(), np.stack([first[chosen], second[chosen]], axis=1).ravel(), same[chosen])


def lfw_pairs(lfw: Lfw, progress: Progress) -> PairCrops:
    """LFW's own pairs."""
    from facewright.data.pairs import read_crops, read_pairs

    listed = read_pairs(lfw.pairs)
    return PairCrops(read_crops(lfw.images, listed.images, progress=progress), listed.rows(), listed.issame)
