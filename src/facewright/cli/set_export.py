"""`facewright set export`: a set in another format, the pictures' bytes untouched."""

from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import counted, note, progress_bar, summary, write_json


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("export")(export)


def export(
    source: Annotated[Path, typer.Argument(metavar="SET", help="Folder, file or index of a set in any format.")],
    to: Annotated[
        str,
        typer.Option("--to", help="folder, list, recordio, tfrecord, webdataset, parquet, set or bin."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="New folder; for bin a new file.")],
    labels: Annotated[
        str, typer.Option("--labels", help="Labels with gaps: refuse, keep, or renumber them.")
    ] = "refuse",
    damaged: Annotated[
        str,
        typer.Option(
            "--damaged",
            help="Damaged records: refuse, or skip and count (unreadable pictures, wrong CRCs, records past the end of"
            " a file; a damaged index, a cut tar or Parquet file is refused either way).",
        ),
    ] = "refuse",
    decode: Annotated[bool, typer.Option("--decode", help="Also decode each picture to find damaged ones.")] = False,
    grouped: Annotated[bool, typer.Option("--grouped", help="RecordIO with InsightFace's identity records.")] = False,
    pairs: Annotated[
        int | None,
        typer.Option("--pairs", metavar="N", help="For bin, from labelled people: draw N pairs, half matching."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of that draw.")] = 0,
    shard_records: Annotated[
        int | None, typer.Option("--shard-records", metavar="N", help="Records of one shard.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="What the paths of a list are below.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Write a set in another format; its pictures are copied byte for byte.

    Example: facewright set export faces --to recordio --grouped --out faces-rec
    """
    from typing import cast

    from facewright.data.formats import GAPS, ExportConfig, Gaps, export_records, open_records
    from facewright.errors import ConfigError

    if labels not in GAPS:
        raise ConfigError(f"--labels is {labels!r}, expected {', '.join(GAPS)}")
    config = ExportConfig(to, damaged, decode, grouped, pairs, seed, shard_records)
    records = open_records(source, gaps=cast(Gaps, labels), root=root)
    with progress_bar("copying pictures") as progress:
        report = export_records(records, out, config, progress=progress)
    for reason in report.reasons:
        note(f"skipped: {reason}")
    pairs_out = report.written // 2 if records.pairs or to == "bin" else None
    if pairs_out is not None and to != "bin":
        note(f"{out}: labels 1 and 0 say whether the two pictures of a pair match; they name no people")
    figures = {
        "source": str(source),
        "source_format": records.format,
        "out": str(out),
        "format": to,
        "written": report.written,
        "labels": report.identities,
        "pairs": pairs_out,
        "skipped": report.skipped,
        "reasons": report.reasons,
    }
    write_json(json_file, figures)
    held = counted(report.identities, "label") if pairs_out is None else counted(pairs_out, "pair")
    counts = f"{counted(report.written, 'picture')} {'with' if pairs_out is None else 'in'} {held}"
    summary([f"{out}: {counts} as {to}, from {records.format}; {report.skipped:,} damaged left out"])
