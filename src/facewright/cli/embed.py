"""`facewright embed`: pictures to a file of embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import counted, note, progress_bar, summary
from facewright.cli.contexts_file import Out
from facewright.errors import InputError

if TYPE_CHECKING:
    from facewright.synthesis import EmbeddedPhotos

NAMED = 10  # left-out pictures named on stderr


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("embed")(embed)


def embed(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder or tar of aligned crops, 112 x 112; or a pack.")],
    out: Out,
    encoder: Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")] = "bundled",
    align: Annotated[bool, typer.Option("--align", help="SRC holds photos: find and align the largest face.")] = False,
    detector: Annotated[str, typer.Option("--detector", help="Face finder for --align.")] = "mtcnn",
    mirror: Annotated[bool, typer.Option("--mirror", help="Embed each crop together with its mirror image.")] = False,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Of a pack, the people that no training sees instead of the others.")
    ] = False,
    batch: Annotated[int, typer.Option("--batch", help="Crops embedded at a time.")] = 64,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Embed every crop; the names are the files' paths inside SRC, of a pack PERSON/ROW or ROW.

    Example:

        facewright embed crops --encoder bundled --out crops.npz
    """
    from facewright import encoders
    from facewright.align import load_detector
    from facewright.data.embeddings import write_embeddings
    from facewright.synthesis import embed_pack, embed_photos

    pack = (src / "index.npz").exists()
    if held_out and not pack:
        raise InputError(
            f"--held-out is of packs, and {src} is none; leave it out, or give a folder of facewright pack"
        )
    if pack and align:
        raise InputError(f"{src}: the faces of a pack are aligned; leave --align out")
    network = encoders.load(encoder, device=device)
    refused = ""
    with progress_bar("embedding") as progress:
        if pack:
            rows = embed_pack(src, network, held_out=held_out, mirror=mirror, batch=batch, progress=progress)
        else:
            finder = load_detector(detector) if align else None
            read = embed_photos(src, network, detector=finder, mirror=mirror, batch=batch, progress=progress)
            rows, refused = read.embeddings, f"; {counted(len(read.refused), 'picture')} left out"
    write_embeddings(out, rows.names, rows.embeddings, provenance=rows.provenance)
    if not pack:
        name_left_out(read)
    made_by = f"{rows.embeddings.shape[1]} wide, encoder {network.name} {network.sha256[:12]}"
    summary([f"{out}: {counted(len(rows), 'embedding')}, {made_by}{refused}"])


def name_left_out(read: "EmbeddedPhotos") -> None:
    """Say on stderr which pictures gave nothing, and why."""
    for name, why in read.refused[:NAMED]:
        note(f"left out {name}: {why}")
    if len(read.refused) > NAMED:
        note(f"left out {len(read.refused) - NAMED:,} more")
