"""Make a labelled set: every identity many times, packed into full batches, resumable to the bit."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facewright.align import Detector
from facewright.data.embeddings import Embeddings
from facewright.data.images import centre_crop, to_tensor
from facewright.data.sets import CARD, CONFIG, CROP_SIZE, FaceSet, SetRow, write_config, write_image, write_manifest
from facewright.diffusion import SamplerConfig
from facewright.errors import WorkError
from facewright.synthesis.alignment import align_pictures
from facewright.synthesis.cone import within_cone
from facewright.synthesis.models import CropEncoder, FaceGenerator
from facewright.synthesis.negatives import negative_rows
from facewright.synthesis.pictures import draw_pictures, drawing_options
from facewright.synthesis.plan import batches, check_match, made_before, refinement_by, set_settings
from facewright.synthesis.set_card import write_set_card, write_sources
from facewright.synthesis.shares import WHOLE, Share, merge_parts, write_part
from facewright.synthesis.starts import StartingPictures
from facewright.synthesis.variation import PersonVariation, varied

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
    complete: bool = True  # False while other shares have images to make

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
    sampler: str | SamplerConfig = "ddim",
    steps: int | None = None,
    guidance: float | None = None,
    negative: str | None = None,
    cone: float | None = None,
    vary: float | None = None,
    variation: PersonVariation | None = None,
    refine: int | None = None,
    start: StartingPictures | None = None,
    seed: int = 0,
    batch: int = 64,
    image_size: int = 112,
    align: Detector | None = None,
    force: bool = False,
    share: Share = WHOLE,
    progress: Callable[[int, int], None] | None = None,
) -> SampleSummary:
    """Make the set, or complete it: the same call again makes what is missing.

    Several calls, on one machine or on several with one folder, make a set together when each takes its own `share`;
    the last to finish joins their manifests. Whatever the shares, and whichever of them was killed and started again,
    the set is the same to the bit on the same kind of device with the same number of threads.

    Images are numbered identity by identity and cut into batches once and for all, so batch k always holds the same
    images. A batch of which anything is missing is made whole and only the missing files are written: after any
    interruption the files and the manifest are, bit for bit, those of an unbroken run on the same device.

    Args:
        generator: as `facewright.diffusion.load` gives.
        contexts: one row an identity; the label is the row's number, the noise depends on the row's name.
        per_identity: images of each.
        out: the set's folder.
        encoder: measures each image's similarity to its context; must be the one that the generator was trained with.
        sampler: a name with `steps` (None: 25) and `guidance` (None: 1, off), or everything in one record.
        negative: rule of `negatives.negative_rows` that names the identity which guidance moves away from; None: the
            empty context.
        cone: radians; each picture's context is drawn from the cone of this half angle around its identity's. None:
            all have the identity's own. Similarities are to that one either way.
        vary: standard deviations; each picture's context is moved from its identity's as `varied` does. None: not so.
        variation: how pictures of one person differ, which `vary` needs.
        refine: steps along the encoder's gradient that each finished picture takes towards what it was made from
            (`diffusion.Refinement`), in [1, 50]; needs a differentiable `encoder`. None: not so.
        start: each picture begins from one of these, as far as `sampler`, a SamplerConfig with a strength below 1,
            says. None: from noise.
        seed: any integer; another one gives other images of the same identities.
        batch: images made at a time; part of the settings, since another batch size may round differently.
        image_size: pixels; the generator's own size, or less to cut the centre. 112 keeps just the aligned crop.
        align: finds the face in each picture of a generator that was not trained on aligned crops; the set then holds
            the face nearest the middle, warped to 112 x 112. A picture without a face is shrunk whole and not kept.
        force: allow contexts and an encoder that the generator was not trained with.
        share: the batches that this call makes.
        progress: called with (images done, images in all) of the share after each batch.

    Raises:
        ConfigError, InputError, DataError: bad arguments, contexts that cannot be used, or `out` holds something else;
            nothing was written.
        WorkError: the disk is full, the batch does not fit in memory, or the generator gave NaN; what was made is kept.
    """
    settings = set_settings(
        generator, contexts, encoder, per_identity=per_identity, sampler=sampler, steps=steps, guidance=guidance,
        seed=seed, batch=batch, image_size=image_size, align=None if align is None else align.name, negative=negative,
        cone=cone, vary=vary, variation=variation, refine=refine, start=start,
    )  # fmt: skip
    check_match(generator, contexts, encoder, force=force)
    out = Path(out)
    run = SetRun(
        generator, contexts, encoder, settings, out, detector=align, share=share, variation=variation, start=start
    )
    started = time.monotonic()
    try:
        rows = run.make_all(progress)
    except OSError as error:
        raise WorkError(f"{out}: writing failed ({error.strerror or error}); {run.kept_sentence()}") from error
    except torch.OutOfMemoryError as error:
        raise WorkError(
            f"{out}: {batch} images at a time do not fit in the device's memory; choose a smaller batch, and another"
            " folder if this one already holds images"
        ) from error
    return summarise(
        out,
        rows.values(),
        identities=len(contexts),
        per_identity=per_identity,
        made=run.made,
        seconds=time.monotonic() - started,
    )


def summarise(
    out: Path, rows: Collection[SetRow], *, identities: int, per_identity: int, made: int, seconds: float
) -> SampleSummary:
    """Sum up the rows that are known of a set."""
    similarities = [row.similarity for row in rows if row.similarity is not None]
    return SampleSummary(
        out=out,
        identities=identities,
        images=len(rows),
        made=made,
        seconds=seconds,
        similarity=float(np.mean(similarities)) if similarities else None,
        complete=sum(row.index < per_identity for row in rows) == identities * per_identity,
    )


class SetRun:
    """One call's work on a set: the rows known so far and what is still to make."""

    def __init__(
        self,
        generator: FaceGenerator,
        contexts: Embeddings,
        encoder: CropEncoder | None,
        settings: Mapping[str, Any],
        out: Path,
        *,
        detector: Detector | None,
        share: Share = WHOLE,
        variation: PersonVariation | None = None,
        start: StartingPictures | None = None,
    ) -> None:
        self.generator, self.contexts, self.encoder = generator, contexts, encoder
        self.settings, self.out = settings, out
        self.detector, self.share, self.variation = detector, share, variation
        self.start = start
        self.lending = (
            None
            if start is None or start.by != "person"
            else start.lending(
                contexts.embeddings,
                seed=settings["seed"],
                per_identity=settings["per_identity"],
                encoder=encoder,
            )
        )
        self.refinement = refinement_by(encoder, settings.get("refine"))
        self.listed, parts = made_before(out, settings)
        self.rows = {**self.listed, **parts}  # by file
        self.made = 0
        self.total = len(contexts) * settings["per_identity"]
        self.begun = (out / CONFIG).is_file() and (out / CARD).is_file()
        self.stale = share.whole and bool(parts)  # the manifest on disk lacks rows
        self.saved_at = time.monotonic()

    def make_all(self, progress: Callable[[int, int], None] | None) -> dict[str, SetRow]:
        """Go through the batches; the manifest is written now and then, and whatever happens, at the end.

        Returns:
            The rows of the set known then, by file.
        """
        starts = enumerate(range(0, self.total, size := self.settings["batch"]))
        total = sum(min(size, self.total - start) for place, start in starts if self.share.holds(place))
        done = 0
        try:
            for place, plan in enumerate(batches(self.contexts, self.settings)):
                if not self.share.holds(place):
                    continue
                self.complete(plan)
                done += len(plan)
                if progress is not None:
                    progress(done, total)
                if time.monotonic() - self.saved_at > MANIFEST_EVERY:
                    self._save_manifest()
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                self._save_manifest()
            raise
        self._save_manifest()
        return merge_parts(self.out, per_identity=self.settings["per_identity"], identities=len(self.contexts))

    def kept_sentence(self) -> str:
        """For the message of a run that failed."""
        return f"{len(self.rows)} of {self.total} images are kept, the same command again makes the rest"

    def complete(self, plan: Sequence[SetRow]) -> None:
        """Make what a batch lacks: pictures, or only rows where a killed run left pictures without."""
        if all(row.file in self.rows for row in plan):
            return
        missing = {row.file for row in plan if not (self.out / row.file).is_file()}
        # An aligned crop no longer tells whether its face was found, so those are made again to be judged.
        images, faults = self._generate(plan) if missing or self.detector else (self._reread(plan), [""] * len(plan))
        similarities = self._similarities(plan, images)
        self._begin()
        for row, image, similarity, fault in zip(plan, images, similarities, faults, strict=True):
            if row.file in missing:
                write_image(self.out, row, image)
                self.made += 1
            self.rows.setdefault(row.file, replace(row, similarity=similarity, kept=not fault, reason=fault))
            self.stale = True

    def _generate(self, plan: Sequence[SetRow]) -> tuple[np.ndarray, list[str]]:
        """Pictures of a batch, uint8 (B, size, size, 3), and what is wrong with each, "" for nothing."""
        images = draw_pictures(
            self.generator,
            self._contexts(plan),
            [row.seed for row in plan],
            fault=lambda number: self._nan_sentence(plan[number]),
            **self._options(plan),
        )
        if self.detector is not None:
            return align_pictures(images, self.detector)
        return centre_crop(images, self.settings["image_size"]), [""] * len(plan)

    def _nan_sentence(self, row: SetRow) -> str:
        return (
            f"{self.out}: the generator gave NaN for image {row.index} of identity {row.name!r}"
            f" (guidance {row.guidance:g}); lower the guidance or change the sampler. {self.kept_sentence()}"
        )

    def _contexts(self, plan: Sequence[SetRow]) -> np.ndarray:
        """What each picture of a batch is conditioned on, (B, D)."""
        contexts = self.contexts.embeddings[[row.identity for row in plan]]
        if self.settings.get("cone") is not None:
            contexts = within_cone(contexts, [row.seed for row in plan], angle=self.settings["cone"])
        if self.variation is not None and self.settings.get("vary") is not None:
            contexts = varied(contexts, [row.seed for row in plan], self.variation, amount=self.settings["vary"])
        return contexts

    def _options(self, plan: Sequence[SetRow]) -> dict[str, Any]:
        """How a batch is sampled."""
        options = drawing_options(SamplerConfig.from_record(self.settings))
        if (rule := self.settings.get("negative")) is not None:
            embeddings = self.contexts.embeddings
            rows = negative_rows(embeddings, [row.identity for row in plan], [row.seed for row in plan], rule=rule)
            options["negative"] = torch.from_numpy(embeddings[rows])
        if self.start is not None:
            begun = self.start.drawn(plan) if self.lending is None else self.lending.pictures(plan)
            options["start"] = to_tensor(begun)
        if self.refinement is not None:
            options["refinement"] = self.refinement
        return options

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
            encoder_card: Mapping[str, Any] | None = getattr(self.encoder, "card", None)
            write_sources(
                self.out,
                self.generator.card,
                self.contexts.provenance,
                encoder_card,
                self.variation,
                begun_from=self.start is not None,
            )
            write_set_card(self.out, rows=())
            self.begun = True

    def _save_manifest(self) -> None:
        if self.stale and self.share.whole:
            write_manifest(self.out, self.rows.values())
        elif self.stale:
            write_part(self.out, self.share, [row for file, row in self.rows.items() if file not in self.listed])
        self.stale = False
        self.saved_at = time.monotonic()
