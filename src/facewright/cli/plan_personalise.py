"""What the trainings of personalised pictures cost: of a personaliser, a base model, the classifier of prompts."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facewright.cli.plan_base import BaseShapes, read_shapes
from facewright.cli.plan_named import Known, Named
from facewright.cli.plan_personalise_steps import Answers, BaseRoundTrip, PersonaliserStep
from facewright.cli.train_runs_base import BaseRun, PromptsRun
from facewright.cli.train_runs_personalise import PersonaliserRun
from facewright.encoders.encoder import width_of
from facewright.personalise.base_networks import latent_side, make_autoencoder
from facewright.personalise.mapping import MappingConfig
from facewright.personalise.prompt_classifier import SIZE
from facewright.personalise.subject_folder import SubjectFolder
from facewright.personalise.train_base import TextToImage, make_text_to_image
from facewright.personalise.train_base_text import PromptReader
from facewright.training.cost import Work
from facewright.weights import bundled_cards, read_card


def personaliser(config: PersonaliserRun, known: Known) -> Named:
    """The mapping, the base model that it is trained through, and how often that runs.

    Raises:
        InputError, DataError: as `read_shapes`, and as `SubjectFolder` where the folder is there.
    """
    recipe, shapes = config.recipe, read_shapes(config.base_folder, known)
    width, from_paper = _identity_width(config.encoder, known)
    side = recipe.size or shapes.picture
    people, length = recipe.most_people, int(shapes.texts[0].get("max_position_embeddings", 77))

    def inputs(count: int) -> tuple[Tensor, ...]:
        return (
            torch.zeros(count, 3, side, side),
            torch.zeros(count, dtype=torch.int64),
            torch.zeros(count, length, dtype=torch.int64),
            torch.zeros(count, people, width),
            torch.zeros(count, people, recipe.expression_width),
        )

    work = Work(
        build=lambda: PersonaliserStep(recipe, shapes, identity_width=width),
        inputs=inputs,
        schedule=recipe.schedule,
        images=_photos(config),
    )
    frozen = base_parameters(shapes)
    told = {"mapping": "the mapping", "attention": "mapping and cross-attention", "denoiser": "mapping and denoiser"}
    passes = "twice, with the words and with the noun" if recipe.cgdr else "once"
    notes = [
        f"pictures of {side} px, the denoiser {passes}",
        f"at most {people} people a picture" if people > 1 else "one person a picture",
        *(["memory without the block that is computed again"] if recipe.checkpointing else []),
        *([f"identities of {width:,} numbers as published, {config.encoder} is not there"] if from_paper else []),
        *(["without its identity term"] if recipe.identity else []),
        *(["without the words that it is taught first"] if config.words is not None else []),
    ]
    return Named(
        kind="personaliser",
        name=config.name,
        network="personaliser",
        what=f"{told[recipe.trained]} for {config.base_folder.name}; {', '.join(notes)}",
        work=work,
        frozen=frozen,
        frozen_bytes=frozen * (4 if config.base_precision == "float32" else 2),
    )


def base_model(config: BaseRun, known: Known) -> Named:
    """Text encoder and denoiser, before them the autoencoder, and what teaches the text encoder where it is taught
    first. The words of the manifests' groups, a few rows of the token table, are left out: only the tables say them."""
    del known
    config, _ = config.begun()
    recipe, sizes, picture = config.recipe, config.autoencoder.sizes, config.world.size
    latent = latent_side(picture, sizes, recipe.denoiser)
    tokenizer = config.tokenizer()

    def build() -> TextToImage:
        return make_text_to_image(recipe, tokenizer, channels=sizes.channels, latent=latent)

    with torch.device("meta"):  # shapes alone
        networks: Any = build()
        autoencoder = make_autoencoder(sizes, picture=picture)
    shapes = BaseShapes(networks.denoiser.config, autoencoder.config, (networks.text_encoder.config.to_dict(),))
    first = Named(
        kind="base",
        name=config.name,
        network="base-autoencoder",
        what=f"the autoencoder, {picture} px there and back",
        work=Work(
            build=lambda: BaseRoundTrip(sizes, picture=picture),
            inputs=lambda count: (torch.zeros(count, 3, picture, picture),),
            schedule=config.autoencoder.schedule,
        ),
    )
    before = [first]
    if config.text is not None:
        reading = Work(
            build=lambda: PromptReader(build()),
            inputs=lambda count: (torch.zeros(count, recipe.text.length, dtype=torch.int64),),
            schedule=config.text.schedule,
            images=config.scenes,
        )
        what = "the text encoder, which is taught a generator's contexts; its images are captions"
        before.append(Named("base", config.name, "base-text", what, reading))
    work = Work(
        build=build,
        inputs=lambda count: (
            torch.zeros(count, sizes.channels, latent, latent),
            torch.zeros(count, dtype=torch.int64),
            torch.zeros(count, recipe.text.length, dtype=torch.int64),
        ),
        schedule=recipe.schedule,
        images=config.scenes,
    )
    without = " and without the identity term" if config.recipe.identity_weight else ""
    what = f"text encoder and denoiser on {latent} x {latent} latents, without drawing and encoding the scenes{without}"
    return Named("base", config.name, "base-denoiser", what, work, shapes.record(), before=tuple(before))


def prompts(config: PromptsRun, known: Known) -> Named:
    """The classifier."""
    del known
    work = Work(
        build=lambda: Answers(config.recipe.network),
        inputs=lambda count: (torch.zeros(count, 3, SIZE, SIZE),),
        schedule=config.recipe.schedule,
    )
    what = f"the classifier of prompts, {SIZE} px; every picture is drawn anew, which is not counted"
    return Named("prompts", config.name, "prompts", what, work)


def base_parameters(shapes: BaseShapes) -> int:
    """Of all networks of a base model."""
    with torch.device("meta"):
        networks = [shapes.make_denoiser(), shapes.make_autoencoder(), *shapes.make_text_encoders()]
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def _identity_width(encoder: Path | None, known: Known) -> tuple[int, bool]:
    """The width of an encoder's embeddings, and whether it is the published one because the encoder is not there."""
    if encoder is None:
        return width_of(bundled_cards()["encoder"].architecture["network"]), False
    if encoder in known:
        return width_of(known[encoder]["network"]), False
    if not encoder.is_file():
        return MappingConfig().identity_width, True
    if encoder.suffix != ".safetensors":
        return width_of(encoder.stem), False
    card = read_card(encoder)
    return width_of("msid" if card.kind == "msid" else card.architecture.get("network", "")), False


def _photos(config: PersonaliserRun) -> int | None:
    """Of the people who are trained on, about as many as the shares say; None where the folder is not there yet."""
    if not config.subjects.is_dir():
        return None
    folder = SubjectFolder(config.subjects)
    if folder.held_out_ids is not None:
        return len(folder.ids) - len(folder.held_out_ids)
    return round(len(folder.ids) * (1 - config.recipe.held_out))
