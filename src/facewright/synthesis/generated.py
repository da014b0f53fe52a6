"""Identities of people who do not exist: faces of an unconditional model, embedded (context-enhanced sampling)."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facewright.align import Detector
from facewright.align.photos import read_photo
from facewright.data.embeddings import Embeddings
from facewright.data.images import centre_crop
from facewright.data.sets import CONFIG, CROP_SIZE
from facewright.diffusion import SamplerConfig, sampler_config
from facewright.errors import ConfigError, InputError
from facewright.synthesis.alignment import align_pictures
from facewright.synthesis.contexts import check_count
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.pictures import check_batch, faces_of_nobody, nobody_config
from facewright.synthesis.search import Candidates, FoundContexts, Limits, choose_identities
from facewright.training.atomic import atomic_path
from facewright.training.seeds import seed_of

DRAWN = "drawn"


def generated_contexts(
    count: int,
    generator: FaceGenerator,
    encoder: CropEncoder,
    *,
    seed: int,
    faces: Path | str,
    detector: Detector | None = None,
    limits: Limits | None = None,
    max_draws: int | None = None,
    sampler: str | SamplerConfig = "ddim",
    steps: int | None = None,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> FoundContexts:
    """Draw faces from an unconditional model and take their embeddings for contexts (IDiff-Face's two-stage contexts,
    ADMIS's context-enhanced sampling, DCFace's first stage).

    Every drawn picture is kept below `faces`, so a search that was stopped goes on where it was, and one for more
    identities begins with the same ones.

    Args:
        count: how many identities.
        generator: unconditional, or trained with the context left out now and then.
        encoder: the one that the generator to be conditioned was trained with.
        seed: any integer.
        faces: folder for the pictures; the crop of identity "0000042" is `faces`/0000042.png.
        detector: finds the face of each picture, for a generator that was not trained on aligned crops.
        limits: uniqueness, people to avoid, consistency; None takes every face.
        max_draws: pictures drawn before the search ends; None: 20 for each identity wanted.
        sampler, steps, batch: as in `sample_set`; guidance does not count, for there is no identity.
        progress: called with (pictures drawn, most that will be).

    Returns:
        Embeddings named by the number of their draw, and the report; `report.complete` is False where the draws did
        not suffice.

    Raises:
        InputError: `faces` holds pictures of another generator, seed or settings; nothing was written. Or not one
            identity was found. Or the generator was distilled to few steps, where it never goes without a context.
    """
    check_count(count)
    check_batch(batch)
    limits = limits or Limits()
    limits.check(width=encoder.width, encoder=encoder.name, encoder_sha256=encoder.sha256)
    if generator.context_width and "sampling" in (generator.card.get("architecture") or {}):
        raise InputError(
            f"the generator {generator.name!r} was distilled to few steps with a context at every one, and cannot draw"
            " without; name the generator that it was made of"
        )
    allowed = 20 * count if max_draws is None else max_draws
    if allowed < count:
        raise ConfigError(f"max_draws must be at least the number of identities, {count}, got {allowed}")
    if detector is None and generator.image_size < CROP_SIZE:
        raise ConfigError(
            f"pictures of {generator.image_size} px hold no crop of {CROP_SIZE} px; align them with a detector"
        )
    folder, config = Path(faces), nobody_config(generator, sampler_config(sampler, steps=steps))
    way = {key: value for key, value in config.record().items() if key != "guidance"}
    drawn_with = {"generator": generator.name, "generator_sha256": generator.sha256, "seed": seed, **way}
    settings = {**drawn_with, "batch": batch}
    _check_folder(folder, settings)

    def crops(pictures: np.ndarray) -> tuple[np.ndarray, list[str]]:
        if detector is not None:
            return align_pictures(pictures, detector)
        return centre_crop(pictures, CROP_SIZE), [""] * len(pictures)

    def blocks() -> Iterator[Candidates]:
        for start in range(0, allowed, batch):
            names = [f"{number:07d}" for number in range(start, start + batch)][: allowed - start]
            cut, faults = crops(_pictures(folder, names, generator, config, settings))
            seen = [place for place, fault in enumerate(faults) if not fault]
            rows = encoder.embed(cut[seen], batch=batch) if seen else np.empty((0, encoder.width), np.float32)
            yield Candidates([names[place] for place in seen], rows, len(names) - len(seen))
            if progress is not None:
                progress(start + len(names), allowed)

    chosen = choose_identities(blocks(), count, limits=limits, width=encoder.width)
    if not chosen.names:
        raise InputError(f"{chosen.report.sentence()}; loosen the limits or use another model")
    for name in chosen.names:
        _write(folder / f"{name}.png", crops(read_photo(folder / DRAWN / f"{name}.png")[None])[0][0])
    provenance = {
        "kind": "generated",
        **drawn_with,
        "licence": generator.card.get("licence"),
        "aligned_by": None if detector is None else detector.name,
        **limits.facts(),
        "drawn": chosen.report.drawn,
        "encoder": encoder.name,
        "encoder_sha256": encoder.sha256,
    }
    return FoundContexts(Embeddings(chosen.names, chosen.embeddings, provenance), chosen.report)


def _check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that belongs to another search."""
    file = folder / DRAWN / CONFIG
    if not file.is_file():
        if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= {DRAWN}):
            raise InputError(f"{folder} exists and holds no drawn faces; name a new or empty folder")
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: cannot be read ({error}); name another folder for the faces") from error
    if differing := sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key)):
        raise InputError(
            f"{folder} holds faces drawn with another {', '.join(differing)}; give the same settings to go on, or name"
            " another folder"
        )


def _pictures(
    folder: Path, names: Sequence[str], generator: FaceGenerator, config: SamplerConfig, settings: Mapping[str, Any]
) -> np.ndarray:
    """A block of drawn pictures, uint8 (B, H, W, 3): those on disk, or drawn now and kept."""
    files = [folder / DRAWN / f"{name}.png" for name in names]
    missing = [file for file in files if not file.is_file()]
    if not missing:
        return np.stack([read_photo(file) for file in files])
    seeds = [seed_of("face of nobody", settings["seed"], name) for name in names]
    pictures = faces_of_nobody(generator, seeds, config)
    file = folder / DRAWN / CONFIG
    if not file.is_file():
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file, picture in zip(files, pictures, strict=True):
        if file in missing:
            _write(file, picture)
    return pictures


def _write(file: Path, picture: np.ndarray) -> None:
    with atomic_path(file) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
