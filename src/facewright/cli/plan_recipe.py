"""What the stages of a recipe cost: those that train, and those that sample."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright import diffusion
from facewright.cli.plan_named import Architecture, Named
from facewright.cli.plan_steps import decoded
from facewright.cli.plan_work import KINDS, architecture_of, noisy, side_of, unet_of, work_of
from facewright.cli.run_recipe import read_recipe
from facewright.cli.run_stages import Call, calls_of
from facewright.cli.sample import sampler_of, strength_of
from facewright.diffusion.generator import build_autoencoder
from facewright.encoders.encoder import NETWORKS
from facewright.training.cost import network_cost
from facewright.weights import read_card, weights_path


@dataclass(frozen=True)
class Sampling:
    """Pictures to make."""

    what: str
    images: int
    image_flops: float  # operations of a picture: the denoiser's calls and the decoder
    batch: int


@dataclass(frozen=True)
class PlannedStage:
    """A stage and its cost; None where it is not counted."""

    name: str
    command: str
    cost: Named | Sampling | None


def read_stages(path: Path, settings: Sequence[str] = ()) -> tuple[PlannedStage, ...]:
    """Every stage of a recipe, one that trains twice as two. Nothing is read but the recipe, its configs and cards that
    the recipe gives.

    Raises:
        InputError, ConfigError: as `calls_of`, and where a generator that a stage starts from is not there.
    """
    run = (Path("runs") / path.stem).resolve()
    known: dict[Path, Architecture] = {}
    people: dict[Path, int] = {}
    stages = []
    for call in calls_of(read_recipe(path, settings), run):
        cost = _cost(call, known, people)
        stages += [PlannedStage(call.stage.name, call.stage.command, part) for part in parts_of(cost)]
    return tuple(stages)


def parts_of(cost: Named | Sampling | None) -> tuple[Named | Sampling | None, ...]:
    """A stage's trainings in their order, where it is one of several; else itself."""
    return (*cost.before, cost) if isinstance(cost, Named) else (cost,)


def _cost(call: Call, known: dict[Path, Architecture], people: dict[Path, int]) -> Named | Sampling | None:
    """A stage's cost; what it makes is added to what is known."""
    command = call.stage.command
    if call.stage.given is not None:
        return None
    if type(call.config) in KINDS:
        named = work_of(call.config, known)
        known[call.result] = named.made
        return named
    options = {} if call.context is None else call.context.params
    if command in ("contexts uniform", "contexts fitted", "contexts packed", "contexts unconditional"):
        people[call.result] = options["count"]
    elif command == "contexts filter":
        held = people.get(options["contexts"], 0)  # at most
        people[call.result] = held if options["count"] is None else min(held, options["count"])
    if command == "contexts unconditional":
        made = _made(options, known)
        config = sampler_of({"architecture": made}, options["sampler"], {"steps": options["steps"]})
        return _sampling(options, known, config, options["count"], "faces of nobody, if all are taken")
    if command == "sample" and options["contexts"] in people:
        made = _made(options, known)
        asked = {key: options[key] for key in asdict(diffusion.SamplerConfig()) if key != "sampler"}
        asked["strength"] = strength_of(asked["strength"], options["start_from"])
        config = sampler_of({"architecture": made}, options["sampler"], asked)
        images = people[options["contexts"]] * options["per_identity"]
        return _sampling(options, known, config, images, "pictures")
    return None


def _made(options: dict[str, Any], known: dict[Path, Architecture]) -> Architecture:
    generator = options["generator"]
    if generator.startswith("bundled"):
        return diffusion.load_card(generator).architecture
    return architecture_of(Path(generator), known)


def _sampling(
    options: dict[str, Any], known: dict[Path, Architecture], config: diffusion.SamplerConfig, images: int, what: str
) -> Sampling:
    made = _made(options, known)
    network, side = unet_of(made), side_of(made)
    low, high = config.guidance_interval
    guided = high - low if config.guidance != 1 and network.context_inputs is not None else 0.0
    call = network_cost(lambda: diffusion.ConditionalUNet(network), partial(noisy, network, side), "fp32").forward_flops
    picture = network_cost(
        lambda: _Decoding(made), lambda count: (torch.zeros(count, network.channels, side, side),), "fp32"
    ).forward_flops
    told = f"{what} in {config.steps} steps of {config.sampler}, {call / 1e9:.2f} GFLOP each, and {picture / 1e9:.1f}"
    told, work = f"{told} to decode", config.steps * config.strength * (1 + guided) * call + picture
    if refine := options.get("refine") or 0:
        seen = network_cost(
            _encoder_network(options["encoder"]), lambda count: (torch.zeros(count, 3, 112, 112),), "fp32"
        )
        step = 2 * (picture + seen.forward_flops)  # there, and the gradient back to the latents
        told, work = f"{told}, refined in {refine} steps of {step / 1e9:.1f}", work + refine * step
    return Sampling(told, images, work, options["batch"])


def _encoder_network(name: str) -> Callable[[], nn.Module]:
    """Makes the network of an encoder's file; the bundled one's where that is not there."""
    missing = not name.startswith("bundled") and not Path(name).is_file()
    card = read_card(weights_path("bundled" if missing else name, kind="encoder"))
    return NETWORKS[card.architecture["network"]]


class _Decoding(nn.Module):
    """The decoder that a generator uses."""

    def __init__(self, made: Architecture) -> None:
        super().__init__()
        self.small = None
        self.autoencoder = None
        if "decoder" in made:
            values: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in made["decoder"].items()}
            self.small = diffusion.FastDecoder(diffusion.FastDecoderConfig(**values))
        else:
            self.autoencoder = build_autoencoder(made["autoencoder"])

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pictures (B, 3, H, W)."""
        if self.autoencoder is not None:
            return decoded(self.autoencoder, latents)
        assert self.small is not None
        return self.small(latents)
