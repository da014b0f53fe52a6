"""People from their photos: the face that is meant, its crop, and the mean embedding of several photos."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from facewright import encoders
from facewright.align import Detector, Face, read_photo, warp_face
from facewright.data.images import to_tensor
from facewright.encoders.msid import MSID, TAPS
from facewright.errors import DataError, InputError
from facewright.weights import load_weights, read_card

MSID_LAYOUT = "f2d/msid"


class IdentityEncoder(Protocol):
    """Crops to embeddings, as a mapper was trained with."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def width(self) -> int: ...
    def embed(self, crops: np.ndarray) -> np.ndarray:
        """float32 (N, width) of uint8 (N, 112, 112, 3) RGB."""
        ...


class MultiScaleEncoder:
    """Face2Diffusion's MSID as an identity encoder; its embeddings have no unit length."""

    def __init__(self, network: MSID, *, name: str = MSID_LAYOUT, sha256: str = "") -> None:
        self.network = network.eval()
        self.name = name
        self.sha256 = sha256
        self.width = 384 * len(network.taps)

    @torch.inference_mode()
    def embed(self, crops: np.ndarray) -> np.ndarray:
        """float32 (N, width) of uint8 (N, 112, 112, 3) RGB."""
        device = self.network.cls_token.device
        return self.network(to_tensor(crops).to(device)).float().cpu().numpy()


@dataclass(frozen=True)
class PhotoOf:
    """A photo of a person."""

    path: Path
    face: int | None = None  # which face, from 1, left to right; None: there is only one


@dataclass(frozen=True)
class PersonCrops:
    """A person's aligned crops, uint8 (N, 112, 112, 3) RGB, one a photo."""

    name: str
    crops: np.ndarray


def load_identity_encoder(source: Path | str = "bundled", *, device: str = "cpu") -> IdentityEncoder:
    """Load the encoder of a mapper.

    Args:
        source: as of `encoders.load`, or a .safetensors file of Face2Diffusion's MSID from `facewright import`.
        device: where it goes.

    Raises:
        InputError, DataError: as `encoders.load`; or the MSID has not all four taps.
    """
    path = Path(source)
    if path.suffix != ".safetensors" or read_card(path).kind != "msid":
        return encoders.load(source, device=device)
    state, card = load_weights(path, kind="msid")
    with torch.device("meta"):
        network = MSID(TAPS)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise DataError(f"{path}: its tensors do not fit an MSID with four taps ({error})") from error
    return MultiScaleEncoder(network.to(device), name=card.name, sha256=card.sha256)


@dataclass
class IdentityReader:
    """Reads people from photos and keeps what it has read, so that the next prompt with the same people is quick."""

    detector: Detector
    _crops: dict[tuple[str, int | None], np.ndarray] = field(default_factory=dict)
    _embeddings: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def crops(self, name: str, photos: Sequence[PhotoOf]) -> PersonCrops:
        """The crops of a person's photos.

        Raises:
            DataError: a photo cannot be read, or shows no face.
            InputError: no photo, a photo shows several faces and none is chosen, or the chosen one is not there.
        """
        if not photos:
            raise InputError(f"{name} has no photo; give at least one")
        return PersonCrops(name, np.stack([self._crop(photo) for photo in photos]))

    def identity(self, person: PersonCrops, encoder: IdentityEncoder) -> np.ndarray:
        """The mean embedding of a person's crops, float32 (width,); of unit length where the encoder's are."""
        rows = np.stack([self._embed(crop, encoder) for crop in person.crops])
        return average_identities(rows, unit=isinstance(encoder, encoders.Encoder))

    def _crop(self, photo: PhotoOf) -> np.ndarray:
        image = read_photo(photo.path)
        key = (_digest(image), photo.face)
        if key not in self._crops:
            face = choose_face(self.detector.detect(image), photo)
            self._crops[key] = warp_face(image, face.points)
        return self._crops[key]

    def _embed(self, crop: np.ndarray, encoder: IdentityEncoder) -> np.ndarray:
        key = (_digest(crop), f"{encoder.name} {encoder.sha256}")
        if key not in self._embeddings:
            self._embeddings[key] = encoder.embed(crop[None])[0]
        return self._embeddings[key]


def average_identities(embeddings: np.ndarray, *, unit: bool) -> np.ndarray:
    """One identity from several photos, (D,).

    Args:
        embeddings: (N, D), N at least 1.
        unit: bring the mean back to unit length, where the encoder's embeddings have it.
    """
    mean = np.asarray(embeddings.mean(0))
    return mean / max(float(np.linalg.norm(mean)), 1e-12) if unit else mean


def choose_face(faces: Sequence[Face], photo: PhotoOf) -> Face:
    """The face of a photo that is meant; raises as `IdentityReader.crops`."""
    if not faces:
        raise DataError(f"no face found in {photo.path}; give a photo that shows the face larger")
    ordered = sorted(faces, key=lambda face: (face.box[0] + face.box[2]) / 2)
    if photo.face is None and len(ordered) > 1:
        raise InputError(
            f"{photo.path} shows {len(ordered)} faces; choose one by its number from left to right, "
            f"such as {photo.path.name}#1"
        )
    number = 1 if photo.face is None else photo.face
    if not 1 <= number <= len(ordered):
        many = "1 face" if len(ordered) == 1 else f"{len(ordered)} faces"
        raise InputError(f"{photo.path} shows {many}, face {number} was asked for; they count from 1, from the left")
    return ordered[number - 1]


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
