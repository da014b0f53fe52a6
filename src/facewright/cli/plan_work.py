"""From a training config to what `facewright plan` counts: which kind it is, its network and its length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from facewright import diffusion
from facewright.cli.configs import read_config
from facewright.cli.plan_named import Architecture, Known, Named
from facewright.cli.plan_personalise import base_model, personaliser, prompts
from facewright.cli.plan_steps import CodedRoundTrip, ControlStep, DecoderStep, FewStepStep, RoundTrip
from facewright.cli.run_recipe import read_toml
from facewright.cli.train_runs import RUNS, EncoderRun, RecogniserRun
from facewright.cli.train_runs_base import BaseRun, PromptsRun
from facewright.cli.train_runs_derived import ControlRun, DecoderRun, FewStepRun, FinetuneRun
from facewright.cli.train_runs_diffusion import AutoencoderRun, GeneratorRun
from facewright.cli.train_runs_personalise import PersonaliserRun
from facewright.diffusion.controlnet import HINT_FACTOR
from facewright.diffusion.generator import IMAGE_SIZE, autoencoder_architecture, build_autoencoder
from facewright.encoders import SlimFaceNet
from facewright.errors import ConfigError, InputError
from facewright.training.cost import Work
from facewright.weights import bundled_cards, read_card


def read_work(path: Path, settings: Sequence[str] = (), *, kind: str | None = None) -> Named:
    """Read a config of whichever kind it is, or of the kind of `facewright train` that is named.

    Raises:
        InputError: no such file, or a generator or a base model that the training starts from is not there.
        ConfigError: no training has such a config, or a value is wrong.
    """
    values = read_toml(path)
    if kind is not None:
        if kind not in RUNS:
            raise ConfigError(f"facewright train knows no {kind!r}; it trains {', '.join(RUNS)}")
        return work_of(read_config(RUNS[kind][0], path, settings))
    shapes = [shape for shape, _ in RUNS.values() if _misfits(shape, values, deep=False) == 0]
    if not shapes:
        raise ConfigError(f"{path}: this is no config of facewright train; see recipes/ and configs/ for examples")
    shape = min(shapes, key=lambda shape: _misfits(shape, values))  # the first of those that fit best
    return work_of(read_config(shape, path, settings))


def work_of(config: Any, known: Known | None = None) -> Named:
    """What a training config costs to carry out; `before` is what it trains before that.

    Args:
        config: of one of `facewright train`'s kinds.
        known: what the cards of files that are not written yet will say.

    Raises:
        InputError: a generator or a base model that the training starts from is not there.
    """
    return KINDS[type(config)](config, known or {})


def _misfits(shape: type, values: Mapping[str, Any], *, deep: bool = True) -> int:
    """How many keys of a table this dataclass lacks or does not know, those of tables in it included."""
    known = {f.name for f in fields(shape)}
    needed = {f.name for f in fields(shape) if f.default is MISSING and f.default_factory is MISSING}
    count = len(needed - values.keys()) + len(values.keys() - known)
    if not deep:
        return count
    hints = get_type_hints(shape)
    for key in known & values.keys():
        below = [kind for kind in (hints[key], *get_args(hints[key])) if isinstance(kind, type) and is_dataclass(kind)]
        if below and isinstance(values[key], Mapping):
            count += _misfits(below[0], values[key])
    return count


def _crops(count: int) -> tuple[Tensor, ...]:
    return (torch.zeros(count, 3, 112, 112),)


def _recogniser(config: RecogniserRun, known: Known) -> Named:
    del known
    recipe, head = config.recipe, config.recipe.head
    people = (
        "without its table, whose size the data says: recipe.people=NUMBER counts it"
        if recipe.people is None
        else f"over {recipe.people:,} people"
    )
    return Named(
        kind="recogniser",
        name=config.name,
        network=recipe.network,
        what=f"{recipe.network} with {head.name} {people}",
        work=Work(
            build=recipe.make_network,
            inputs=_crops,
            schedule=recipe.schedule if recipe.faces is None else recipe.schedule.for_samples(recipe.faces),
            images=recipe.faces,
            classes=recipe.people or 0,
            sample_rate=head.sample_rate,
            sharded=head.sharded,
        ),
        made={"network": recipe.network},
    )


def _encoder(config: EncoderRun, known: Known) -> Named:
    del known
    work = Work(build=SlimFaceNet, inputs=_crops, schedule=config.recipe.schedule)
    what = "slimfacenet, without its teacher"
    return Named("encoder", config.name, "slimfacenet", what, work, {"network": "slimfacenet"})


def _autoencoder(config: AutoencoderRun, known: Known) -> Named:
    del known
    terms = config.recipe.vq
    network = config.recipe.network if terms is None else terms.network
    what = "the autoencoder, 128 px there and back"
    if terms is not None:
        extras = [word for word, used in (("critic", terms.critic), ("feature maps", terms.feature_weight)) if used]
        without = f", without its {' and '.join(extras)}" if extras else ""
        what = f"the VQ-f{2 ** (len(terms.network.multipliers) - 1)} autoencoder, 128 px there and back{without}"

    def build() -> nn.Module:
        return CodedRoundTrip(network) if isinstance(network, diffusion.VQConfig) else RoundTrip(network)

    work = Work(
        build=build,
        inputs=lambda count: (torch.zeros(count, 3, IMAGE_SIZE, IMAGE_SIZE),),
        schedule=config.recipe.schedule,
    )
    return Named("autoencoder", config.name, "autoencoder", what, work, autoencoder_architecture(network))


def _generator(config: GeneratorRun, known: Known) -> Named:
    network, recipe = config.recipe.network, config.recipe
    made = {
        "autoencoder": _autoencoder_of(config, known),
        "denoiser": asdict(network),
        "diffusion": asdict(recipe.diffusion),
    }
    return _denoiser("generator", config.name, network, side_of(made), recipe, made)


def _finetune(config: FinetuneRun, known: Known) -> Named:
    made = architecture_of(config.generator, known)
    return _denoiser("finetune", config.name, unet_of(made), side_of(made), config.recipe, made)


def _denoiser(
    kind: str,
    name: str,
    network: diffusion.UNetConfig,
    side: int,
    recipe: diffusion.DenoiserTraining,
    made: Architecture,
) -> Named:
    work = Work(
        build=lambda: diffusion.ConditionalUNet(network),
        inputs=lambda count: noisy(network, side, count),
        schedule=recipe.schedule,
    )
    without = ", without its identity term" if recipe.identity_weight else ""
    return Named(kind, name, "unet", f"the denoiser on {side} x {side} latents, encoded before{without}", work, made)


def _autoencoder_of(config: GeneratorRun, known: Known) -> Architecture:
    """What a generator is trained on; where its file is not there yet, the usual autoencoder of so many channels."""
    if config.autoencoder in known:
        return known[config.autoencoder]
    if config.autoencoder.is_file():
        return read_card(config.autoencoder).architecture
    channels, vq = config.recipe.network.channels, diffusion.VQConfig()
    small = diffusion.AutoencoderConfig(channels=channels)
    return autoencoder_architecture(vq if channels == vq.channels else small)


def architecture_of(generator: Path | None, known: Known) -> Architecture:
    """What the card of a generator says; None is the bundled one.

    Raises:
        InputError: its file is not there.
    """
    if generator is None:
        return bundled_cards()["generator"].architecture
    if generator in known:
        return known[generator]
    if not generator.is_file():
        raise InputError(
            f"{generator}: the generator that this training starts from is not there, and it alone says what is to be"
            " counted; give another by generator=FILE"
        )
    return read_card(generator).architecture


def unet_of(made: Architecture) -> diffusion.UNetConfig:
    """The denoiser of a generator's card."""
    values: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in made["denoiser"].items()}
    return diffusion.UNetConfig(**values)


def side_of(made: Architecture) -> int:
    """The side of a generator's latents."""
    values = made["autoencoder"]
    vq = values.get("kind") == "vq"
    return IMAGE_SIZE // (2 ** (len(values["multipliers"]) - 1) if vq else diffusion.Autoencoder.factor)


def noisy(network: diffusion.UNetConfig, side: int, count: int) -> tuple[Tensor, ...]:
    """What a denoiser is given: latents, times and, if it knows any, contexts."""
    latents, times = torch.zeros(count, network.channels, side, side), torch.zeros(count, dtype=torch.int64)
    if network.context_inputs is None:
        return latents, times
    return latents, times, torch.zeros(count, network.context_inputs)


def _decoder(config: DecoderRun, known: Known) -> Named:
    made, recipe = architecture_of(config.generator, known), config.recipe
    side = side_of(made)
    work = Work(
        build=lambda: DecoderStep(recipe.network, build_autoencoder(made["autoencoder"])),
        inputs=lambda count: (torch.zeros(count, recipe.network.channels, side, side),),
        schedule=recipe.schedule,
    )
    extras = [word for word, used in (("critic", recipe.critic), ("feature maps", recipe.feature_weight)) if used]
    without = f", without its {' and '.join(extras)}" if extras else ""
    what = f"the small decoder of {side} x {side} latents, beside the one it learns from{without}"
    changed = {**made, "decoder": asdict(recipe.network)}
    return Named("decoder", config.name, "decoder", what, work, changed)


def _control(config: ControlRun, known: Known) -> Named:
    made = architecture_of(config.generator, known)
    network, side = unet_of(made), side_of(made)

    def inputs(count: int) -> tuple[Tensor, ...]:
        return *noisy(network, side, count), torch.zeros(count, 3, HINT_FACTOR * side, HINT_FACTOR * side)

    work = Work(build=lambda: ControlStep(network), inputs=inputs, schedule=config.recipe.schedule)
    what = f"the control branch of a denoiser on {side} x {side} latents, with the denoiser"
    return Named("control", config.name, "control", what, work, {**made, "control": True})


def _fewstep(config: FewStepRun, known: Known) -> Named:
    made, recipe = architecture_of(config.generator, known), config.recipe
    network, side = unet_of(made), side_of(made)
    work = Work(
        build=lambda: FewStepStep(network, guided=recipe.guidance != 1),
        inputs=lambda count: noisy(network, side, count),
        schedule=recipe.schedule,
    )
    without = ", without its identity term" if recipe.identity_weight else ""
    what = f"the denoiser for {recipe.steps} steps on {side} x {side} latents, with teacher and average{without}"
    changed = {**made, "sampling": recipe.sampling().record()}
    return Named("fewstep", config.name, "unet", what, work, changed)


KINDS: dict[type, Callable[[Any, Known], Named]] = {
    EncoderRun: _encoder,
    AutoencoderRun: _autoencoder,
    GeneratorRun: _generator,
    RecogniserRun: _recogniser,
    DecoderRun: _decoder,
    ControlRun: _control,
    FewStepRun: _fewstep,
    FinetuneRun: _finetune,
    PersonaliserRun: personaliser,
    BaseRun: base_model,
    PromptsRun: prompts,
}
"""What is counted; a config that says too little to tell its kind is taken for the first of RUNS that fits."""
