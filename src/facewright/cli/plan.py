"""`facewright plan`: what a training run will cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import note, summary, write_json
from facewright.errors import ConfigError

if TYPE_CHECKING:
    from facewright.cli.plan_named import Named
    from facewright.cli.plan_recipe import PlannedStage, Sampling
    from facewright.training.cost import Plan
    from facewright.training.devices import Device

GIB = 2**30


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="TOML file of a training, or of a recipe of stages.")
    ],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings that override the file.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="A measured device, such as a100-8; with --measure: cpu, cuda.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Train here for some seconds instead.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.0, help="How long --measure trains.")] = 20.0,
    kind: Annotated[
        str | None, typer.Option("--kind", help="What is trained, where CONFIG says too little to tell: decoder, ...")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
) -> None:
    """Count parameters, operations and memory of a run, and say how long it takes on a device.

    Nothing is read but CONFIG, the card of a generator that a training starts from, the configs of a personaliser's
    base model, and the list of its photos where there is one: the data need not be there. Times follow from throughput
    that somebody measured, scaled by the operations of an image; the table with its sources is
    facewright/training/devices.toml. Memory leaves out frozen networks, except for a personaliser, and what the
    allocator and the libraries of a device take, about 3 GiB on a GPU. Of a recipe of stages, trainings and sampling
    are counted.

    Example:

        facewright plan recipes/ms1mv2_iresnet100.toml --device a100-8
    """
    from facewright.cli.plan_work import read_work
    from facewright.cli.run_recipe import is_recipe, read_toml
    from facewright.training.devices import find_device, known_devices

    known = None if device is None or measure else find_device(device)
    figures: dict[str, Any] = {"config": str(config)}
    if is_recipe(read_toml(config)):
        from facewright.cli.plan_recipe import read_stages

        if measure or kind is not None:
            raise ConfigError(f"{config}: --measure and --kind are for one training; name the config of a stage")
        more, lines = _plan_stages(read_stages(config, settings or ()), known)
    else:
        named = read_work(config, settings or (), kind=kind)
        here = (device or "cpu") if measure else None
        if named.before:
            more, lines = _plan_parts(named, known, here, seconds)
        else:
            more, lines = _plan_training(named, known, here, seconds)
    if known is None and not measure:
        lines.append(f"time         name a device, or --measure; known: {', '.join(known_devices())}")
    write_json(json_file, figures | more)
    summary(lines)


def _plan_training(
    named: "Named", known: "Device | None", here: str | None, seconds: float
) -> tuple[dict[str, Any], list[str]]:
    """One training's figures and lines; `here` is the device to measure on, if any."""
    from facewright.training.cost import measure_speed, plan_of
    from facewright.training.devices import expected_speed

    counted = plan_of(named.work, processes=1 if known is None else known.count)
    figures: dict[str, Any] = {"kind": named.kind, "network": named.network, **_counts(counted)}
    if named.frozen:
        figures |= {"frozen_parameters": named.frozen, "frozen_gib": named.frozen_bytes / GIB}
    lines = _describe(named, counted)
    speed = None
    if here is not None:
        measured = measure_speed(named.work, device=here, seconds=seconds)
        figures["measured"] = {"device": here, **measured}
        speed = measured["flops_per_s"] / counted.training_flops
        lines.append(
            f"speed        {speed:,.1f} images/s on {here}, from {measured['images_per_s']:,.1f} of the network alone "
            f"over {measured['steps']} steps of {measured['batch']} here"
        )
    elif known is not None:
        schedule = named.work.schedule
        expected = expected_speed(
            known,
            network=named.network,
            training_flops=counted.training_flops,
            precision=schedule.precision,
            batch=schedule.batch,
        )
        speed, row = expected.images_per_s, expected.measured
        figures |= {"device": known.name, "source": known.source}
        run = f"{row.network} at {row.images_per_s:,.0f} images/s, batch {row.batch:,}, {row.classes:,} people"
        lines.append(f"speed        {speed:,.0f} images/s on {known.what}, by operations from {run}, {row.precision}")
        lines.append(f"             ({known.source})")
        needed = (counted.device_bytes + named.frozen_bytes) / GIB
        if needed > known.gib:
            note(f"{needed:.1f} GiB a device do not fit into {known.gib:g} GiB; raise schedule.parts")
    if speed is not None:
        figures |= {"images_per_s": speed, "hours": counted.images / speed / 3600}
        lines.append(f"time         {figures['hours']:,.1f} hours, without validation")
    return figures, lines


def _plan_stages(stages: "Sequence[PlannedStage]", known: "Device | None") -> tuple[dict[str, Any], list[str]]:
    """Every stage's figures and lines, and their sum."""
    from facewright.cli.plan_named import Named

    planned: list[dict[str, Any]] = []
    lines: list[str] = []
    for stage in stages:
        figures: dict[str, Any] = {}
        if stage.cost is None:
            told = ["not counted"]
        elif isinstance(stage.cost, Named):
            figures, told = _plan_training(stage.cost, known, None, 0.0)
        else:
            figures, told = _plan_sampling(stage.cost, known)
        planned.append({"stage": stage.name, "command": stage.command, **figures})
        lines += [f"[{stage.name}] {stage.command}: {told[0]}", *told[1:]]
    total: dict[str, Any] = {"kind": "recipe", "stages": planned}
    return _summed(total, planned, lines, where=None if known is None else known.what)


def _plan_parts(
    named: "Named", known: "Device | None", here: str | None, seconds: float
) -> tuple[dict[str, Any], list[str]]:
    """Of a command that trains several networks one after another each one's figures and lines, and their sum."""
    planned: list[dict[str, Any]] = []
    lines: list[str] = []
    for part in (*named.before, named):
        figures, told = _plan_training(part, known, here, seconds)
        planned.append(figures)
        lines += told
    total: dict[str, Any] = {"kind": named.kind, "parts": planned}
    return _summed(total, planned, lines, where=here if known is None else known.what)


def _summed(
    total: dict[str, Any], planned: list[dict[str, Any]], lines: list[str], *, where: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Figures and lines with the sum of all."""
    flops = sum(figures.get("run_flop", 0.0) for figures in planned)
    total["run_flop"] = flops
    lines.append(f"[all] {flops:.2e} FLOP in what is counted")
    if where is not None:
        total["hours"] = sum(figures.get("hours", 0.0) for figures in planned)
        lines.append(f"time         {total['hours']:,.1f} hours on {where}, without validation and what is not counted")
    return total, lines


def _plan_sampling(sampling: "Sampling", known: "Device | None") -> tuple[dict[str, Any], list[str]]:
    """What making pictures costs, if a device sustains as many operations as in the trainings measured on it."""
    from facewright.training.devices import expected_speed

    flops = sampling.image_flops * sampling.images
    figures: dict[str, Any] = {
        "kind": "sampling",
        "images": sampling.images,
        "gflop_an_image": sampling.image_flops / 1e9,
        "run_flop": flops,
    }
    lines = [
        f"{sampling.images:,} {sampling.what}",
        f"operations   {sampling.image_flops / 1e12:.3f} TFLOP a picture; {flops:.2e} FLOP for all",
    ]
    if known is not None:
        precision = "bf16" if any(row.precision == "half" for row in known.measured) else "fp32"
        expected = expected_speed(
            known, network="", training_flops=sampling.image_flops, precision=precision, batch=sampling.batch
        )
        figures |= {"images_per_s": expected.images_per_s, "hours": sampling.images / expected.images_per_s / 3600}
        lines.append(
            f"time         {figures['hours']:,.1f} hours, {expected.images_per_s:,.0f} pictures/s, by operations"
        )
    return figures, lines


def _counts(counted: "Plan") -> dict[str, Any]:
    return {
        "parameters": counted.parameters,
        "head_parameters": counted.head_parameters,
        "forward_gflop_an_image": counted.forward_flops / 1e9,
        "training_gflop_an_image": counted.training_flops / 1e9,
        "run_flop": counted.run_flops,
        "weights_gib": counted.weight_bytes / GIB,
        "activations_gib": counted.activation_bytes / GIB,
        "images": counted.images,
        "steps": counted.steps,
        "epochs": counted.epochs,
        "processes": counted.processes,
    }


def _describe(named: "Named", counted: "Plan") -> list[str]:
    schedule = named.work.schedule
    head = f", and {counted.head_parameters / 1e6:.1f} M in the head of {named.work.classes:,} people"
    epochs = "" if counted.epochs is None else f"{counted.epochs:.1f} epochs of {named.work.images:,}, "
    share = f", one of {counted.processes}" if counted.processes > 1 else ""
    part = f"{schedule.batch // schedule.parts} images in {schedule.precision}"
    forward, training = counted.forward_flops / 1e9, counted.training_flops / 1e9
    weights, activations, frozen = (
        bytes_ / GIB for bytes_ in (counted.weight_bytes, counted.activation_bytes, named.frozen_bytes)
    )
    more = f", {frozen:.1f} for {named.frozen / 1e6:,.1f} M frozen parameters" if named.frozen else ""
    lines = {
        "parameters": f"{counted.parameters / 1e6:.1f} M{head if named.work.classes else ''}",
        "operations": f"{forward:.2f} GFLOP forward, {training:.1f} in training, for an image; {counted.run_flops:.2e} "
        "FLOP for the run",
        "memory": f"{weights + activations + frozen:.1f} GiB a device{share}: {weights:.1f} for weights, gradients, "
        f"optimiser, averages{more}, {activations:.1f} for the activations of {part}",
        "length": f"{counted.images:,} images, {epochs}{counted.steps:,} steps of {schedule.batch:,}",
    }
    return [f"{named.name}: {named.what}", *(f"{name:13}{text}" for name, text in lines.items())]
