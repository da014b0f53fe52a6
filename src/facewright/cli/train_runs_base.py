"""What `facewright train` runs for a small base model of personalised pictures, and for the classifier of prompts."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from facewright import diffusion, encoders
from facewright.cli.train_run import Run, first_progress, recipe_text, settings_of
from facewright.errors import ConfigError
from facewright.personalise.base_autoencoder import BaseAutoencoderTraining, train_base_autoencoder
from facewright.personalise.base_checks import BaseChecks, draw_checks
from facewright.personalise.base_folder import make_pipeline, save_base
from facewright.personalise.base_from_generator import begin_as_generator, sizes_of_generator
from facewright.personalise.base_identity import FaceTerm
from facewright.personalise.base_latents import SceneLatents, scene_latents, token_ids, world_fingerprint
from facewright.personalise.base_networks import check_size, latent_side, make_autoencoder, make_scheduler
from facewright.personalise.base_tokenizer import SPARE_WORDS, make_tokenizer
from facewright.personalise.prompt_classifier import PromptClassifier, load_prompt_classifier, save_prompt_classifier
from facewright.personalise.prompt_classifier_training import PromptTraining, train_prompt_classifier
from facewright.personalise.train_base import TIMESTEPS, BaseTraining, TextToImage, make_text_to_image, train_base
from facewright.personalise.train_base_text import TextTraining, scene_contexts, train_base_text
from facewright.personalise.world_captions import vocabulary
from facewright.personalise.world_faces import Manifest, WorldFaces, read_world_faces, with_guesses
from facewright.personalise.world_names import NameConfig, Names, name_words, people_names
from facewright.personalise.world_scenes import World, WorldConfig
from facewright.training.atomic import atomic_path
from facewright.training.processes import current
from facewright.weights import Card, read_card
from facewright.weights.store import tensors_sha256


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


def train_base_model(config: BaseRun, out: Path, device: str) -> Path:
    """Train the autoencoder in RUN/autoencoder, encode the scenes, train the rest; write RUN/base at every save."""
    config, generator = config.begun()
    faces, classifier = config.guessed_faces(device)
    made_with = {} if config.prompts is None else {"prompts": read_card(config.prompts).sha256}
    tokenizer = config.tokenizer(faces.groups)
    _check_networks(config, tokenizer)
    embeddings = None if config.names is None and generator is None else _people(faces, config, out, device)
    if generator is not None:
        made_with |= {"generator": generator.sha256}
        _check_encoder(config, generator)
        generator = generator.requires_grad_(requires_grad=False)
    names = None
    if config.names is not None and embeddings is not None:
        names = _names(faces, config, embeddings, out)
        faces = replace(faces, names=names.names)
    trained = World(faces, faces.rows(held_out=False), config.world, seed=config.recipe.schedule.seed)
    unseen = World(faces, faces.rows(held_out=True), config.world, seed=config.recipe.schedule.seed)
    begun = None
    if generator is not None and embeddings is not None:
        begun = _begun(config, generator, trained, embeddings, tokenizer, names, made_with, out, device)
        generator = generator.to(device)
    with first_progress("training the autoencoder") as progress:
        autoencoder = train_base_autoencoder(
            trained,
            config.autoencoder,
            out=out / "autoencoder",
            device=device,
            progress=progress,
            settings=_autoencoder_settings(config, generator),
            given=None if generator is None else generator.autoencoder.encode,
        )
    made_with |= {"autoencoder": tensors_sha256(autoencoder.state_dict()), "world": world_fingerprint(trained)}
    on_device = copy.deepcopy(autoencoder).to(device)
    with first_progress("encoding the scenes") as progress:
        scenes = scene_latents(
            trained, on_device, tokenizer, count=config.scenes, cache=out / "latents", progress=progress
        )
    held_out = _held_out(unseen, on_device, tokenizer, scenes, count=config.held_out)

    def pipeline(networks: TextToImage) -> Any:
        return make_pipeline(
            autoencoder=autoencoder,
            text_encoder=networks.text_encoder,
            tokenizer=tokenizer,
            denoiser=networks.denoiser,
            scheduler=make_scheduler(config.recipe.target),
        )

    card = _base_card(config)

    def keep(networks: TextToImage) -> None:
        save_base(out / "base", pipeline(networks), card)

    with first_progress("training text encoder and denoiser") as progress:
        networks = train_base(
            scenes,
            held_out,
            tokenizer,
            config.recipe,
            out=out,
            device=device,
            progress=progress,
            settings={**settings_of(config), "made_with": made_with},
            names=names,
            begun=begun,
            faces=_face_term(config, on_device, device),
            on_save=keep,
            measure=_measure(config.checks, pipeline, classifier, out),
        )
    if current().first:
        keep(networks)
    return out / "base"


def _people(faces: WorldFaces, config: BaseRun, out: Path, device: str) -> np.ndarray:
    """Embeddings float32 (N, D) of the pack's faces who are trained on, 0 for the others; kept in RUN/people.npz."""
    encoder = encoders.load(config.encoder or "bundled", device=device)
    rows = faces.rows(held_out=False)
    made_with = json.dumps([encoder.sha256, str(config.pack), len(rows)])
    kept = out / "people.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            if str(archive["made_with"]) == made_with:
                return np.asarray(archive["embeddings"])
    embeddings = np.zeros((len(faces.files), encoder.width), np.float32)
    with first_progress("embedding everybody") as progress:
        embeddings[rows] = encoder.embed(faces.pack.images[rows][:, 8:120, 8:120], progress=progress)
    if current().first:
        with atomic_path(kept) as temporary, temporary.open("wb") as stream:
            np.savez(stream, embeddings=embeddings, made_with=np.array(made_with))
    return embeddings


def _names(faces: WorldFaces, config: BaseRun, embeddings: np.ndarray, out: Path) -> Names:
    """Names of the people who are trained on, kept in RUN/names.npz."""
    assert config.names is not None
    words, rows = config.words(faces.groups), faces.rows(held_out=False)
    made_with = json.dumps([tensors_sha256({"people": torch.from_numpy(embeddings)}), asdict(config.names), words])
    kept = out / "names.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            if str(archive["made_with"]) == made_with:
                return Names(archive["names"], tuple(archive["words"].tolist()), archive["meanings"])
    names = people_names(faces, rows, embeddings[rows], config.names, taken=words, seed=config.recipe.schedule.seed)
    if current().first:
        with atomic_path(kept) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{**vars(names), "words": np.array(names.words)}, made_with=np.array(made_with))
    return names


def _check_encoder(config: BaseRun, generator: diffusion.Generator) -> None:
    encoder = encoders.load(config.encoder or "bundled")
    if generator.encoder_sha256 not in (None, encoder.sha256):
        raise ConfigError(
            f"generator {generator.name} was trained with another encoder than {encoder.name}; name its own in encoder"
        )


def _begun(
    config: BaseRun,
    generator: diffusion.Generator,
    world: World,
    embeddings: np.ndarray,
    tokenizer: Any,
    names: Names | None,
    made_with: Mapping[str, str],
    out: Path,
    device: str,
) -> dict[str, torch.Tensor]:
    """Weights of networks that begin as a generator, with a text encoder that was taught in RUN/text."""
    assert config.text is not None

    def project(identities: torch.Tensor) -> torch.Tensor:
        found = generator.denoiser.project(identities, count=len(identities))
        assert found is not None
        return found

    channels, side, _ = generator.latent_shape
    networks = make_text_to_image(config.recipe, tokenizer, channels=channels, latent=side, names=names)
    captions = [world.scene(number).caption for number in range(config.scenes)]
    contexts = scene_contexts(world, embeddings, project, count=config.scenes)
    longest = float(np.linalg.norm(contexts, axis=1).max())
    begin_as_generator(networks.denoiser, generator.denoiser.eval(), longest=longest)
    with first_progress("teaching the text encoder") as progress:
        train_base_text(
            networks,
            token_ids(captions, tokenizer),
            contexts,
            tokenizer,
            config.text,
            out=out / "text",
            device=device,
            progress=progress,
            settings={
                "made_with": {**made_with, "world": world_fingerprint(world)},
                "text": asdict(config.recipe.text),
            },
        )
    return networks.state_dict()


def _face_term(config: BaseRun, autoencoder: Any, device: str) -> FaceTerm | None:
    """The judge of the identity term; None where there is none."""
    if config.recipe.identity_weight == 0:
        return None
    encoder = encoders.load(config.encoder or "bundled", device=device)
    return FaceTerm(autoencoder.requires_grad_(requires_grad=False), encoder.requires_grad_(requires_grad=False))


def _check_networks(config: BaseRun, tokenizer: Any) -> None:
    """Refuse networks that are too large or do not fit the pictures, before anything is trained."""
    sizes = config.autoencoder.sizes
    latent = latent_side(config.world.size, sizes, config.recipe.denoiser)
    with torch.device("meta"):  # counted without memory
        networks = make_text_to_image(config.recipe, tokenizer, channels=sizes.channels, latent=latent)
        check_size(networks, make_autoencoder(sizes, picture=config.world.size))


def _autoencoder_settings(config: BaseRun, generator: diffusion.Generator | None) -> dict[str, Any]:
    """Of the config what the autoencoder depends on; its schedule is the trainer's."""
    settings = settings_of(config)
    own = {key: value for key, value in settings["autoencoder"].items() if key != "schedule"}
    given = {} if generator is None else {"given": tensors_sha256(generator.autoencoder.state_dict())}
    return {"pack": settings["pack"], "world": settings["world"], "autoencoder": own, **given}


def _held_out(world: World, autoencoder: Any, tokenizer: Any, like: SceneLatents, *, count: int) -> SceneLatents:
    if not count:
        return like.first(0)
    return scene_latents(world, autoencoder, tokenizer, count=count, cache=None)


def _measure(
    checks: BaseChecks | None, pipeline: Callable[[TextToImage], Any], classifier: PromptClassifier | None, out: Path
) -> Callable[[TextToImage, int], Mapping[str, float]] | None:
    """What the training measures of its pictures, and shows in RUN/previews; None without checks."""
    if checks is None:
        return None

    def measure(networks: TextToImage, images: int) -> Mapping[str, float]:
        answers = None if classifier is None else classifier.answers
        pictures, figures = draw_checks(pipeline(networks), checks, answers=answers)
        if current().first:
            with atomic_path(out / "previews" / f"{images:09d}.png") as temporary:
                Image.fromarray(diffusion.picture_grid(pictures)).save(temporary, format="PNG")
        return figures

    return measure


def _base_card(config: BaseRun) -> Card:
    recipe = config.recipe
    how = "text encoder and denoiser trained together on captioned scenes of the miniature world"
    return Card(
        name=config.name,
        kind="base",
        architecture={
            "pipeline": "StableDiffusionPipeline",
            "text": asdict(recipe.text),
            "denoiser": asdict(recipe.denoiser),
            "autoencoder": asdict(config.autoencoder.sizes),
            "target": recipe.target,
        },
        data=config.data,
        licence=config.licence,
        recipe=f"{recipe_text(how, recipe)}. Its autoencoder: {recipe_text('absolute errors', config.autoencoder)}",
        input=None,
    )
