"""What `facewright train` runs for autoencoders and generators."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facewright import diffusion, encoders
from facewright.cli.train_latents import encoded_faces, features_of, sample_measure
from facewright.cli.train_run import Run, first_progress, recipe_text, settings_of, write_weights
from facewright.diffusion.generator import architecture, autoencoder_architecture, build_autoencoder
from facewright.errors import ConfigError, DataError
from facewright.training.run_folder import RunFolder
from facewright.weights import Card, InputConvention, load_weights


@dataclass(frozen=True, kw_only=True)
class AutoencoderRun(Run):
    """The autoencoder of a generator."""

    pack: Path  # aligned faces: a pack, or a set in any format
    recipe: diffusion.AutoencoderTraining
    name: str = "autoencoder"


@dataclass(frozen=True, kw_only=True)
class GeneratorRun(Run):
    """A generator, on latents of one autoencoder and embeddings of one encoder."""

    pack: Path  # aligned faces: a pack, or a set in any format
    autoencoder: Path  # .safetensors of `facewright train autoencoder`
    recipe: diffusion.GeneratorTraining
    encoder: Path | None = None  # .safetensors; None: the bundled encoder
    name: str = "generator"


def train_autoencoder(config: AutoencoderRun, out: Path, device: str) -> Path:
    """Train, and write the averaged weights with their card to RUN/autoencoder.safetensors."""
    faces, terms = diffusion.open_faces(config.pack), config.recipe.vq
    how, features = "absolute error of pixels and edges, noise on the latents", None
    if terms is not None:
        how = "absolute error of pixels, codes and latents drawn together, features"
        if terms.feature_weight > 0:
            encoder = encoders.load(device=device)
            features, how = features_of(encoder), f"{how} of encoder {encoder.name} (sha256 {encoder.sha256})"
    with first_progress("training the autoencoder") as progress:
        network = diffusion.train_autoencoder(
            faces,
            config.recipe,
            out=out,
            device=device,
            progress=progress,
            settings=settings_of(config),
            features=features,
        )
    card = Card(
        name=config.name,
        kind="autoencoder",
        architecture=autoencoder_architecture(network.config),
        data=config.data,
        licence=config.licence,
        recipe=recipe_text(how, config.recipe),
        input=InputConvention(height=128, width=128),
    )
    return write_weights(out / "autoencoder.safetensors", network.state_dict(), card)


def train_generator(config: GeneratorRun, out: Path, device: str) -> Path:
    """Encode the faces once, train the denoiser, and write both networks to RUN/generator.safetensors at every save.

    With `recipe.export_all` the last weights and every average that was kept are written in the end too, as
    RUN/generator-last.safetensors and, by the caps of their decays, RUN/generator-0.999.safetensors.
    """
    recipe = config.recipe
    autoencoder, autoencoder_card = load_autoencoder(config.autoencoder)
    conditioned = recipe.network.context_inputs is not None
    encoder = encoders.load(config.encoder or "bundled", device=device) if conditioned else None
    made_with = {"autoencoder": autoencoder_card.sha256}
    if encoder is not None:
        made_with["encoder"] = encoder.requires_grad_(requires_grad=False).sha256
    RunFolder(out).check({"kind": "generator", **settings_of(config)})
    on_device = copy.deepcopy(autoencoder).to(device)
    cache = encoded_faces(config.pack, on_device, encoder, path=out / "latents.npz", made_with=made_with)
    how = f"denoiser trained on latents of {autoencoder_card.name} (sha256 {autoencoder_card.sha256})"
    card = Card(
        name=config.name,
        kind="generator",
        architecture={
            **architecture(autoencoder.config, recipe.network, recipe.diffusion),
            **({"unit_embeddings": True} if conditioned else {}),
        },
        data=config.data,
        licence=config.licence,
        recipe=f"{recipe_text(how, recipe)}. Its autoencoder: {autoencoder_card.recipe}",
        input=None,
        encoder_sha256=None if encoder is None else encoder.sha256,
    )

    def keep(denoiser: diffusion.ConditionalUNet, name: str = "generator") -> None:
        whole = diffusion.Generator(autoencoder, denoiser, recipe.diffusion, card)
        write_weights(out / f"{name}.safetensors", whole.state_dict(), card)

    measure = sample_measure(
        recipe.checks,
        config.pack,
        cache,
        lambda denoiser: diffusion.Generator(on_device, denoiser, recipe.diffusion, card).eval(),
        encoder,
        out=out,
        device=device,
    )
    with first_progress("training the generator") as progress:
        denoiser = diffusion.train_generator(
            cache,
            recipe,
            out=out,
            device=device,
            progress=progress,
            settings={**settings_of(config), "made_with": made_with},
            on_save=keep,
            identify=None if encoder is None else diffusion.decode_and_embed(on_device, encoder),
            measure=measure,
        )
    keep(denoiser)
    keep_others(recipe, out, keep)
    return out / "generator.safetensors"


def keep_others(
    recipe: diffusion.GeneratorTraining, out: Path, keep: Callable[[diffusion.ConditionalUNet, str], None]
) -> None:
    """Give `keep` the last weights and every average but the exported one, with names, where the recipe says so."""
    if recipe.export_all:
        exported = recipe.schedule.ema_maximum if recipe.exported is None else recipe.exported
        for name, other in diffusion.kept_averages(out, recipe).items():
            if exported is None or name != f"{exported:g}":
                keep(other, f"generator-{name}")


def load_autoencoder(path: Path) -> tuple[diffusion.Autoencoder | diffusion.VQAutoencoder, Card]:
    """The autoencoder of a file, in eval mode, and its card."""
    state, card = load_weights(path, kind="autoencoder")
    try:
        network = build_autoencoder(card.architecture)
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError, ConfigError) as error:
        raise DataError(f"{path}: its card and its tensors do not fit each other ({error})") from error
    return network.eval(), card
