"""Scenes of the miniature world encoded once: latents on disk in parts, and tokenized captions."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from facewright.errors import ConfigError, DataError
from facewright.personalise.base_autoencoder import encode_pictures
from facewright.personalise.world_scenes import World
from facewright.training.atomic import atomic_path
from facewright.training.processes import current

PART = 2048  # scenes of a file
MADE_WITH = "made_with.json"
HASHED = 64  # faces whose pixels count in a fingerprint


@dataclass(frozen=True)
class SceneLatents:
    """Encoded scenes.

    latents: float16 (N, C, h, w), about unit normal.
    ids: int64 (N, T), tokens of the captions.
    points: float32 (N, P, 5, 2), x, y in pixels of the people's eyes, nose and corners of the mouth; NaN for nobody.
    real: bool (N, h, w), False where a scene's photo ends and its border is repeated.
    """

    latents: np.ndarray
    ids: np.ndarray
    points: np.ndarray
    real: np.ndarray

    def __post_init__(self) -> None:
        latents, ids, points = self.latents.shape, self.ids.shape, self.points.shape
        whole = (len(latents), len(ids), len(points)) == (4, 2, 4) and len({latents[0], ids[0], points[0]}) == 1
        if not whole or points[2:] != (5, 2) or self.real.shape != (latents[0], *latents[2:]):
            raise DataError(
                "latents must be (N, C, h, w), ids (N, T), points (N, P, 5, 2) and real (N, h, w), got "
                f"{latents}, {ids}, {points} and {self.real.shape}"
            )

    def first(self, count: int) -> "SceneLatents":
        """The first scenes."""
        return SceneLatents(self.latents[:count], self.ids[:count], self.points[:count], self.real[:count])


def world_fingerprint(world: World) -> str:
    """A hash of everything that its scenes depend on: faces, what is known of them, config and seed."""
    faces, rows = world.faces, world.rows
    digest = hashlib.sha256(json.dumps([asdict(world.config), world.seed, faces.groups]).encode())
    for array in (rows, faces.gender[rows], faces.age[rows], faces.group[rows], faces.pack.labels[rows]):
        digest.update(np.ascontiguousarray(array).tobytes())
    if faces.names is not None:
        digest.update("\n".join(faces.names[rows].tolist()).encode())
    for row in rows[np.unique(np.linspace(0, len(rows) - 1, HASHED).astype(int))].tolist():
        digest.update(np.ascontiguousarray(faces.pack.images[row]).tobytes())
    return digest.hexdigest()


def token_ids(captions: Sequence[str], tokenizer: Any) -> np.ndarray:
    """Tokens of captions with start, end and padding, int64 (N, T); what is too long is cut at its end."""
    different = list(dict.fromkeys(captions))
    ids = tokenizer(different, padding="max_length", truncation=True, max_length=tokenizer.model_max_length).input_ids
    number = {caption: place for place, caption in enumerate(different)}
    return np.array(ids, np.int64)[[number[caption] for caption in captions]]


def scene_latents(
    world: World,
    encode: Callable[[Tensor], Tensor],
    tokenizer: Any,
    *,
    made_by: str,
    count: int,
    cache: Path | None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> SceneLatents:
    """Draw and encode the world's first scenes.

    Args:
        world: whose scenes.
        encode: pictures (B, 3, H, W) RGB in [-1, 1] to latents (B, C, h, w), about unit normal.
        tokenizer: of the captions.
        made_by: a hash of the weights that encode.
        count: scenes.
        cache: folder for the latents, so that an interrupted call goes on and the next one is quick; None keeps none.
        device: of what encodes.
        progress: called with (scenes done, scenes in all).

    Raises:
        ConfigError: the folder holds latents of another world or autoencoder.
        DataError: a file in it is damaged.
    """
    scenes = [world.scene(number) for number in range(count)]
    processes = current()
    if cache is not None and processes.first:
        _claim(cache, {"autoencoder": made_by, "world": world_fingerprint(world), "part": PART})
    parts = []
    for start in range(0, count, PART):
        numbers = range(start, min(start + PART, count))
        file = None if cache is None else cache / f"{start // PART:05d}.npy"
        if file is None:
            parts.append(encode_pictures(encode, world.images(numbers), device=device))
        else:
            if processes.first and not _holds(file, len(numbers)):
                made = encode_pictures(encode, world.images(numbers), device=device)
                with atomic_path(file) as temporary, temporary.open("wb") as stream:
                    np.save(stream, made)
            processes.wait()
            parts.append(_read(file)[: len(numbers)])
        if progress is not None:
            progress(numbers.stop, count)
    ids = token_ids([scene.caption for scene in scenes], tokenizer)
    latents = np.concatenate(parts)[:count]
    real = world.real(scenes)
    down, across = (np.arange(side) * real.shape[1] // side for side in latents.shape[2:])
    return SceneLatents(latents, ids, world.points(scenes), real[:, down][:, :, across])


def _claim(cache: Path, made_with: Mapping[str, Any]) -> None:
    """Note what latents are made of in a new folder, or check that it is what the folder was begun with."""
    note = cache / MADE_WITH
    if note.exists():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{note} cannot be read ({error}); delete {cache} to encode the scenes anew") from error
        if other := sorted(key for key in made_with if before.get(key) != made_with[key]):
            raise ConfigError(f"{cache} was made with another {', '.join(other)}; give the same, or another --out")
        return
    with atomic_path(note) as temporary:
        temporary.write_text(json.dumps(made_with, indent=2) + "\n", encoding="utf-8")


def _holds(file: Path, count: int) -> bool:
    """Whether a part is there with at least so many scenes; the last one of an earlier, shorter call may have fewer."""
    return file.is_file() and len(_read(file)) >= count


def _read(file: Path) -> np.ndarray:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} cannot be read ({error}); delete it to encode its scenes anew") from error
    return np.asarray(found)
