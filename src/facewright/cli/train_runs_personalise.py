"""What `facewright train personaliser` runs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from facewright import diffusion, encoders, personalise
from facewright.align import load_detector
from facewright.cli.train_run import Run, first_progress, flat, recipe_text, settings_of
from facewright.errors import ConfigError
from facewright.personalise.base import BaseFacts, find_base, read_base
from facewright.personalise.base_folder import save_base
from facewright.personalise.identities import IdentityEncoder, MultiScaleEncoder
from facewright.personalise.mapper import Mapper
from facewright.personalise.subject_folder import SubjectFolder
from facewright.personalise.train_checks import PersonaliserChecks, drawn_checks
from facewright.personalise.train_denoiser import BaseModel
from facewright.personalise.train_people import People, read_people
from facewright.personalise.train_personaliser import Identify, Trained, begin_personaliser, train_personaliser
from facewright.personalise.train_recipe import PersonaliserTraining
from facewright.personalise.train_words import WordsTraining, train_words
from facewright.training.processes import current
from facewright.weights import Card


@dataclass(frozen=True, kw_only=True)
class PersonaliserRun(Run):
    """The mapping of a personaliser, for one encoder and one base model."""

    subjects: Path  # folder of captioned photos with masks: FastComposer's, or of `facewright subjects`
    recipe: PersonaliserTraining
    base: Path | None = None  # directory of a Stable Diffusion 1.x, 2.x or XL model of diffusers; None: the bundled one
    encoder: Path | None = None  # .safetensors, whose embeddings are mapped; None: the bundled encoder
    start: Path | None = None  # .safetensors of a mapper to start from; None: from the beginning
    words: WordsTraining | None = None  # given: the mapping is first taught the contexts of the base model's generator
    generator: Path | None = None  # that generator, .safetensors; None: the bundled one
    detector: str = "mtcnn"  # finds the faces of photos that do not say where they are, and those of the checks
    base_precision: str = "float32"  # of the frozen parts: float32, float16 or bfloat16
    checks: PersonaliserChecks | None = None  # pictures drawn of held-out people and judged
    name: str = "personaliser"

    @property
    def base_folder(self) -> Path:
        """The directory of the base model."""
        return find_base("bundled") if self.base is None else self.base

    def __post_init__(self) -> None:
        if self.words is not None and (self.start is not None or self.recipe.mode == "fuse"):
            raise ConfigError(
                "words are taught to a new mapping of mode replace; set words=none, or leave out start and fuse"
            )


def train_personaliser_run(config: PersonaliserRun, out: Path, device: str) -> Path:
    """Train, and write the averaged mapper to RUN/mapper.safetensors at every save.

    Where the denoiser is trained too, the base model that the mapper is for is written to RUN/base before it.
    """
    recipe = config.recipe
    folder, facts = SubjectFolder(config.subjects), read_base(config.base_folder)
    if recipe.trained != "mapping" and config.base_precision != "float32":
        raise ConfigError(f"a denoiser is trained in float32, base_precision is {config.base_precision}")
    start = None if config.start is None else personalise.load_mapper(config.start)
    encoder = personalise.load_identity_encoder(config.encoder or "bundled", device=device)
    people = _people(folder, encoder, config, out)
    pipe = personalise.load_base(facts.path, device=device, precision=config.base_precision)
    base = BaseModel(pipe, size=recipe.size)
    if config.words is not None:
        start = _taught(config, people, base, out)
    how = (
        f"words of {encoder.name} (sha256 {encoder.sha256}) for the base model {facts.path.name}, "
        f"{len(set(people.person[~people.held_out]))} people on {len(people.photos(held_out=False))} photos"
    )
    if config.words is not None:
        told = ", ".join(f"words.{name} {value}" for name, value in flat(asdict(config.words)))
        how += f", taught words first ({told})"

    def keep(trained: Trained) -> None:
        if not current().first:
            return
        base_sha256 = facts.sha256
        if trained.denoiser is not None:
            written = _save_base(out / "base", pipe, trained.denoiser, _base_card(config, facts, how))
            base_sha256 = read_base(written).sha256
        personalise.save_mapper(
            out / "mapper.safetensors",
            trained.mapper,
            name=config.name,
            data=config.data,
            licence=config.licence,
            recipe=recipe_text(how, recipe),
            encoder_sha256=encoder.sha256,
            base_sha256=base_sha256,
        )

    with first_progress("training the personaliser") as progress:
        trained = train_personaliser(
            people,
            base,
            recipe,
            out=out,
            device=device,
            progress=progress,
            settings={**settings_of(config), "made_with": {"encoder": encoder.sha256}},
            start=start,
            identify=_identify(encoder) if recipe.identity > 0 else None,
            on_save=keep,
            measure=None if config.checks is None else _measure(config.checks, people, pipe, config, out, device),
        )
    keep(trained)
    return out / "mapper.safetensors"


def _taught(config: PersonaliserRun, people: People, base: BaseModel, out: Path) -> Mapper:
    """A mapper that was taught words in RUN/words."""
    assert config.words is not None
    generator = diffusion.load(config.generator or "bundled")
    identities = people.embedding[~people.held_out].reshape(-1, people.embedding.shape[2])
    if generator.context_width != identities.shape[1]:
        raise ConfigError(
            f"{generator.name} takes embeddings of {generator.context_width} numbers, the encoder makes "
            f"{identities.shape[1]}; name the generator that the base model began as"
        )
    with torch.inference_mode():
        contexts = generator.denoiser.project(torch.from_numpy(identities), count=len(identities))
    assert contexts is not None
    mapping = begin_personaliser(people, base, config.recipe).mapping
    every = settings_of(config)
    own = {name: every[name] for name in ("subjects", "base", "encoder", "words")}  # what other recipes may share
    with first_progress("teaching the mapping words") as progress:
        train_words(
            mapping,
            base,
            identities,
            contexts.numpy(),
            config.words,
            out=out / "words",
            progress=progress,
            settings={"made_with": {"generator": generator.sha256}, "mapping": asdict(mapping.config), **own},
        )
    return Mapper(mapping)


def _people(folder: SubjectFolder, encoder: IdentityEncoder, config: PersonaliserRun, out: Path) -> People:
    """Find the people once, on the first process; the others read what it found."""

    def read(*, shown: bool) -> People:
        with first_progress("finding the people") as progress:
            return read_people(
                folder,
                encoder,
                lambda: load_detector(config.detector),
                cache=out / "people",
                expression_width=config.recipe.expression_width,
                held_out=config.recipe.held_out,
                progress=progress if shown else None,
            )

    if current().first:
        people = read(shown=True)
        current().wait()
        return people
    current().wait()
    return read(shown=False)


def _identify(encoder: IdentityEncoder) -> Identify:
    """The encoder as a function that gradients run through; its weights are frozen."""
    if isinstance(encoder, MultiScaleEncoder):
        return encoder.network.requires_grad_(requires_grad=False)
    if isinstance(encoder, encoders.Encoder):
        return encoder.requires_grad_(requires_grad=False)
    raise ConfigError(f"gradients do not run through the encoder {encoder.name!r}; set recipe.identity = 0")


def _measure(
    checks: PersonaliserChecks, people: People, pipe: Any, config: PersonaliserRun, out: Path, device: str
) -> Callable[[Trained, int], dict[str, float]]:
    """The checks with their judges."""
    from facewright.cli.evaluate_personalised_prompts import load_judges

    judge = encoders.load(checks.encoder or "bundled", device=device)
    measure = drawn_checks(
        people,
        pipe,
        checks,
        detector=load_detector(config.detector),
        judge=judge,
        judge_name=judge.name,
        scorers=load_judges(checks.clip, checks.classifier, device=device).wholes,
        previews=out / "previews",
    )
    return lambda trained, images: dict(measure(trained, images))


def _save_base(folder: Path, pipe: Any, denoiser: Any, card: Card) -> Path:
    """Write the base model with another denoiser."""
    before = pipe.unet
    pipe.unet = denoiser
    try:
        return save_base(folder, pipe, card)
    finally:
        pipe.unet = before


def _base_card(config: PersonaliserRun, facts: BaseFacts, how: str) -> Card:
    """Of a base model whose denoiser was trained with the mapper: what is new, and what is said of it before."""
    what = f"the {'cross-attention' if config.recipe.trained == 'attention' else 'denoiser'} trained with {how}"
    new = Card(
        name=f"{config.name}-base",
        kind="base",
        architecture={"pipeline": facts.pipeline},
        data=f"{config.data}; before that, what the base model {facts.path.name} was trained on",
        licence=f"{config.licence}; and that of the base model {facts.path.name}",
        recipe=recipe_text(what, config.recipe),
        input=None,
    )
    if facts.card is None:
        return new
    return replace(
        new,
        architecture=facts.card.architecture,
        data=f"{config.data}; before that: {facts.card.data}",
        licence="; ".join(dict.fromkeys((config.licence, facts.card.licence))),
        recipe=f"{new.recipe}. Before that: {facts.card.recipe}",
    )
