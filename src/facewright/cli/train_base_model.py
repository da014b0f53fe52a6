"""What `facewright train base` does: names, text encoder, autoencoder, scenes, then text encoder and denoiser."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from facewright import diffusion, encoders
from facewright.cli.train_run import first_progress, recipe_text, settings_of
from facewright.cli.train_runs_base import BaseRun
from facewright.errors import ConfigError
from facewright.personalise.base import load_base, read_base
from facewright.personalise.base_autoencoder import means_of, train_base_autoencoder
from facewright.personalise.base_checks import BaseChecks, draw_checks
from facewright.personalise.base_folder import make_pipeline, save_base
from facewright.personalise.base_from_generator import begin_as_generator
from facewright.personalise.base_identity import FaceTerm
from facewright.personalise.base_latents import scene_latents, token_ids, world_fingerprint
from facewright.personalise.base_networks import check_size, latent_side, make_autoencoder, make_scheduler
from facewright.personalise.base_own_words import SaidByName, said_by_name
from facewright.personalise.prompt_classifier import PromptClassifier
from facewright.personalise.train_base import TextToImage, make_text_to_image, train_base
from facewright.personalise.train_base_text import scene_contexts, scene_rest, train_base_text
from facewright.personalise.world_faces import WorldFaces
from facewright.personalise.world_names import Names, own_words, people_names
from facewright.personalise.world_scenes import World
from facewright.training.atomic import atomic_path
from facewright.training.processes import current
from facewright.weights import Card, read_card
from facewright.weights.store import tensors_sha256


@dataclass(frozen=True)
class _Prepared:
    """What a base model is made of, before its autoencoder and denoiser are trained."""

    config: BaseRun  # with the sizes of the generator's denoiser, where it begins as one
    generator: diffusion.Generator | None
    classifier: PromptClassifier | None
    tokenizer: Any
    names: Names | None
    trained: World
    unseen: World
    made_with: dict[str, str]
    begun: Mapping[str, torch.Tensor] | None = None  # weights that text encoder and denoiser begin with
    people: SaidByName | None = None  # of the captions, where the text encoder was taught words of their own
    coder: Mapping[str, torch.Tensor] | None = None  # weights that the autoencoder begins with


def prepared(config: BaseRun, out: Path, device: str) -> _Prepared:
    """Name the people and, where the model begins as a generator, teach the text encoder in RUN/text."""
    config, generator = config.begun()
    faces, classifier = config.guessed_faces(device)
    made_with = {} if config.prompts is None else {"prompts": read_card(config.prompts).sha256}
    tokenizer = config.tokenizer(faces.groups)
    _check_networks(config, tokenizer)
    if generator is not None:
        _check_encoder(config, generator)
        generator.requires_grad_(requires_grad=False)
        made_with["generator"] = generator.sha256
    embeddings = None if config.names is None and generator is None else _people(faces, config, out, device)
    names = None
    if config.names is not None and embeddings is not None:
        names = _names(faces, config, embeddings, out)
        faces = replace(faces, names=names.names)
    trained = World(faces, faces.rows(held_out=False), config.world, seed=config.recipe.schedule.seed)
    unseen = World(faces, faces.rows(held_out=True), config.world, seed=config.recipe.schedule.seed)
    made_with["world"] = world_fingerprint(trained)
    given = _Prepared(config, generator, classifier, tokenizer, names, trained, unseen, made_with)
    if config.begin is not None:
        given.made_with["begin"] = str(read_base(config.begin).sha256)
        coder, begun = _weights_of(config.begin, config, tokenizer)
        given = replace(given, coder=coder, begun=begun)
    if generator is None or embeddings is None:
        return given
    begun, people = _begun(given, generator, embeddings, out, device)
    return replace(given, begun=begun, people=people)


def train_base_model(config: BaseRun, out: Path, device: str) -> Path:
    """Train the autoencoder in RUN/autoencoder, encode the scenes, train the rest; write RUN/base at every save.

    A model that begins as a generator has the latents of the generator's autoencoder, which its own one learns.
    """
    given = prepared(config, out, device)
    config, generator = given.config, given.generator
    if generator is not None:
        generator.to(device)
    with first_progress("training the autoencoder") as progress:
        autoencoder = train_base_autoencoder(
            given.trained,
            config.autoencoder,
            out=out / "autoencoder",
            device=device,
            progress=progress,
            settings=_autoencoder_settings(config, generator),
            given=None if generator is None else generator.autoencoder.encode,
            faces=FaceTerm(_judge(config, device)) if config.autoencoder.identity_weight > 0 else None,
            begun=given.coder,
        )

    def pipeline(networks: TextToImage) -> Any:
        return make_pipeline(
            autoencoder=autoencoder,
            text_encoder=networks.text_encoder,
            tokenizer=given.tokenizer,
            denoiser=networks.denoiser,
            scheduler=make_scheduler(config.recipe.target),
        )

    card = _base_card(config, generator)

    def keep(networks: TextToImage) -> None:
        save_base(out / "base", pipeline(networks), card)

    measure = _measure(config.checks, pipeline, given.classifier, out)
    networks = train_networks(given, autoencoder, out, device, on_save=keep, measure=measure)
    if current().first:
        keep(networks)
    return out / "base"


def train_networks(
    given: _Prepared,
    autoencoder: Any,
    out: Path,
    device: str,
    *,
    on_save: Callable[[TextToImage], None] | None,
    measure: Callable[[TextToImage, int], Mapping[str, float]] | None,
) -> TextToImage:
    """Encode the scenes and train text encoder and denoiser on them, with the generator's autoencoder if there is one.

    Args:
        given: as of `prepared`.
        autoencoder: the base model's own, which a model that begins as a generator does not need for this.
        out: run folder.
        device: such as "cpu" or "cuda".
        on_save, measure: as of `train_base`.
    """
    config, coder = given.config, None if given.generator is None else given.generator.autoencoder.to(device)
    if coder is None:
        own = copy.deepcopy(autoencoder).to(device).requires_grad_(requires_grad=False)
        made_by, encode = tensors_sha256(autoencoder.state_dict()), means_of(own)
    else:
        made_by, encode = tensors_sha256(coder.state_dict()), coder.encode
    count, tokenizer = config.scenes, given.tokenizer
    with first_progress("encoding the scenes") as progress:
        scenes = scene_latents(
            given.trained,
            encode,
            tokenizer,
            made_by=made_by,
            count=count,
            cache=out / "latents",
            device=device,
            progress=progress,
        )
    held_out = scenes.first(0)
    if config.held_out:
        held_out = scene_latents(
            given.unseen, encode, tokenizer, made_by=made_by, count=config.held_out, cache=None, device=device
        )
    faces = None
    if config.recipe.identity_weight > 0:
        encoder = _judge(config, device)
        faces = FaceTerm(encoder, (lambda latents: own.decode(latents).sample) if coder is None else coder.decode)
    with first_progress("training text encoder and denoiser") as progress:
        return train_base(
            scenes,
            held_out,
            tokenizer,
            config.recipe,
            out=out,
            device=device,
            progress=progress,
            settings={**settings_of(config), "made_with": {**given.made_with, "autoencoder": made_by}},
            names=given.names,
            people=given.people,
            begun=given.begun,
            faces=faces,
            on_save=on_save,
            measure=measure,
        )


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


def _judge(config: BaseRun, device: str) -> encoders.Encoder:
    """The encoder of identity terms, which is not trained."""
    return encoders.load(config.encoder or "bundled", device=device).requires_grad_(requires_grad=False)


def _weights_of(base: Path, config: BaseRun, tokenizer: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The autoencoder of a base model, and its text encoder and denoiser as of `TextToImage`; ConfigError if unfit."""
    pipe = load_base(base)
    if pipe.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(f"{base} reads other words than captions and names here; begin with one of the same words")
    coder, networks = pipe.vae.state_dict(), TextToImage(pipe.text_encoder, pipe.unet).state_dict()
    with torch.device("meta"):
        sizes = config.autoencoder.sizes
        latent = latent_side(config.world.size, sizes, config.recipe.denoiser)
        wanted = (
            make_autoencoder(sizes, picture=config.world.size),
            make_text_to_image(config.recipe, tokenizer, channels=sizes.channels, latent=latent),
        )
    for what, own, network in zip(("autoencoder", "text encoder or denoiser"), (coder, networks), wanted, strict=True):
        if {key: own[key].shape for key in own} != {key: value.shape for key, value in network.state_dict().items()}:
            raise ConfigError(f"the {what} of {base} has other sizes than the config says; give the same")
    return coder, networks


def _check_encoder(config: BaseRun, generator: diffusion.Generator) -> None:
    encoder = encoders.load(config.encoder or "bundled")
    if generator.encoder_sha256 not in (None, encoder.sha256):
        raise ConfigError(
            f"generator {generator.name} was trained with another encoder than {encoder.name}; name its own in encoder"
        )


def _begun(
    given: _Prepared, generator: diffusion.Generator, embeddings: np.ndarray, out: Path, device: str
) -> tuple[dict[str, torch.Tensor], SaidByName | None]:
    """Weights of networks that begin as a generator, with a text encoder taught in RUN/text; who has own words.

    Networks that begin as a base model are those of `given`.
    """
    config, world, tokenizer = given.config, given.trained, given.tokenizer
    assert config.text is not None

    def project(identities: torch.Tensor) -> torch.Tensor:
        found = generator.denoiser.project(identities, count=len(identities))
        assert found is not None
        return found

    channels, side, _ = generator.latent_shape
    networks = make_text_to_image(config.recipe, tokenizer, channels=channels, latent=side, names=given.names)
    ids = token_ids([world.scene(number).caption for number in range(config.scenes)], tokenizer)
    people = None
    if given.names is not None:
        encoder: Any = networks.text_encoder
        words = own_words(given.names, embeddings, encoder.get_input_embeddings().weight)
        people = said_by_name(world, ids, words, tokenizer)
    if given.begun is not None:
        return dict(given.begun), people
    contexts = scene_contexts(world, embeddings, project, count=config.scenes)
    longest = float(np.linalg.norm(contexts, axis=1).max())
    begin_as_generator(networks.denoiser, generator.denoiser.eval(), longest=longest)
    with first_progress("teaching the text encoder") as progress:
        train_base_text(
            networks,
            ids,
            contexts,
            scene_rest(world, count=config.scenes),
            people,
            tokenizer,
            config.text,
            out=out / "text",
            device=device,
            progress=progress,
            settings={"made_with": given.made_with, "text": asdict(config.recipe.text), "own": config.text.own},
        )
    return networks.state_dict(), people


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
    begun = {} if config.begin is None else {"begin": read_base(config.begin).sha256}
    return {"pack": settings["pack"], "world": settings["world"], "autoencoder": own, **given, **begun}


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


def _base_card(config: BaseRun, generator: diffusion.Generator | None) -> Card:
    recipe = config.recipe
    trained = "the denoiser trained" if recipe.frozen_text else "text encoder and denoiser trained together"
    how, before = f"{trained} on captioned scenes of the miniature world", ""
    if config.begin is not None:
        begun = read_base(config.begin)
        how += f"; all networks begin as those of a base model (sha256 {begun.sha256})"
        before = "" if begun.card is None else f". Before that: {begun.card.recipe}"
    elif generator is not None:
        how += (
            f"; the denoiser begins as {generator.name} (sha256 {generator.sha256}) and has its latents, the text "
            f"encoder first learned its contexts ({recipe_text('by regression', config.text)})"
        )
    coder = recipe_text("absolute errors", config.autoencoder)
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
        recipe=f"{recipe_text(how, recipe)}. Its autoencoder: {coder}{before}",
        input=None,
    )
