"""`facewright train`: train one of the toolkit's networks from a config file."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import summary

# What can be trained; facewright.cli.train_runs has a config and a function for each.
KINDS = {
    "encoder": "the identity encoder, distilled from a teacher over a pack of aligned faces",
    "autoencoder": "the autoencoder between pictures and the generator's latents, on a pack of aligned faces",
    "generator": "the generator, on the latents and embeddings of a pack of aligned faces",
    "recogniser": "a face recogniser from scratch, on aligned faces of labelled people in any format",
    "decoder": "a small decoder for a generator, distilled from its own",
    "control": "a control branch for a generator, which hint pictures then steer",
    "fewstep": "a generator for a few steps, distilled from one for many",
    "finetune": "a generator further, on other faces or for longer; its encoder and autoencoder stay",
    "personaliser": "the mapping from a face to words of a Stable Diffusion model, on captioned photos with masks",
    "base": "a small base model of Stable Diffusion's form, from nothing, on captioned scenes of a pack's faces",
    "prompts": "the classifier that says whether a picture shows what its prompt said, on a pack of aligned faces",
}

# What RUN/NAME.safetensors is called where it is not the kind: four of these write a whole generator, "base" a folder.
WRITTEN = {
    "decoder": "generator",
    "control": "generator",
    "fewstep": "generator",
    "finetune": "generator",
    "personaliser": "mapper",
    "base": "base/",
}


def register(app: typer.Typer) -> None:
    """Add `train` and its commands."""
    commands = typer.Typer(
        help="Train a network; the same command again resumes.", no_args_is_help=True, rich_markup_mode=None
    )
    for kind, what in KINDS.items():
        commands.command(kind, help=_help(kind, what))(_command(kind))
    app.add_typer(commands, name="train")


def _help(kind: str, what: str) -> str:
    written = WRITTEN.get(kind, kind)
    weights = written if written.endswith("/") else f"{written}.safetensors"
    return (
        f"Train {what}.\n\n"
        f"RUN holds config.json, metrics.jsonl, last.pt and in the end curves.png and {weights}; the same "
        "command resumes it. Several processes: torchrun --nproc-per-node=8 -m facewright.cli.app in the place of "
        "facewright; their number must divide recipe.schedule.parts.\n\n"
        "Example:\n\n"
        f"    facewright train {kind} configs/{kind}.toml --out runs/{kind}"
    )


def _command(kind: str) -> Callable[..., None]:
    def train(
        config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file.")],
        out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.")],
        settings: Annotated[
            list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings that override the file.")
        ] = None,
        device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    ) -> None:
        from facewright.cli.configs import read_config
        from facewright.cli.train_curves import draw_curves
        from facewright.cli.train_runs import RUNS
        from facewright.training.processes import current, joined

        shape, run = RUNS[kind]
        resolved = read_config(shape, config, settings or ())
        with joined(device) as own_device:
            written = run(resolved, out, own_device)
            if current().first:
                draw_curves([out], out / "curves.png")
                summary([f"weights in {written}", f"the run is in {out}"])

    return train
