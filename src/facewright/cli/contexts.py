"""`facewright contexts`: identities to condition on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import progress_bar, summary
from facewright.cli.embed import name_left_out

if TYPE_CHECKING:
    from facewright.data.embeddings import Embeddings

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help=".npz to write.")]
Count = Annotated[int, typer.Option("--count", metavar="N", help="How many identities.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed gives other identities.")]


def register(app: typer.Typer) -> None:
    """Add `contexts` and its commands."""
    commands = typer.Typer(help="Make identities to condition on.", no_args_is_help=True, rich_markup_mode=None)
    commands.command("uniform")(uniform)
    commands.command("fitted")(fitted)
    commands.command("photos")(photos)
    app.add_typer(commands, name="contexts")


def uniform(
    count: Count,
    out: Out,
    seed: Seed = 0,
    width: Annotated[int, typer.Option("--width", help="Length of an embedding.")] = 512,
) -> None:
    """New identities, drawn evenly over the sphere.

    Example:

        facewright contexts uniform --count 200 --seed 0 --out people.npz
    """
    from facewright.synthesis import uniform_contexts

    _write(out, uniform_contexts(count, seed=seed, width=width))


def fitted(
    count: Count,
    out: Out,
    seed: Seed = 0,
    like: Annotated[
        str, typer.Option("--like", help="bundled, a .safetensors of statistics, or an .npz of real embeddings.")
    ] = "bundled",
    rank: Annotated[int, typer.Option("--rank", help="Directions fitted to an .npz; fewer than its rows.")] = 128,
    min_angle: Annotated[
        float | None, typer.Option("--min-angle", help="Least angle between two identities, radians.")
    ] = None,
    avoid: Annotated[
        Path | None, typer.Option("--avoid", metavar="FILE", help=".npz of people to keep --min-angle away from.")
    ] = None,
) -> None:
    """New identities, spread as those of real people are: drawn from a Gaussian fitted to real embeddings.

    Example:

        facewright contexts fitted --count 200 --min-angle 1.2 --seed 0 --out people.npz
    """
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import fit_statistics, fitted_contexts, load_statistics

    if like.endswith(".npz"):
        real = read_embeddings(like)
        reference = fit_statistics(
            real.embeddings,
            rank=rank,
            encoder=real.provenance.get("encoder"),
            encoder_sha256=real.provenance.get("encoder_sha256"),
        )
    else:
        reference = load_statistics(like)
    avoided = None if avoid is None else read_embeddings(avoid, width=reference.width)
    _write(out, fitted_contexts(count, reference, seed=seed, min_angle=min_angle, avoid=avoided))


def photos(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder or tar of photos.")],
    out: Out,
    encoder: Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")] = "bundled",
    detector: Annotated[str, typer.Option("--detector", help="Face finder.")] = "mtcnn",
    crops: Annotated[bool, typer.Option("--crops", help="SRC holds aligned crops, 112 x 112.")] = False,
    average: Annotated[bool, typer.Option("--average", help="The photos of one folder are one person.")] = False,
    mirror: Annotated[bool, typer.Option("--mirror", help="Embed each crop together with its mirror image.")] = False,
    batch: Annotated[int, typer.Option("--batch", help="Crops embedded at a time.")] = 64,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """The identities of photographed people, named by file, or by folder with --average.

    Example:

        facewright contexts photos album --average --out people.npz
    """
    from facewright import encoders
    from facewright.align import load_detector
    from facewright.synthesis import contexts_from_photos

    network = encoders.load(encoder, device=device)
    finder = None if crops else load_detector(detector)
    with progress_bar("embedding") as progress:
        read = contexts_from_photos(
            src, network, detector=finder, average=average, mirror=mirror, batch=batch, progress=progress
        )
    name_left_out(read)
    _write(out, read.embeddings, f"; {len(read.refused):,} photos left out")


def _write(out: Path, contexts: "Embeddings", remark: str = "") -> None:
    from facewright.data.embeddings import write_embeddings

    write_embeddings(out, contexts.names, contexts.embeddings, provenance=contexts.provenance)
    width = contexts.embeddings.shape[1]
    summary([f"{out}: {len(contexts):,} identities, {width} wide, {contexts.provenance['kind']}{remark}"])
