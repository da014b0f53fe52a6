"""Make new images where a filter dropped some, with fresh seeds that the manifest records."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facewright.align import Detector
from facewright.data.embeddings import Embeddings
from facewright.data.sets import FaceSet, SetRow, read_set
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.plan import batches
from facewright.synthesis.sampling import SetRun
from facewright.synthesis.set_filter import (
    FilterReport,
    SetLimits,
    check_limits,
    embed_rows,
    image_faults,
    judge,
    report_of,
    save_verdicts,
)
from facewright.synthesis.starts import StartingPictures
from facewright.synthesis.variation import PersonVariation
from facewright.training.atomic import atomic_path

ROUNDS = "resample.json"
"""In a set's folder: which round was begun last, under which limits."""


@dataclass(frozen=True)
class ResampleReport:
    """What resampling did."""

    rounds: int  # made under these limits, by earlier calls too
    made: int  # images, by this call
    lacking: Mapping[str, int]  # images still wanted, by name of the identity
    filtered: FilterReport

    @property
    def complete(self) -> bool:
        """Whether every identity has its images."""
        return not self.lacking


def resample_set(
    generator: FaceGenerator,
    contexts: Embeddings,
    path: Path | str,
    limits: SetLimits,
    *,
    encoder: CropEncoder | None = None,
    training: Embeddings | None = None,
    detector: Detector | None = None,
    variation: PersonVariation | None = None,
    start: StartingPictures | None = None,
    rounds: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> ResampleReport:
    """Filter a set and fill up what each identity lost, until all have their images or the rounds are over.

    A new image has the next free number of its identity, hence a seed of its own; what was dropped stays, marked. The
    manifest is written after each round, so a call that was stopped repeats its round from the pictures already made
    and comes to the same set. Rounds are counted in the set's folder: the same limits again go on where an earlier call
    ended or was stopped, other limits or training people begin anew. Identities too near a training person are not
    filled up: more images would not move them.

    Args:
        generator, contexts, encoder, detector, variation: those that the set was sampled with; the detector where it
            was aligned, the variation where contexts were varied.
        start: the pictures that the set's were begun from, where they were.
        path: of the set.
        limits, training: as in `filter_set`.
        rounds: at most so many times new images are made under these limits, in all calls together; at least 1.
        progress: called with (images done, images of this round).

    Raises:
        InputError: generator, contexts, encoder, detector or variation are not the set's own; nothing was written.
        WorkError: the generator gave NaN.
    """
    if rounds < 1:
        raise ConfigError(f"rounds must be at least 1, got {rounds}")
    faces = read_set(path)
    check_limits(limits, encoder, training)
    _check_same(faces.config, generator, contexts, encoder, detector, variation, start, faces.path)
    asked = {**asdict(limits), "training_sha256": None if training is None else training.sha256}
    done = _rounds_done(faces, asked)
    embedded: dict[str, np.ndarray] = {}
    made = 0
    while True:
        embeddings = None
        if limits.needs_embeddings and encoder is not None:
            new = [number for number, row in enumerate(faces.rows) if row.file not in embedded]
            embedded |= zip((faces.rows[number].file for number in new), embed_rows(faces, new, encoder), strict=True)
            embeddings = np.stack([embedded[row.file] for row in faces.rows])
        rows = judge(faces.rows, limits, embeddings=embeddings, training=training)
        save_verdicts(faces.path, rows, limits)
        lacking = _lacking(rows, image_faults(faces.rows, limits, embeddings=embeddings), faces.config)
        if not lacking or done >= rounds:
            break
        _begin_round(faces, asked, done + 1)
        run = SetRun(
            generator,
            contexts,
            encoder,
            faces.config,
            faces.path,
            detector=detector,
            variation=variation,
            start=start,
        )
        run.rows = {row.file: row for row in rows}
        wanted = _next_indices(rows, lacking, faces.config["per_identity"])
        total, finished = sum(lacking.values()), 0
        for plan in batches(contexts, faces.config, wanted):
            run.complete(plan)
            finished += len(plan)
            if progress is not None:
                progress(finished, total)
        made, done = made + run.made, done + 1
        faces = FaceSet(faces.path, faces.config, tuple(run.rows.values()))
    names = {row.identity: row.name for row in rows}
    return ResampleReport(done, made, {names[identity]: count for identity, count in lacking.items()}, report_of(rows))


def _rounds_done(faces: FaceSet, asked: Mapping[str, Any]) -> int:
    """How many rounds under the limits asked for are in the manifest."""
    file = faces.path / ROUNDS
    if not file.is_file():
        return 0
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        same, number, before = begun["limits"] == asked, int(begun["round"]), int(begun["images_before"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); delete it to count the rounds anew") from error
    now = _resampled(faces)
    if not same or now < before:  # other limits, or a manifest of before those rounds
        return 0
    return number if now > before else number - 1  # all rows of a round come into the manifest at once


def _resampled(faces: FaceSet) -> int:
    """How many images of the manifest were made by resampling."""
    return sum(row.steps > 0 and row.index >= faces.config["per_identity"] for row in faces.rows)


def _begin_round(faces: FaceSet, asked: Mapping[str, Any], number: int) -> None:
    """Note in the set's folder that a round begins."""
    begun = {"limits": dict(asked), "round": number, "images_before": _resampled(faces)}
    with atomic_path(faces.path / ROUNDS) as temporary:
        temporary.write_text(json.dumps(begun, indent=2, sort_keys=True) + "\n", encoding="utf-8")


_GIVEN_BY = {
    "generator_sha256": "the generator",
    "contexts_sha256": "the contexts",
    "encoder_sha256": "the encoder",
    "align": "the face finder",
    "variation_sha256": "the variation, by --vary-like of facewright set resample",
    "start_sha256": "the pictures begun from, by --start-from of facewright set resample",
    "start_by": "the way of beginning",
    "start_least": "the pictures that somebody must be on to lend them",
    "start_match": "the way of lending",
}


def _short(value: object) -> str:
    """The beginning of a hash, or a name as it is."""
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 else text


def _check_same(
    config: Mapping[str, Any],
    generator: FaceGenerator,
    contexts: Embeddings,
    encoder: CropEncoder | None,
    detector: Detector | None,
    variation: PersonVariation | None,
    start: StartingPictures | None,
    path: Path,
) -> None:
    """Refuse anything but what the set was made with."""
    given = {
        "generator_sha256": generator.sha256,
        "contexts_sha256": contexts.sha256,
        "encoder_sha256": None if encoder is None else encoder.sha256,
        "align": None if detector is None else detector.name,
        "variation_sha256": None if variation is None else variation.sha256,
        **({"start_sha256": None} if start is None else start.record),
    }
    if differing := [key for key, value in given.items() if config.get(key) != value]:
        key = differing[0]
        name = config.get(key.removesuffix("_sha256"))
        called = f" ({name})" if name is not None and name != config.get(key) else ""
        raise InputError(
            f"{path} was made with {key} {_short(config.get(key))}{called}, got {_short(given[key])}; give what it was"
            f" sampled with: {_GIVEN_BY[key]}"
        )


def _lacking(rows: tuple[SetRow, ...], faults: list[str], config: Mapping[str, Any]) -> dict[int, int]:
    """Sampled images still wanted, by identity; `faults` are those of single images."""
    wanted = config["per_identity"]
    good = Counter(row.identity for row, fault in zip(rows, faults, strict=True) if not fault and row.steps)
    hopeless = {row.identity for row in rows if row.reason.startswith("near a training person")}
    return {
        identity: wanted - good[identity]
        for identity in range(config["identities"])
        if identity not in hopeless and good[identity] < wanted
    }


def _next_indices(rows: tuple[SetRow, ...], lacking: Mapping[int, int], per_identity: int) -> dict[int, range]:
    """The next free numbers of each identity, none of them in the set's own plan."""
    last = dict.fromkeys(lacking, per_identity - 1)
    for row in rows:
        if row.identity in last:
            last[row.identity] = max(last[row.identity], row.index)
    return {identity: range(last[identity] + 1, last[identity] + 1 + count) for identity, count in lacking.items()}
