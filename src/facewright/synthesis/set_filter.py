"""Mark the images of a set that miss a limit; nothing is deleted, and another call with other limits judges anew."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from facewright.data.embeddings import Embeddings, check_embeddings
from facewright.data.sets import FaceSet, SetRow, read_set, write_manifest
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis.models import CropEncoder
from facewright.synthesis.plan import NO_FACE
from facewright.synthesis.set_card import FILTER, write_set_card
from facewright.training.atomic import atomic_path

CHUNK = 512
"""Crops held at a time while a set is embedded."""


@dataclass(frozen=True)
class SetLimits:
    """What an image, or an identity, must keep to; None asks nothing."""

    min_similarity: float | None = None  # cosine of an image to its context, as the manifest holds it
    min_centre: float | None = None  # cosine of an image to the mean of its identity's other images
    max_training: float | None = None  # cosine of an identity's mean to the nearest training person
    min_images: int | None = None  # images that an identity must keep to be kept at all

    def __post_init__(self) -> None:
        for what in ("min_similarity", "min_centre", "max_training"):
            cosine = getattr(self, what)
            if cosine is not None and not -1 <= cosine <= 1:
                raise ConfigError(f"{what} is a cosine and must lie in [-1, 1], got {cosine}")
        if self.min_images is not None and self.min_images < 1:
            raise ConfigError(f"min_images must be at least 1, got {self.min_images}")

    @property
    def needs_embeddings(self) -> bool:
        """Whether the images have to be embedded."""
        return self.min_centre is not None or self.max_training is not None


@dataclass(frozen=True)
class FilterReport:
    """What a filter left."""

    images: int
    kept: int
    identities: int
    kept_identities: int  # with one image at least
    reasons: Mapping[str, int] = field(default_factory=dict)  # images by the kind of reason


def filter_set(
    path: Path | str,
    limits: SetLimits,
    *,
    encoder: CropEncoder | None = None,
    training: Embeddings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FilterReport:
    """Judge every image of a set, and write `kept` and `reason` to its manifest, the limits to filter.json and card.md.

    Images without a found face stay dropped. Limits of None all round keep every other image.

    Args:
        path: of the set.
        limits: to keep to.
        encoder: embeds the images, where `min_centre` or `max_training` is set.
        training: of the people that `max_training` is about, by the same encoder.
        progress: called with (images embedded, images).

    Returns:
        How many were kept.

    Raises:
        ConfigError: limits that need an encoder or the training people, without them.
        DataError: `min_similarity` for a set whose images were not measured.
    """
    faces = read_set(path)
    check_limits(limits, encoder, training)
    embeddings = None
    if limits.needs_embeddings and encoder is not None:
        embeddings = embed_rows(faces, range(len(faces)), encoder, progress)
    rows = judge(faces.rows, limits, embeddings=embeddings, training=training)
    save_verdicts(faces.path, rows, limits)
    return report_of(rows)


def check_limits(limits: SetLimits, encoder: CropEncoder | None, training: Embeddings | None) -> None:
    """Refuse limits that lack what they are measured with."""
    if limits.needs_embeddings and encoder is None:
        raise ConfigError("min_centre and max_training need an encoder to embed the images")
    if (limits.max_training is None) != (training is None):
        raise ConfigError("max_training and the embeddings of the training people go together; give both or neither")
    if training is not None and encoder is not None:
        check_embeddings(
            training.names, training.embeddings, source=training.source or "training people", width=encoder.width
        )
        made_by = training.provenance.get("encoder_sha256")
        if made_by is not None and made_by != encoder.sha256:
            raise InputError(
                f"the training people were embedded by encoder {training.provenance.get('encoder')!r}, the set would"
                f" be by {encoder.name!r}; embed both with one encoder"
            )


def embed_rows(
    faces: FaceSet,
    numbers: Sequence[int],
    encoder: CropEncoder,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Embeddings of the given rows of a set, (n, D) float32 unit rows."""
    parts = [np.empty((0, encoder.width), np.float32)]
    for start in range(0, len(numbers), CHUNK):
        some = numbers[start : start + CHUNK]
        parts.append(encoder.embed(faces.crops(some)))
        if progress is not None:
            progress(start + len(some), len(numbers))
    return np.concatenate(parts)


def judge(
    rows: Sequence[SetRow],
    limits: SetLimits,
    *,
    embeddings: np.ndarray | None = None,
    training: Embeddings | None = None,
) -> tuple[SetRow, ...]:
    """The same rows with a verdict each: first every image by itself, then what is left of each identity.

    Args:
        rows: of a manifest.
        limits: to keep to.
        embeddings: unit rows of the images, (N, D), where the limits need them.
        training: people that no identity may lie near.
    """
    faults = image_faults(rows, limits, embeddings=embeddings)
    members = defaultdict(list)
    for number, row in enumerate(rows):
        members[row.identity].append(number)
    for numbers in members.values():
        left = [number for number in numbers if not faults[number]]
        fault = ""
        if left and limits.max_training is not None and embeddings is not None and training is not None:
            centre = _unit(embeddings[left].sum(axis=0, dtype=np.float64))
            nearest = float((training.embeddings @ centre).max())
            if nearest > limits.max_training:
                fault = f"near a training person: cosine {nearest:.3f} above {limits.max_training:g}"
        if left and not fault and limits.min_images is not None and len(left) < limits.min_images:
            fault = f"too few images: the identity keeps {len(left)}, below {limits.min_images}"
        for number in left:
            faults[number] = fault
    return tuple(replace(row, kept=not fault, reason=fault) for row, fault in zip(rows, faults, strict=True))


def image_faults(rows: Sequence[SetRow], limits: SetLimits, *, embeddings: np.ndarray | None = None) -> list[str]:
    """What is wrong with each image by itself, "" for nothing."""
    faults = [row.reason if row.reason == NO_FACE else "" for row in rows]
    if limits.min_similarity is not None:
        for number, row in enumerate(rows):
            if row.similarity is None:
                raise DataError(
                    f"image {row.index} of identity {row.name!r} has no similarity to its context to be judged by;"
                    " sample the set with an encoder"
                )
            if not faults[number] and row.similarity < limits.min_similarity:
                faults[number] = f"unlike its context: cosine {row.similarity:.3f} below {limits.min_similarity:g}"
    if limits.min_centre is not None and embeddings is not None:
        sums: dict[int, np.ndarray] = {}
        good = [number for number, fault in enumerate(faults) if not fault]
        for number in good:
            identity = rows[number].identity
            sums[identity] = sums.get(identity, 0.0) + embeddings[number].astype(np.float64)
        for number in good:
            others = sums[rows[number].identity] - embeddings[number]
            if np.linalg.norm(others) < 1e-6:
                continue  # the identity's only image
            cosine = float(_unit(others) @ embeddings[number])
            if cosine < limits.min_centre:
                faults[number] = f"unlike the identity's other images: cosine {cosine:.3f} below {limits.min_centre:g}"
    return faults


def save_verdicts(path: Path, rows: Sequence[SetRow], limits: SetLimits) -> None:
    """Write manifest, filter.json and card.md, in this order."""
    write_manifest(path, rows)
    asked = {key: value for key, value in asdict(limits).items() if value is not None}
    with atomic_path(path / FILTER) as temporary:
        temporary.write_text(json.dumps(asked, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_set_card(path, rows=rows)


def report_of(rows: Sequence[SetRow]) -> FilterReport:
    """Count verdicts."""
    return FilterReport(
        images=len(rows),
        kept=sum(row.kept for row in rows),
        identities=len({row.identity for row in rows}),
        kept_identities=len({row.identity for row in rows if row.kept}),
        reasons=dict(Counter(row.reason.split(":")[0] for row in rows if not row.kept)),
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))
