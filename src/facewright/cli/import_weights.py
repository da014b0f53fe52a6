"""`facewright import`: a public checkpoint to a safetensors file with a card."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import summary

HALVES = ("vq-encoder", "vq-decoder")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_weights)


def import_weights(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Checkpoint: .pt, .pth, .ckpt, .bin, .safetensors, .npz.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help=".safetensors file to write; its card goes beside.")
    ],
    layout: Annotated[str | None, typer.Option("--layout", help="A name of `facewright layouts`; else found.")] = None,
    decoder: Annotated[
        Path | None,
        typer.Option("--decoder", metavar="FILE", help="The other half of an autoencoder whose encoder SRC holds."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that holds something else.")] = False,
) -> None:
    """Import a checkpoint of a public project, strictly and safely.

    Every tensor is accounted for or nothing is written; nothing inside the file is run. A latent-diffusion checkpoint
    with VQ-f4 becomes the autoencoder that `facewright train generator` takes.

    Example:

        facewright import backbone.pth --layout arcface_torch/r50 --out r50.safetensors
    """
    from facewright.checkpoints import import_checkpoint

    card = import_checkpoint(src, out, layout=layout, decoder=decoder, force=force)
    lines = [f"{out}: {card.name} from {src}, tensors sha256 {card.sha256[:12]}", f"licence: {card.licence}"]
    if (shape := card.input) is not None:
        lines.append(f"input: {shape.colour}, {shape.low:g} to {shape.high:g}, {shape.height} x {shape.width} px")
    if card.kind in HALVES:
        lines.append("half of an autoencoder; train generator takes a whole one: --layout ldm/vq-f4, or --decoder FILE")
    summary(lines)
