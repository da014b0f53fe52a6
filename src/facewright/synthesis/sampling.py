"""Make a labelled set: every identity many times, packed into full batches, resumable to the bit."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facewright.data.embeddings import Embeddings
from facewright.data.images import centre_crop, to_uint8
from facewright.data.sets import CARD, CONFIG, CROP_SIZE, FaceSet, SetRow, write_config, write_image, write_manifest
from facewright.errors import WorkError
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.noise import start_noise, step_noise
from facewright.synthesis.plan import batches, check_match, made_before, set_settings
from facewright.synthesis.set_card import set_card
from facewright.training.atomic import atomic_path

MANIFEST_EVERY = 30.0
"""Seconds between writes of the manifest while a set is made; rows lost to a kill are rebuilt from the pictures."""


@dataclass(frozen=True)
class SampleSummary:
    """What a call of `sample_set` did."""

    out: Path
    identities: int
    images: int  # in the set
    made: int  # written by this call
    seconds: float
    similarity: float | None  # mean over the set; None when no encoder measured it

    @property
    def images_per_s(self) -> float:
        """Images written a second, all work included."""
        return self.made / self.seconds if self.seconds > 0 else 0.0


def sample_set(
    generator: FaceGenerator,
    contexts: Embeddings,
    *,
    per_identity: int,
    out: Path | str,
    encoder: CropEncoder | None = None,
    sampler: str = "ddim",
    steps: int = 25,
    guidance: float = 1.0,
    seed: int = 0,
    batch: int = 64,
    image_size: int = 112,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SampleSummary:
    """Make the set, or complete it: the same call again makes what is missing.

    Images are numbered identity by identity and cut into batches once and for all, so batch k always holds the same
    images. A batch of which anything is missing is made whole and only the missing files are written: after any
    interruption the files and the manifest are, bit for bit, those of an unbroken run on the same device.

    Args:
        generator: as `facewright.diffusion.load` gives.
        contexts: one row an identity; the label is the row's number, the noise depends on the row's name.
        per_identity: images of each.
        out: the set's folder.
        encoder: measures each image's similarity to its context; must be the one that the generator was trained with.
        sampler, steps, guidance: passed to the generator.
        seed: any integer; another one gives other images of the same identities.
        batch: images made at a time; part of the settings, since another batch size may round differently.
        image_size: pixels; the generator's own size, or less to cut the centre. 112 keeps just the aligned crop.
        force: allow contexts and an encoder that the generator was not trained with.
        progress: called with (images done, images in all) after each batch.

    Raises:
        ConfigError, InputError, DataError: bad arguments, contexts that cannot be used, or `out` holds something else;
            nothing was written.
        WorkError: the disk is full, the batch does not fit in memory, or the generator gave NaN; what was made is kept.
    """
    settings = set_settings(
        generator, contexts, encoder, per_identity=per_identity, sampler=sampler, steps=steps, guidance=guidance,
        seed=seed, batch=batch, image_size=image_size,
    )  # fmt: skip
    check_match(generator, contexts, encoder, force=force)
    out = Path(out)
    run = _Run(generator, contexts, encoder, settings, out, known=made_before(out, settings))
    started = time.monotonic()
    try:
        run.make_all(progress)
    except OSError as error:
        raise WorkError(f"{out}: writing failed ({error.strerror or error}); {run.kept_sentence()}") from error
    except torch.OutOfMemoryError as error:
        raise WorkError(
            f"{out}: {batch} images at a time do not fit in the device's memory; choose a smaller batch, and another"
            " folder if this one already holds images"
        ) from error
    similarities = [row.similarity for row in run.rows.values() if row.similarity is not None]
    return SampleSummary(
        out=out,
        identities=len(contexts),
        images=len(run.rows),
        made=run.made,
        seconds=time.monotonic() - started,
        similarity=float(np.mean(similarities)) if similarities else None,
    )


class _Run:
    """One call's work: the rows known so far and what is still to make."""

    def __init__(
        self,
        generator: FaceGenerator,
        contexts: Embeddings,
        encoder: CropEncoder | None,
        settings: Mapping[str, Any],
        out: Path,
        *,
        known: Mapping[str, SetRow],
    ) -> None:
        self.generator, self.contexts, self.encoder = generator, contexts, encoder
        self.settings, self.out = settings, out
        self.rows = dict(known)  # by file
        self.made = 0
        self.total = len(contexts) * settings["per_identity"]
        self.begun = (out / CONFIG).is_file()
        self.stale = False  # the manifest on disk lacks rows
        self.saved_at = time.monotonic()

    def make_all(self, progress: Callable[[int, int], None] | None) -> None:
        """Go through the batches; the manifest is written now and then, and whatever happens, at the end."""
        done = 0
        try:
            for plan in batches(self.contexts, self.settings):
                self._complete(plan)
                done += len(plan)
                if progress is not None:
                    progress(done, self.total)
                if time.monotonic() - self.saved_at > MANIFEST_EVERY:
                    self._save_manifest()
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                self._save_manifest()
            raise
        self._save_manifest()

    def kept_sentence(self) -> str:
        """For the message of a run that failed."""
        return f"{len(self.rows)} of {self.total} images are kept, the same command again makes the rest"

    def _complete(self, plan: Sequence[SetRow]) -> None:
        """Make what a batch lacks: pictures, or only rows where a killed run left pictures without."""
        if all(row.file in self.rows for row in plan):
            return
        missing = {row.file for row in plan if not (self.out / row.file).is_file()}
        images = self._generate(plan) if missing else self._reread(plan)
        similarities = self._similarities(plan, images)
        self._begin()
        for row, image, similarity in zip(plan, images, similarities, strict=True):
            if row.file in missing:
                write_image(self.out, row, image)
                self.made += 1
            self.rows.setdefault(row.file, replace(row, similarity=similarity))
            self.stale = True

    def _generate(self, plan: Sequence[SetRow]) -> np.ndarray:
        """Pictures of a batch, uint8 (B, size, size, 3)."""
        seeds = [row.seed for row in plan]
        shape = tuple(self.generator.latent_shape)
        contexts = torch.from_numpy(self.contexts.embeddings[[row.identity for row in plan]])
        with torch.inference_mode():
            pictures = self.generator.sample(
                contexts,
                start_noise(seeds, shape),
                sampler=self.settings["sampler"],
                steps=self.settings["steps"],
                guidance=self.settings["guidance"],
                step_noise=step_noise(seeds, shape),
            )
        finite = torch.isfinite(pictures).flatten(1).all(dim=1)
        if not bool(finite.all()):
            bad = plan[int((~finite).nonzero()[0])]
            raise WorkError(
                f"{self.out}: the generator gave NaN for image {bad.index} of identity {bad.name!r}"
                f" (guidance {bad.guidance:g}); lower the guidance or change the sampler. {self.kept_sentence()}"
            )
        return centre_crop(to_uint8(pictures), self.settings["image_size"])

    def _reread(self, plan: Sequence[SetRow]) -> np.ndarray:
        saved = FaceSet(self.out, self.settings, tuple(plan))
        return np.stack([saved.image(number) for number in range(len(plan))])

    def _similarities(self, plan: Sequence[SetRow], images: np.ndarray) -> list[float | None]:
        if self.encoder is None:
            return [None] * len(plan)
        embeddings = self.encoder.embed(centre_crop(images, CROP_SIZE), batch=len(plan))
        contexts = self.contexts.embeddings[[row.identity for row in plan]]
        return [float(value) for value in np.einsum("nd,nd->n", embeddings, contexts, dtype=np.float64)]

    def _begin(self) -> None:
        """Settings and card, just before the first picture: a call that fails earlier leaves nothing behind."""
        if not self.begun:
            write_config(self.out, self.settings)
            with atomic_path(self.out / CARD) as temporary:
                temporary.write_text(
                    set_card(self.settings, self.generator.card, self.contexts.provenance), encoding="utf-8"
                )
            self.begun = True

    def _save_manifest(self) -> None:
        if self.stale:
            write_manifest(self.out, self.rows.values())
            self.stale = False
        self.saved_at = time.monotonic()
