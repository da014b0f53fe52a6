"""A face pack: aligned training faces in one memory-mapped array, with their labels beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facewright.errors import DataError
from facewright.training.seeds import seed_of

HELD_OUT_SHARE = 20  # one identity in this many is held out


@dataclass(frozen=True)
class FacePack:
    """Faces of one or several sources.

    images: uint8 (N, 128, 128, 3) RGB; the central 112 x 112 is the ArcFace crop.
    labels: (N,) int64, contiguous from 0 over the people with a known identity; -1 where it is unknown.
    held_out: (N,) bool, people that no training may see.
    sources: (N,) int8, which source each face came from.
    masks: uint8 (N, 16, 16), 1 where the picture is real, 0 where the photo ended and its border was repeated.
    """

    images: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    sources: np.ndarray
    masks: np.ndarray

    def where(self, *, held_out: bool | None = None, sources: tuple[int, ...] | None = None) -> np.ndarray:
        """Row numbers of the faces that fit."""
        keep = np.ones(len(self.labels), bool)
        if held_out is not None:
            keep &= self.held_out == held_out
        if sources is not None:
            keep &= np.isin(self.sources, sources)
        return np.flatnonzero(keep)


def read_pack(folder: Path) -> FacePack:
    """Open a pack written by `facewright.align.pack_faces`; the pixels stay on disk until they are used."""
    images_path, index_path = folder / "images.npy", folder / "index.npz"
    if not (images_path.exists() and index_path.exists()):
        raise DataError(
            f"{folder} is not a face pack: images.npy or index.npz is missing; make one with facewright pack"
        )
    images = np.load(images_path, mmap_mode="r")
    with np.load(index_path, allow_pickle=False) as index:
        sources, identities, files, masks, keep = (
            index[name] for name in ("source", "identity", "files", "mask", "keep")
        )
    if len(images) != len(sources):
        raise DataError(f"{folder}: {len(images)} images but {len(sources)} index rows; pack the faces again")
    people = np.where(identities >= 0, identities, -1)
    keys = [str(p) if p >= 0 else f"file {f}" for p, f in zip(people, files, strict=True)]
    held_out = np.array([seed_of("held out", key) % HELD_OUT_SHARE == 0 for key in keys])
    known = np.unique(people[people >= 0])
    labels = np.where(people >= 0, np.searchsorted(known, people), -1)
    rows = np.flatnonzero(keep)
    if len(rows) == len(images):
        return FacePack(images, labels, held_out, sources, masks)
    sources = np.where(keep, sources, -1)
    return FacePack(images, np.where(keep, labels, -1), held_out, sources.astype(np.int8), masks)
