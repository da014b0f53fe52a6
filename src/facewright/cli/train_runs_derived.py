"""What `facewright train` makes of a generator: with a small decoder or a control branch, for few steps, trained on."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facewright import diffusion, encoders
from facewright.cli.train_latents import encoded_faces, features_of, sample_measure
from facewright.cli.train_run import NOT_SAID, Run, first_progress, recipe_text, settings_of, write_weights
from facewright.cli.train_runs_diffusion import keep_others
from facewright.errors import ConfigError
from facewright.training.run_folder import RunFolder
from facewright.weights import Card


@dataclass(frozen=True, kw_only=True)
class DerivedRun(Run):
    """A training that starts from a whole generator; data and licence are the generator's, and then what is said."""

    pack: Path  # aligned faces: a pack, or a set in any format
    generator: Path | None = None  # .safetensors; None: the bundled generator
    encoder: Path | None = None  # .safetensors, the one that the generator was trained with; None: the bundled one


@dataclass(frozen=True, kw_only=True)
class FinetuneRun(DerivedRun):
    """A generator trained on, with other faces or for longer; its sizes, latents and noise levels stay."""

    recipe: diffusion.DenoiserTraining
    name: str = "generator-finetuned"


@dataclass(frozen=True, kw_only=True)
class DecoderRun(DerivedRun):
    """A small decoder for a generator, distilled from its own."""

    recipe: diffusion.DecoderTraining
    name: str = "generator-fast"


@dataclass(frozen=True, kw_only=True)
class ControlRun(DerivedRun):
    """A control branch for a generator."""

    recipe: diffusion.ControlTraining
    hint: str = "edges"  # what the hint pictures are made of: edges or colours; where `hints` is given, only its name
    hints: Path | None = None  # hint pictures, a pack or a set with one for each of `pack`, in its order
    name: str = "generator-control"

    def __post_init__(self) -> None:
        if self.hints is None and self.hint not in diffusion.HINTS:
            raise ConfigError(f"hint must be {' or '.join(diffusion.HINTS)}, or give hints, got {self.hint!r}")


@dataclass(frozen=True, kw_only=True)
class FewStepRun(DerivedRun):
    """A generator for a few steps, distilled from one for many."""

    recipe: diffusion.FewStepTraining
    checks: diffusion.SampleChecks | None = None  # pictures made and judged at every save, sampled as the card will say
    start: Path | None = None  # .safetensors of an earlier distillation of this generator to go on from
    name: str = "generator-fewstep"


_BEFORE = ". The generator before, "


def _then(before: str, said: str) -> str:
    """What held of a generator, and what is said of its further training: the weights owe both."""
    return before if said in (NOT_SAID, before) else f"{before}; then {said}"


class _Base:
    """The generator that a run starts from, its encoder and the faces on its latents."""

    def __init__(self, config: DerivedRun, kind: str, out: Path, device: str) -> None:
        self.generator = diffusion.load(config.generator or "bundled", device=device)
        wanted = self.generator.encoder_sha256
        self.encoder = encoders.load(config.encoder or "bundled", device=device).requires_grad_(requires_grad=False)
        if wanted is not None and self.encoder.sha256 != wanted:
            raise ConfigError(
                f"the generator {self.generator.name!r} was trained with the encoder {wanted[:12]}, got "
                f"{self.encoder.name!r} ({self.encoder.sha256[:12]}); name that one as encoder"
            )
        self.made_with = {"generator": self.generator.sha256, "encoder": self.encoder.sha256}
        self.settings = {**settings_of(config), "made_with": self.made_with}
        RunFolder(out).check({"kind": kind, **settings_of(config)})
        self.cache = encoded_faces(
            config.pack,
            self.generator.autoencoder,
            self.encoder if self.generator.context_width else None,
            path=out / "latents.npz",
            made_with=self.made_with,
        )
        self._config, self._out = config, out

    def card(self, how: str, recipe: Any, changes: Mapping[str, Any]) -> Card:
        """The new generator's card: the old one's with changes to the architecture."""
        before = self.generator.card
        made = f"{recipe_text(how, recipe)}{_BEFORE}{before['name']} (sha256 {before['sha256']}): "
        return Card(
            name=self._config.name,
            kind="generator",
            architecture={**before["architecture"], **changes},
            data=_then(before["data"], self._config.data),
            licence=_then(before["licence"], self._config.licence),
            recipe=made + before["recipe"],
            input=None,
            encoder_sha256=self.generator.encoder_sha256,
        )

    def write(self, card: Card, name: str = "generator", **parts: Any) -> Path:
        """Write the generator with other parts to RUN/NAME.safetensors."""
        return write_weights(self._out / f"{name}.safetensors", self.with_parts(card, **parts).state_dict(), card)

    def with_parts(self, card: Card, **parts: Any) -> diffusion.Generator:
        """The generator with other parts."""
        old = self.generator
        given = {"autoencoder": old.autoencoder, "denoiser": old.denoiser, "diffusion": old.diffusion, "card": card}
        kept = {"decoder": old.decoder, "control": old.control, "sampling": old.sampling}
        return diffusion.Generator(**{**given, **kept, **parts}).eval()


def train_finetune(config: FinetuneRun, out: Path, device: str) -> Path:
    """Train the generator's denoiser on, and write the generator as `train_generator` does.

    Raises:
        ConfigError: it was distilled to a few steps, or has a control branch.
    """
    before = diffusion.load_card(config.generator or "bundled")
    for part, what in (("sampling", "was distilled to few steps"), ("control", "has a control branch")):
        if part in before.architecture:
            raise ConfigError(
                f"the generator {before.name!r} {what}, which would not hold any more; name the one that it was made of"
            )
    base = _Base(config, "generator", out, device)
    generator = base.generator
    recipe = diffusion.GeneratorTraining.further(config.recipe, generator.denoiser.config, generator.diffusion)
    card = base.card("its denoiser was trained on", config.recipe, {})

    def keep(denoiser: diffusion.ConditionalUNet, name: str = "generator") -> None:
        base.write(card, name, denoiser=denoiser)

    measure = sample_measure(
        recipe.checks,
        config.pack,
        base.cache,
        lambda denoiser: base.with_parts(card, denoiser=denoiser),
        base.encoder if generator.context_width else None,
        out=out,
        device=device,
    )
    with first_progress("training the generator on") as progress:
        denoiser = diffusion.train_generator(
            base.cache,
            recipe,
            out=out,
            device=device,
            progress=progress,
            settings=base.settings,
            on_save=keep,
            identify=diffusion.decode_and_embed(copy.deepcopy(generator.autoencoder), base.encoder),
            measure=measure,
            start=generator.denoiser,
        )
    keep(denoiser)
    keep_others(recipe, out, keep)
    return out / "generator.safetensors"


def train_decoder(config: DecoderRun, out: Path, device: str) -> Path:
    """Distil a small decoder, and write the generator with it to RUN/generator.safetensors at every save."""
    base = _Base(config, "decoder", out, device)
    how = "a small decoder distilled from the generator's own"
    card = base.card(how, config.recipe, {"decoder": asdict(config.recipe.network)})

    def keep(decoder: diffusion.FastDecoder) -> None:
        base.write(card, decoder=decoder)

    with first_progress("training the decoder") as progress:
        decoder = diffusion.train_decoder(
            base.cache,
            copy.deepcopy(base.generator.autoencoder),
            config.recipe,
            out=out,
            device=device,
            progress=progress,
            settings=base.settings,
            on_save=keep,
            features=features_of(base.encoder) if config.recipe.feature_weight > 0 else None,
        )
    return base.write(card, decoder=decoder)


def train_control(config: ControlRun, out: Path, device: str) -> Path:
    """Train a control branch, and write the generator with it to RUN/generator.safetensors at every save."""
    base = _Base(config, "control", out, device)
    faces = diffusion.open_faces(config.pack)
    shown = faces.images if config.hints is None else diffusion.open_faces(config.hints).images
    if len(shown) != len(faces.images):
        raise ConfigError(f"{config.hints} holds {len(shown)} hints for {len(faces.images)} faces; give one for each")
    kept = np.flatnonzero(faces.sources >= 0)

    def hints(rows: np.ndarray) -> np.ndarray:
        pictures = np.asarray(shown[kept[rows]])
        return diffusion.HINTS[config.hint](pictures) if config.hints is None else pictures

    card = base.card(f"a control branch for hints of {config.hint}", config.recipe, {"control": True})

    def keep(control: diffusion.ControlNet) -> None:
        base.write(card, control=control)

    with first_progress("training the control branch") as progress:
        control = diffusion.train_control(
            base.cache,
            hints,
            base.generator.denoiser,
            base.generator.diffusion,
            config.recipe,
            out=out,
            device=device,
            progress=progress,
            settings=base.settings,
            on_save=keep,
        )
    return base.write(card, control=control)


def train_fewstep(config: FewStepRun, out: Path, device: str) -> Path:
    """Distil the denoiser to a few steps, and write the generator to RUN/generator.safetensors at every save."""
    start = None if config.start is None else diffusion.load(config.start)
    base, recipe = _Base(config, "fewstep", out, device), config.recipe
    sampling = recipe.sampling()
    denoiser = {**base.generator.card["architecture"]["denoiser"], "partial_dropout": 0.0}
    how = f"distilled to {sampling.steps} steps of {sampling.sampler} with guidance {recipe.guidance:g} folded in"
    if start is not None:
        earlier, _, _ = start.card["recipe"].partition(_BEFORE)
        how += f", begun as {start.name} (sha256 {start.sha256}: {earlier})"
    card = base.card(how, recipe, {"denoiser": denoiser, "sampling": sampling.record()})

    def build(denoiser: diffusion.ConditionalUNet) -> diffusion.Generator:
        return base.with_parts(card, denoiser=denoiser, sampling=sampling)

    def keep(denoiser: diffusion.ConditionalUNet) -> None:
        base.write(card, denoiser=denoiser, sampling=sampling)

    checks = None if config.checks is None else replace(config.checks, sampler=None)
    measure = sample_measure(checks, config.pack, base.cache, build, base.encoder, out=out, device=device)
    judge = diffusion.decode_and_embed(copy.deepcopy(base.generator.autoencoder), base.encoder)
    with first_progress("distilling to a few steps") as progress:
        student = diffusion.train_fewstep(
            base.cache,
            base.generator.denoiser,
            base.generator.diffusion,
            recipe,
            out=out,
            device=device,
            progress=progress,
            settings=base.settings,
            on_save=keep,
            identify=judge,
            measure=measure,
            start=None if start is None else start.denoiser,
        )
    keep(student)
    return out / "generator.safetensors"
