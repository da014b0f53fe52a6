"""`facewright doctor`: what this machine has, what will be used, and what is missing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from facewright import __version__
from facewright.cli.console import summary, write_json

PACKAGES = ("torch", "numpy", "opencv-python-headless", "pillow", "pyarrow", "safetensors", "matplotlib")
MODELS = ("encoder", "generator")  # what the commands use as `bundled`
PERSONALISED = ("base", "mapper")  # the same of personalised pictures, which not every install has
EXTRAS = {
    "dlib": ("dlib",),
    "insightface": ("insightface",),
    "face-alignment": ("face_alignment",),
    "mediapipe": ("mediapipe",),
    "personalise": ("diffusers", "transformers", "accelerate", "peft", "scipy"),
}
"""What each extra of the package brings."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the findings here.")] = None,
) -> None:
    """Show versions, devices and models, and what is missing.

    Example:

        facewright doctor --json doctor.json
    """
    found = examine()
    write_json(json_file, found)
    summary(describe(found))


def examine() -> dict[str, Any]:
    """Look at this installation and machine; values are plain JSON."""
    import torch

    from facewright.personalise.base import bundled_base, read_base
    from facewright.training.precision import chosen_precision
    from facewright.training.trainer import Schedule
    from facewright.weights import bundled_cards

    cards = bundled_cards()
    if bundled_base().is_dir() and (base := read_base(bundled_base()).card) is not None:
        cards["base"] = base
    return {
        "facewright": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "kernels": torch.backends.cpu.get_cpu_capability(),
        },
        "devices": [_cuda(index) for index in range(torch.cuda.device_count())],
        "device": "cpu",  # what every command uses unless --device says otherwise
        "precision": {
            "embed": chosen_precision("auto", "cpu"),
            "sample": chosen_precision("auto", "cpu"),
            "train": Schedule.precision,
        },
        "models": {
            kind: {
                "name": card.name,
                "sha256": card.sha256,
                "data": card.data,
                "licence": card.licence,
                "measured": dict(card.measured),
            }
            for kind, card in cards.items()
        },
        "missing_models": [kind for kind in MODELS if kind not in cards],
        "not_bundled": [kind for kind in PERSONALISED if kind not in cards],
        "extras": {extra: all(find_spec(module) for module in modules) for extra, modules in EXTRAS.items()},
    }


def describe(found: dict[str, Any]) -> list[str]:
    """The findings as lines to read."""
    cpu = found["cpu"]
    lines = [f"facewright {found['facewright']}, Python {found['python']}, {found['platform']}", "", "Packages"]
    lines += [f"  {name:24}{number or 'not installed'}" for name, number in found["packages"].items()]
    lines += ["", "Devices", f"  cpu    {cpu['cores']} cores, {cpu['threads']} threads, {cpu['kernels']} kernels"]
    lines += [f"  cuda:{entry['index']} {entry['name']}, {entry['gib']:.0f} GiB" for entry in found["devices"]]
    precision = ", ".join(f"{work} {name}" for work, name in found["precision"].items())
    lines += [
        f"  used unless --device says otherwise: {found['device']}",
        f"  precision: {precision} (a config may say other)",
    ]
    lines += ["", "Bundled models"]
    for kind, card in found["models"].items():
        lines += [f"  {kind}: {card['name']}, sha256 {card['sha256'][:12]}"]
        lines += [f"    data: {card['data']}", f"    licence: {card['licence']}"]
        lines += [f"    {name}: {value}" for name, value in card["measured"].items()]
    lines += [
        f"  {kind}: missing; reinstall facewright, or name a file with --{kind}" for kind in found["missing_models"]
    ]
    lines += [
        f"  {kind}: not bundled; name one of your own with --{kind} of facewright personalise"
        for kind in found["not_bundled"]
    ]
    lines += ["", "Extras"]
    for extra, there in found["extras"].items():
        lines.append(f"  {extra:16}" + ("installed" if there else f"missing; pip install 'facewright[{extra}]'"))
    return lines


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cuda(index: int) -> dict[str, Any]:
    import torch

    facts = torch.cuda.get_device_properties(index)
    return {
        "index": index,
        "name": facts.name,
        "gib": facts.total_memory / 2**30,
        "capability": f"{facts.major}.{facts.minor}",
        "bfloat16": facts.major >= 8,
    }
