"""What the commands of `facewright contexts` share: their options and the file they write."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import counted, summary
from facewright.errors import ConfigError, DataError, InputError

if TYPE_CHECKING:
    from facewright.data.embeddings import Embeddings
    from facewright.synthesis import EmbeddingStatistics, Limits, PersonVariation


def _named_npz(path: Path) -> Path:
    if path.suffix != ".npz":
        raise InputError(f"--out must end in .npz, got {path}")
    return path


Out = Annotated[Path, typer.Option("--out", metavar="FILE", help=".npz to write.", callback=_named_npz)]
Force = Annotated[bool, typer.Option("--force", help="Replace a file of other identities.")]
Count = Annotated[int, typer.Option("--count", metavar="N", help="How many identities.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed gives other identities.")]
MinAngle = Annotated[float | None, typer.Option("--min-angle", help="Least angle between two identities, radians.")]
Avoid = Annotated[
    Path | None, typer.Option("--avoid", metavar="FILE", help=".npz of real people that no identity may lie near.")
]
AvoidAngle = Annotated[
    float | None, typer.Option("--avoid-angle", help="Least angle to those people, radians; default --min-angle.")
]


def statistics_like(like: str, rank: int) -> "EmbeddingStatistics":
    """What `--like` names: bundled statistics, a file of them, or an .npz of embeddings to fit them to."""
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import fit_statistics, load_statistics

    if not like.endswith(".npz"):
        return load_statistics(like)
    real = read_embeddings(like)
    return fit_statistics(
        real.embeddings,
        rank=rank,
        encoder=real.provenance.get("encoder"),
        encoder_sha256=real.provenance.get("encoder_sha256"),
        licence=real.provenance.get("licence"),
    )


def variation_like(like: str | None, *, wanted: bool) -> "PersonVariation | None":
    """What `--vary-like` names: the bundled variation, a file of one, or an .npz of embeddings to fit it to.

    Returns:
        None where none is wanted.
    """
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import fit_variation, load_variation

    if not wanted:
        if like is not None:
            raise ConfigError(
                "--vary-like counts only where contexts are varied, by --vary of facewright sample, such as 1.0, or"
                " drawn without it, by --centres of facewright contexts fitted"
            )
        return None
    like = like or "bundled"
    return fit_variation(read_embeddings(like)) if like.endswith(".npz") else load_variation(like)


def read_limits(min_angle: float | None, avoid: Path | None, avoid_angle: float | None) -> "Limits":
    """The limits that the options set."""
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import Limits

    return Limits(min_angle, None if avoid is None else read_embeddings(avoid), avoid_angle)


def write_contexts(out: Path, contexts: "Embeddings", remark: str = "", *, force: bool) -> None:
    """Write the file and say what is in it.

    Other identities are replaced by `force` alone: a set that was made from them could not be completed any more.
    """
    from facewright.data.embeddings import write_embeddings

    if out.exists() and not force and not _holds(out, contexts):
        raise InputError(f"{out} holds something else, which a set may be made from; name another file, or --force")
    write_embeddings(out, contexts.names, contexts.embeddings, provenance=contexts.provenance)
    width = contexts.embeddings.shape[1]
    people = counted(len(contexts), "identity", "identities")
    summary([f"{out}: {people}, {width} wide, {contexts.provenance.get('kind')}{remark}"])


def _holds(file: Path, contexts: "Embeddings") -> bool:
    """Whether the file holds the same names and embeddings."""
    from facewright.data.embeddings import read_embeddings

    try:
        return read_embeddings(file).sha256 == contexts.sha256
    except DataError:
        return False
