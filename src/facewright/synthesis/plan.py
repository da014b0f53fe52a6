"""What a set will hold, settled before the first image: its settings, its batches, and what is there already."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from facewright.data.embeddings import Embeddings, check_embeddings, embedding_sha256
from facewright.data.sets import CONFIG, CROP_SIZE, SetRow, image_file, read_config
from facewright.diffusion import Refinement, SamplerConfig, sampler_config
from facewright.errors import ConfigError, InputError
from facewright.synthesis.cone import check_angle
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.negatives import check_negative
from facewright.synthesis.noise import image_seed
from facewright.synthesis.shares import is_temporary, read_listed, read_parts
from facewright.synthesis.starts import StartingPictures
from facewright.synthesis.variation import PersonVariation, check_amount

FORMAT = 1
NO_FACE = "no face found"  # why a picture that could not be aligned is not kept


def set_settings(
    generator: FaceGenerator,
    contexts: Embeddings,
    encoder: CropEncoder | None,
    *,
    per_identity: int,
    sampler: str | SamplerConfig,
    steps: int | None,
    guidance: float | None,
    seed: int,
    batch: int,
    image_size: int,
    align: str | None = None,
    negative: str | None = None,
    cone: float | None = None,
    vary: float | None = None,
    variation: PersonVariation | None = None,
    refine: int | None = None,
    start: StartingPictures | None = None,
) -> dict[str, Any]:
    """Everything that the pixels and the manifest depend on, checked; what config.json holds."""
    config = sampler_config(sampler, steps=steps, guidance=guidance)
    for what, number in (("per_identity", per_identity), ("batch", batch)):
        if number < 1:
            raise ConfigError(f"{what} must be at least 1, got {number}")
    if cone is not None:
        check_angle(cone)
    if vary is not None:
        check_amount(vary)
        check_variation(variation, generator)
        if cone is not None:
            raise ConfigError("contexts are moved within a cone or as people vary; give cone or vary, not both")
    refinement_by(encoder, refine)
    if (start is None) != (config.strength == 1):
        raise ConfigError(
            "pictures to begin from go with a strength below 1, such as 0.25"
            if start is not None
            else f"strength {config.strength:g} begins from given pictures; name some"
        )
    if not CROP_SIZE <= image_size <= generator.image_size:
        raise ConfigError(
            f"image_size must lie in [{CROP_SIZE}, {generator.image_size}] pixels for this generator, got {image_size}"
        )
    if align is not None and image_size != CROP_SIZE:
        raise ConfigError(f"aligned pictures are {CROP_SIZE} px; set image_size to that, got {image_size}")
    source = contexts.source or "the file of contexts"
    if not len(contexts):
        raise InputError(f"{source} holds no identity; make some with facewright contexts")
    check_embeddings(contexts.names, contexts.embeddings, source=source, width=generator.context_width)
    if negative is not None:
        check_negative(negative, len(contexts))
        if config.guidance == 1:
            raise ConfigError("a negative identity counts only under guidance; set guidance above 1, such as 1.5")
    return {
        "format": FORMAT,
        "generator": generator.name,
        "generator_sha256": generator.sha256,
        "contexts_sha256": contexts.sha256,
        "identities": len(contexts),
        "per_identity": per_identity,
        **config.record(),
        **({} if negative is None else {"negative": negative}),  # rule by which another identity is chosen
        **({} if cone is None else {"cone": cone}),  # radians around an identity's context
        **({} if vary is None or variation is None else {"vary": vary, "variation_sha256": variation.sha256}),
        **({} if refine is None else {"refine": refine}),  # steps by the encoder's gradient
        **({} if start is None else start.record),  # the pictures begun from
        "seed": seed,
        "batch": batch,
        "image_size": image_size,
        "crop": CROP_SIZE,  # the central crop x crop pixels are the aligned crop
        **({} if align is None else {"align": align}),  # the detector that found each face
        "encoder": None if encoder is None else encoder.name,
        "encoder_sha256": None if encoder is None else encoder.sha256,
    }


def refinement_by(encoder: CropEncoder | None, steps: int | None) -> Refinement | None:
    """How finished pictures are refined, None for not; refuses what cannot refine."""
    if steps is None:
        return None
    if encoder is None:
        raise ConfigError(
            "pictures are refined by the encoder that the generator was trained with; give that, such as bundled"
        )
    if not callable(encoder):
        raise ConfigError(f"the encoder {encoder.name!r} gives no gradient to refine pictures by; choose another")
    return Refinement(encoder, steps)


def check_variation(variation: PersonVariation | None, generator: FaceGenerator) -> None:
    """How people vary must be known, for embeddings as the generator's."""
    if variation is None:
        raise ConfigError("how pictures of one person vary is not given; load or fit a variation")
    if (width := variation.factors.shape[1]) != generator.context_width:
        raise InputError(f"the variation is {width} wide, the generator takes contexts of {generator.context_width}")
    fitted, wanted = variation.encoder_sha256, generator.encoder_sha256
    if fitted is not None and wanted is not None and fitted != wanted:
        raise InputError(
            f"the variation was fitted to embeddings of the encoder {fitted[:12]}, the generator {generator.name!r} was"
            f" trained with {wanted[:12]}; fit it to embeddings of that encoder, named by --vary-like"
        )


def check_match(generator: FaceGenerator, contexts: Embeddings, encoder: CropEncoder | None, *, force: bool) -> None:
    """The generator only understands unit embeddings of the encoder it was trained with.

    A generator's card says `unit_embeddings = false` in its architecture where the embeddings of its training had
    other lengths.
    """
    architecture = generator.card.get("architecture") or {}
    if architecture.get("unit_embeddings") is False:
        raise InputError(
            f"the generator {generator.name!r} was trained on embeddings that were not of unit length, as its card"
            " says, and contexts are; train it again on unit embeddings"
        )
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


def batches(
    contexts: Embeddings, settings: Mapping[str, Any], indices: Mapping[int, Sequence[int]] | None = None
) -> Iterator[list[SetRow]]:
    """The fixed plan: every image's row, similarity still unknown, `batch` at a time.

    Args:
        contexts: one row an identity.
        settings: of the set.
        indices: the images wanted of each identity that any are wanted of; None: the `per_identity` first of all.
    """
    plan: list[SetRow] = []
    wanted = dict.fromkeys(range(len(contexts)), range(settings["per_identity"])) if indices is None else indices
    for identity, numbers in wanted.items():
        name = contexts.names[identity]
        context_sha256 = embedding_sha256(contexts.embeddings[identity])
        for index in numbers:
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


def made_before(out: Path, settings: Mapping[str, Any]) -> tuple[dict[str, SetRow], dict[str, SetRow]]:
    """Rows, by file, of the pictures that earlier calls with the same settings made.

    Returns:
        Those of the manifest, and those that only the parts of single shares hold so far.
    """
    if not out.exists():
        return {}, {}
    if not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the set")
    if not (out / CONFIG).is_file():
        if any(not is_temporary(path) for path in out.iterdir()):
            raise InputError(f"{out} holds files but no {CONFIG}, so it is not a set; name another folder")
        return {}, {}
    before = read_config(out)
    if "format" not in before:
        raise InputError(f"{out} holds the {CONFIG} of something that is no set; name another folder")
    if differing := [key for key in sorted({*before, *settings}) if before.get(key) != settings.get(key)]:
        named = ", ".join(
            f"{key} ({json.dumps(before.get(key))} there, {json.dumps(settings.get(key))} asked)" for key in differing
        )
        raise InputError(
            f"{out} holds a set made with other settings: {named}; give the same settings to complete it, or name"
            " another folder"
        )
    parts = read_parts(out)  # before the manifest: whoever removes the parts has written it
    listed = {file: row for file, row in read_listed(out).items() if (out / file).is_file()}
    return listed, {file: row for file, row in parts.items() if file not in listed and (out / file).is_file()}
