"""From a training config to what `facewright plan` counts: which kind it is, its network and its length."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright import diffusion
from facewright.cli.configs import read_config
from facewright.cli.train_runs import EncoderRun, RecogniserRun
from facewright.cli.train_runs_diffusion import AutoencoderRun, GeneratorRun
from facewright.encoders import SlimFaceNet
from facewright.errors import ConfigError, InputError
from facewright.training.cost import Work

LATENT = 16  # side of the bundled autoencoder's latents


@dataclass(frozen=True)
class Named:
    """What a config trains, in words and as work to count."""

    kind: str
    name: str
    network: str
    what: str
    work: Work


class RoundTrip(nn.Module):
    """An autoencoder as its training runs it."""

    def __init__(self, config: diffusion.AutoencoderConfig) -> None:
        super().__init__()
        self.autoencoder = diffusion.Autoencoder(config)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 128, 128), there and back."""
        return self.autoencoder.decode(self.autoencoder.encode(images).to(images.dtype))


def read_work(path: Path, settings: Sequence[str] = ()) -> Named:
    """Read a config of whichever kind it is.

    Raises:
        InputError: no such file.
        ConfigError: no training has such a config, or a value is wrong.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such config file; see recipes/ and configs/ for examples")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error}); mend that line") from error
    kind = next((kind for kind in KINDS if _fits(kind, values)), None)
    if kind is None:
        raise ConfigError(f"{path}: this is no config of facewright train; see recipes/ and configs/ for examples")
    return KINDS[kind](read_config(kind, path, settings))


def _fits(kind: type, values: dict[str, Any]) -> bool:
    """Whether the file has what this kind of run needs at its top, and nothing that it does not know."""
    known = {field.name for field in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return needed <= values.keys() <= known


def _crops(count: int) -> tuple[Tensor, ...]:
    return (torch.zeros(count, 3, 112, 112),)


def _recogniser(config: RecogniserRun) -> Named:
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
    )


def _encoder(config: EncoderRun) -> Named:
    work = Work(build=SlimFaceNet, inputs=_crops, schedule=config.recipe.schedule)
    return Named("encoder", config.name, "slimfacenet", "slimfacenet, without its teacher", work)


def _autoencoder(config: AutoencoderRun) -> Named:
    network = config.recipe.network
    work = Work(
        build=lambda: RoundTrip(network),
        inputs=lambda count: (torch.zeros(count, 3, 128, 128),),
        schedule=config.recipe.schedule,
    )
    return Named("autoencoder", config.name, "autoencoder", "the autoencoder, 128 px there and back", work)


def _generator(config: GeneratorRun) -> Named:
    network = config.recipe.network

    def inputs(count: int) -> tuple[Tensor, ...]:
        latents, times = torch.zeros(count, network.channels, LATENT, LATENT), torch.zeros(count, dtype=torch.int64)
        if network.context_inputs is None:
            return latents, times
        return latents, times, torch.zeros(count, network.context_inputs)

    work = Work(build=lambda: diffusion.ConditionalUNet(network), inputs=inputs, schedule=config.recipe.schedule)
    return Named("generator", config.name, "unet", f"the denoiser on {LATENT} x {LATENT} latents, encoded before", work)


KINDS: dict[type, Callable[[Any], Named]] = {
    EncoderRun: _encoder,
    AutoencoderRun: _autoencoder,
    GeneratorRun: _generator,
    RecogniserRun: _recogniser,
}
