"""`facewright contexts packed` and `balanced`: identities as far apart as they go, and as many of each group."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import progress_bar
from facewright.cli.contexts_file import (
    Avoid,
    AvoidAngle,
    Count,
    Force,
    MinAngle,
    Out,
    Seed,
    read_limits,
    statistics_like,
    write_contexts,
)
from facewright.errors import DataError


def register(app: typer.Typer) -> None:
    """Add both commands to the group."""
    app.command("packed")(packed)
    app.command("balanced")(balanced)


def packed(
    count: Count,
    out: Out,
    seed: Seed = 0,
    like: Annotated[
        str | None,
        typer.Option("--like", help="Stay where such embeddings lie: bundled, a .safetensors, or an .npz of them."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", metavar="FILE", help=".npz of faces to stay near, as HyperFace does.")
    ] = None,
    pull: Annotated[float, typer.Option("--pull", help="How strongly the gallery holds (HyperFace's alpha).")] = 0.5,
    rank: Annotated[int, typer.Option("--rank", help="Directions fitted to an .npz; fewer than its rows.")] = 128,
    width: Annotated[int, typer.Option("--width", help="Length of an embedding, without --like and --gallery.")] = 512,
    iterations: Annotated[int, typer.Option("--iterations", help="Steps of the descent.")] = 200,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    force: Force = False,
) -> None:
    """New identities, the smallest angle between two as large as it will go (HyperFace).

    Example:

        facewright contexts packed --count 1000 --like bundled --seed 0 --out people.npz
    """
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import packed_contexts

    with progress_bar("packing") as progress:
        made = packed_contexts(
            count,
            seed=seed,
            width=width,
            like=None if like is None else statistics_like(like, rank),
            gallery=None if gallery is None else read_embeddings(gallery),
            pull=pull,
            iterations=iterations,
            device=device,
            progress=progress,
        )
    before, after = made.provenance["start_min_angle"], made.provenance["min_angle"]
    write_contexts(out, made, f"; smallest angle {before:.3f} before, {after:.3f} rad after", force=force)


def balanced(
    per_group: Annotated[int, typer.Option("--per-group", metavar="N", help="Identities of each group.")],
    like: Annotated[Path, typer.Option("--like", metavar="FILE", help=".npz of real embeddings, one a person.")],
    out: Out,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", metavar="FILE", help="CSV of name,group; otherwise the folder in each name."),
    ] = None,
    seed: Seed = 0,
    rank: Annotated[int, typer.Option("--rank", help="Directions fitted to each group.")] = 64,
    min_angle: MinAngle = None,
    avoid: Avoid = None,
    avoid_angle: AvoidAngle = None,
    force: Force = False,
) -> None:
    """New identities, as many of each group, each group drawn as its own embeddings are spread.

    Example:

        facewright contexts balanced --per-group 50 --like real.npz --groups groups.csv --out people.npz
    """
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import balanced_contexts, fit_groups

    real = read_embeddings(like)
    named = _groups_of_names(real.names, like) if groups is None else read_pairs(groups)
    statistics = fit_groups(real, named, rank=rank)
    made = balanced_contexts(per_group, statistics, seed=seed, limits=read_limits(min_angle, avoid, avoid_angle))
    write_contexts(out, made, f"; {per_group:,} of each of {', '.join(statistics)}", force=force)


def read_pairs(file: Path) -> dict[str, str]:
    """A CSV of two columns without a header, such as name,group; raises DataError naming a line that is none."""
    import csv

    pairs: dict[str, str] = {}
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            for number, line in enumerate(csv.reader(opened), start=1):
                if len(line) != 2 or not all(line):
                    raise DataError(f"{file}: line {number} is not of the form name,value; mend it")
                if line[0] in pairs:
                    raise DataError(f"{file}: line {number} names {line[0]!r} a second time; keep one of the two")
                pairs[line[0]] = line[1]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV ({error})") from error
    return pairs


def _groups_of_names(names: tuple[str, ...], file: Path) -> dict[str, str]:
    if flat := [name for name in names if "/" not in name]:
        raise DataError(f"{file}: the name {flat[0]!r} holds no folder to tell its group; give the groups by --groups")
    return {name: name.split("/", 1)[0] for name in names}
