"""What a set will hold, settled before the first image: its settings, its batches, and what is there already."""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from facewright.data.embeddings import Embeddings, check_embeddings, embedding_sha256
from facewright.data.sets import CONFIG, CROP_SIZE, MANIFEST, SetRow, image_file, read_config, read_manifest
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.noise import image_seed

logger = logging.getLogger(__name__)

FORMAT = 1


def set_settings(
    generator: FaceGenerator,
    contexts: Embeddings,
    encoder: CropEncoder | None,
    *,
    per_identity: int,
    sampler: str,
    steps: int,
    guidance: float,
    seed: int,
    batch: int,
    image_size: int,
) -> dict[str, Any]:
    """Everything that the pixels and the manifest depend on, checked; what config.json holds."""
    for what, number in (("per_identity", per_identity), ("steps", steps), ("batch", batch)):
        if number < 1:
            raise ConfigError(f"{what} must be at least 1, got {number}")
    if not math.isfinite(guidance):
        raise ConfigError(f"guidance must be a finite number, got {guidance}")
    if not CROP_SIZE <= image_size <= generator.image_size:
        raise ConfigError(
            f"image_size must lie in [{CROP_SIZE}, {generator.image_size}] pixels for this generator, got {image_size}"
        )
    if not len(contexts):
        raise InputError("the contexts hold no identity; make some with facewright contexts")
    check_embeddings(contexts.names, contexts.embeddings, source="contexts", width=generator.context_width)
    return {
        "format": FORMAT,
        "generator": generator.name,
        "generator_sha256": generator.sha256,
        "contexts_sha256": contexts.sha256,
        "identities": len(contexts),
        "per_identity": per_identity,
        "sampler": sampler,
        "steps": steps,
        "guidance": float(guidance),
        "seed": seed,
        "batch": batch,
        "image_size": image_size,
        "crop": CROP_SIZE,  # the central crop x crop pixels are the aligned crop
        "encoder": None if encoder is None else encoder.name,
        "encoder_sha256": None if encoder is None else encoder.sha256,
    }


def check_match(generator: FaceGenerator, contexts: Embeddings, encoder: CropEncoder | None, *, force: bool) -> None:
    """The generator only understands embeddings of the encoder it was trained with."""
    wanted = generator.encoder_sha256
    if force or wanted is None:
        return
    made_by = contexts.provenance.get("encoder_sha256")
    if made_by is not None and made_by != wanted:
        raise InputError(
            f"the contexts were made by encoder {contexts.provenance.get('encoder')!r} ({made_by[:12]}), the generator"
            f" {generator.name!r} was trained with {wanted[:12]}; embed with that encoder, or force it"
        )
    if encoder is not None and encoder.sha256 != wanted:
        raise InputError(
            f"similarity to the context needs the encoder that the generator was trained with ({wanted[:12]}), got"
            f" {encoder.name!r} ({encoder.sha256[:12]}); measure other encoders with facewright set check, or force it"
        )


def batches(contexts: Embeddings, settings: Mapping[str, Any]) -> Iterator[list[SetRow]]:
    """The fixed plan: every image's row, similarity still unknown, `batch` at a time."""
    plan: list[SetRow] = []
    for identity, name in enumerate(contexts.names):
        context_sha256 = embedding_sha256(contexts.embeddings[identity])
        for index in range(settings["per_identity"]):
            plan.append(
                SetRow(
                    identity=identity,
                    name=name,
                    index=index,
                    file=image_file(identity, index),
                    seed=image_seed(settings["seed"], name, index),
                    context_sha256=context_sha256,
                    generator_sha256=settings["generator_sha256"],
                    sampler=settings["sampler"],
                    steps=settings["steps"],
                    guidance=settings["guidance"],
                    similarity=None,
                )
            )
            if len(plan) == settings["batch"]:
                yield plan
                plan = []
    if plan:
        yield plan


def made_before(out: Path, settings: Mapping[str, Any]) -> dict[str, SetRow]:
    """Rows, by file, of the pictures that an earlier call with the same settings made."""
    if not out.exists():
        return {}
    if not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the set")
    if not (out / CONFIG).is_file():
        if any(out.iterdir()):
            raise InputError(f"{out} holds files but no {CONFIG}, so it is not a set; name another folder")
        return {}
    before = read_config(out)
    if differing := [key for key in sorted({*before, *settings}) if before.get(key) != settings.get(key)]:
        listed = ", ".join(
            f"{key} ({json.dumps(before.get(key))} there, {json.dumps(settings.get(key))} asked)" for key in differing
        )
        raise InputError(
            f"{out} holds a set made with other settings: {listed}; give the same settings to complete it, or name"
            " another folder"
        )
    if not (out / MANIFEST).is_file():
        return {}
    try:
        rows = read_manifest(out)
    except DataError as error:
        logger.warning("the manifest is rebuilt from the pictures: %s", error)
        return {}
    return {row.file: row for row in rows if (out / row.file).is_file()}
