"""What `facewright train` runs for a small base model of personalised pictures, and for the classifier of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from facewright import diffusion
from facewright.cli.train_run import Run, first_progress, recipe_text, settings_of
from facewright.errors import ConfigError
from facewright.personalise.base_autoencoder import BaseAutoencoderTraining
from facewright.personalise.base_checks import BaseChecks
from facewright.personalise.base_from_generator import sizes_of_generator
from facewright.personalise.base_tokenizer import SPARE_WORDS, make_tokenizer
from facewright.personalise.prompt_classifier import PromptClassifier, load_prompt_classifier, save_prompt_classifier
from facewright.personalise.prompt_classifier_training import PromptTraining, train_prompt_classifier
from facewright.personalise.train_base import TIMESTEPS, BaseTraining
from facewright.personalise.train_base_text import TextTraining
from facewright.personalise.world_captions import vocabulary
from facewright.personalise.world_faces import Manifest, WorldFaces, read_world_faces, with_guesses
from facewright.personalise.world_names import NameConfig, name_words
from facewright.personalise.world_scenes import WorldConfig
from facewright.training.processes import current


@dataclass(frozen=True, kw_only=True)
class WorldRun(Run):
    """A training on the miniature world."""

    pack: Path  # aligned faces
    manifest: tuple[Manifest, ...] = ()  # what is known of the pack's people
    tables: Path = Path()  # the folder that relative paths of the manifests start from
    world: WorldConfig = field(default_factory=WorldConfig)

    def faces(self) -> WorldFaces:
        """The pack with what the manifests say."""
        return read_world_faces(self.pack, [replace(each, file=self.tables / each.file) for each in self.manifest])


@dataclass(frozen=True, kw_only=True)
class GuessedWorldRun(WorldRun):
    """A world whose people a classifier describes where no manifest does."""

    prompts: Path | None = None  # .safetensors of `facewright train prompts`; None: what no manifest says is not known
    sure: float = 0.9  # probability from which it is believed

    def guessed_faces(self, device: str) -> tuple[WorldFaces, PromptClassifier | None]:
        """The faces with the classifier's guesses, and the classifier; None without one."""
        faces = self.faces()
        if self.prompts is None:
            return faces, None
        classifier = load_prompt_classifier(self.prompts, device=device)

        def guess(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            judged = classifier.judge(crops)
            return judged["gender"], judged["age"]

        return with_guesses(faces, guess, sure=self.sure), classifier


@dataclass(frozen=True, kw_only=True)
class BaseRun(GuessedWorldRun):
    """A base model: an autoencoder, then text encoder and denoiser."""

    autoencoder: BaseAutoencoderTraining
    recipe: BaseTraining
    scenes: int = 100_000  # different pictures that text encoder and denoiser are trained on
    held_out: int = 512  # scenes of held-out people whose loss is measured
    checks: BaseChecks | None = None  # pictures made at every save, and judged where `prompts` is given
    names: NameConfig | None = None  # names for people, made of the encoder's embeddings; None: nobody has one
    encoder: Path | None = None  # .safetensors; None: the bundled one
    text: TextTraining | None = None  # given: the denoiser begins as a generator, whose contexts captions first learn
    generator: Path | None = None  # that generator, .safetensors; None: the bundled one
    begin: Path | None = None  # a base model whose weights all networks begin with; text is not taught again
    name: str = "miniature-base"

    def __post_init__(self) -> None:
        if (self.names is None) != (self.world.said.named == 0):
            raise ConfigError("names and world.said.named belong together: give both, or neither")
        if self.scenes < 1 or self.held_out < 0:
            raise ConfigError(f"scenes must be at least 1 and held_out at least 0, got {self.scenes}, {self.held_out}")

    def begun(self) -> tuple["BaseRun", diffusion.Generator | None]:
        """The config with the sizes of the generator's denoiser, and the generator; as it is and None without one.

        Raises:
            ConfigError: the generator is of another kind, size or encoder.
        """
        if self.text is None:
            return self, None
        generator = diffusion.load(self.generator or "bundled")
        channels, side, _ = generator.latent_shape
        sizes = self.autoencoder.sizes
        for what, own, others in (
            ("the target", self.recipe.target, generator.diffusion.target),
            ("the number of times", TIMESTEPS, generator.diffusion.timesteps),
            ("the latents' channels", sizes.channels, channels),
            ("the latents' side", self.world.size // sizes.factor, side),
        ):
            if own != others:
                raise ConfigError(f"{what} must be the generator's: {others}, got {own}; change it or the generator")
        recipe = replace(self.recipe, denoiser=sizes_of_generator(generator.denoiser.config))
        return replace(self, recipe=recipe), generator

    def words(self, groups: Sequence[str] = ()) -> tuple[str, ...]:
        """Those of the captions and of other prompts, without names; `groups` is what the manifests call people."""
        return (*vocabulary(groups), *SPARE_WORDS)

    def tokenizer(self, groups: Sequence[str] = ()) -> Any:
        """Of these words, and of all first and last names where people have them."""
        words = self.words(groups)
        named = () if self.names is None else chain(*name_words(self.names.words, taken=words))
        return make_tokenizer([*words, *named], length=self.recipe.text.length)


@dataclass(frozen=True, kw_only=True)
class PromptsRun(WorldRun):
    """The classifier that says whether a picture shows what its prompt said."""

    recipe: PromptTraining
    name: str = "prompts"


def train_prompts(config: PromptsRun, out: Path, device: str) -> Path:
    """Train, and write the classifier with its card to RUN/prompts.safetensors; the card says its accuracies."""
    faces = config.faces()
    with first_progress("training the prompt classifier") as progress:
        network, measured = train_prompt_classifier(
            faces, config.world, config.recipe, out=out, device=device, progress=progress, settings=settings_of(config)
        )
    path = out / "prompts.safetensors"
    if current().first:
        save_prompt_classifier(
            path,
            network,
            name=config.name,
            data=config.data,
            licence=config.licence,
            recipe=recipe_text("cross-entropy of style, gender and age, on photos and on scenes", config.recipe),
            measured={f"accuracy_{name}_of_held_out_people": value for name, value in measured.items()},
        )
    return path
