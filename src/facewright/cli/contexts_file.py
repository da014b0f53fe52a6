"""What the commands of `facewright contexts` share: their options and the file they write."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import summary

if TYPE_CHECKING:
    from facewright.data.embeddings import Embeddings
    from facewright.synthesis import EmbeddingStatistics, Limits

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help=".npz to write.")]
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


def read_limits(min_angle: float | None, avoid: Path | None, avoid_angle: float | None) -> "Limits":
    """The limits that the options set."""
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import Limits

    return Limits(min_angle, None if avoid is None else read_embeddings(avoid), avoid_angle)


def write_contexts(out: Path, contexts: "Embeddings", remark: str = "") -> None:
    """Write the file and say what is in it."""
    from facewright.data.embeddings import write_embeddings

    write_embeddings(out, contexts.names, contexts.embeddings, provenance=contexts.provenance)
    width = contexts.embeddings.shape[1]
    summary([f"{out}: {len(contexts):,} identities, {width} wide, {contexts.provenance.get('kind')}{remark}"])
