"""`facewright contexts`: identities to condition on."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli import contexts_packed, contexts_search
from facewright.cli.console import counted, progress_bar
from facewright.cli.contexts_file import Count, Force, Out, Seed, statistics_like, variation_like, write_contexts
from facewright.cli.embed import name_left_out


def register(app: typer.Typer) -> None:
    """Add `contexts` and its commands."""
    commands = typer.Typer(help="Make identities to condition on.", no_args_is_help=True, rich_markup_mode=None)
    commands.command("uniform")(uniform)
    commands.command("fitted")(fitted)
    commands.command("photos")(photos)
    commands.command("import")(import_contexts)
    contexts_packed.register(commands)
    contexts_search.register(commands)
    app.add_typer(commands, name="contexts")


def uniform(
    count: Count,
    out: Out,
    seed: Seed = 0,
    width: Annotated[int, typer.Option("--width", help="Length of an embedding.")] = 512,
    force: Force = False,
) -> None:
    """New identities, drawn evenly over the sphere.

    Example:

        facewright contexts uniform --count 200 --seed 0 --out people.npz
    """
    from facewright.synthesis import uniform_contexts

    write_contexts(out, uniform_contexts(count, seed=seed, width=width), force=force)


def fitted(
    count: Count,
    out: Out,
    seed: Seed = 0,
    like: Annotated[
        str, typer.Option("--like", help="bundled, a .safetensors of statistics, or an .npz of real embeddings.")
    ] = "bundled",
    rank: Annotated[int, typer.Option("--rank", help="Directions fitted to an .npz; fewer than its rows.")] = 128,
    centres: Annotated[
        bool, typer.Option("--centres", help="Draw people rather than pictures of people; for sample --vary.")
    ] = False,
    vary_like: Annotated[
        str | None, typer.Option("--vary-like", help="For --centres: how a person's pictures differ, as of sample.")
    ] = None,
    min_angle: Annotated[
        float | None, typer.Option("--min-angle", help="Least angle between two identities, radians.")
    ] = None,
    avoid: Annotated[
        Path | None, typer.Option("--avoid", metavar="FILE", help=".npz of people to keep --min-angle away from.")
    ] = None,
    force: Force = False,
) -> None:
    """New identities, spread as those of real people are: drawn from a Gaussian fitted to real embeddings.

    Example:

        facewright contexts fitted --count 200 --min-angle 1.2 --seed 0 --out people.npz
    """
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import centre_statistics, fitted_contexts

    reference = statistics_like(like, rank)
    if (variation := variation_like(vary_like, wanted=centres)) is not None:
        reference = centre_statistics(reference, variation)
    avoided = None if avoid is None else read_embeddings(avoid, width=reference.width)
    made = fitted_contexts(count, reference, seed=seed, min_angle=min_angle, avoid=avoided)
    write_contexts(out, made, force=force)


def photos(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder or tar of photos.")],
    out: Out,
    encoder: Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")] = "bundled",
    detector: Annotated[str, typer.Option("--detector", help="Face finder.")] = "mtcnn",
    crops: Annotated[bool, typer.Option("--crops", help="SRC holds aligned crops, 112 x 112.")] = False,
    average: Annotated[bool, typer.Option("--average", help="The photos of one folder are one person.")] = False,
    mirror: Annotated[bool, typer.Option("--mirror", help="Embed each crop together with its mirror image.")] = False,
    licence: Annotated[str | None, typer.Option("--licence", help="Of the photos; a set's card quotes it.")] = None,
    batch: Annotated[int, typer.Option("--batch", help="Crops embedded at a time.")] = 64,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    force: Force = False,
) -> None:
    """The identities of photographed people, named by file, or by folder with --average.

    Example:

        facewright contexts photos album --average --out people.npz
    """
    from facewright import encoders
    from facewright.align import load_detector
    from facewright.data.embeddings import Embeddings
    from facewright.synthesis import contexts_from_photos

    network = encoders.load(encoder, device=device)
    finder = None if crops else load_detector(detector)
    with progress_bar("embedding") as progress:
        read = contexts_from_photos(
            src, network, detector=finder, average=average, mirror=mirror, batch=batch, progress=progress
        )
    name_left_out(read)
    rows = read.embeddings
    stated = Embeddings(rows.names, rows.embeddings, {**rows.provenance, "licence": licence})
    write_contexts(out, stated, f"; {counted(len(read.refused), 'photo')} left out", force=force)


def import_contexts(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Context file of another project, or folder of vectors.")],
    out: Out,
    force: Force = False,
) -> None:
    """The context files of IDiff-Face and its kin: a torch.save of names and vectors, .npy matrices, folders of .npy.

    Rows are brought to unit length. Nothing that a file names is run.

    Example:

        facewright contexts import random_synthetic_uniform_5000.npy --out people.npz
    """
    from facewright.data.context_files import read_contexts

    write_contexts(out, read_contexts(src), force=force)
