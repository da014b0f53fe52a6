"""`facewright align`: photos to aligned crops and a manifest."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import progress_bar, summary, write_json


def register(app: typer.Typer) -> None:
    """Add `align`."""
    app.command()(align)


def align(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of photos, a tar of photos, or one photo.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder for crops/ and manifest.csv.")],
    size: Annotated[int, typer.Option("--size", min=1, help="Side of the crops in pixels.")] = 112,
    margin: Annotated[
        float, typer.Option("--margin", min=0.0, help="Width added on every side, in pixels of the 112 px template.")
    ] = 0.0,
    detector: Annotated[
        str, typer.Option("--detector", help="mtcnn, dlib, insightface, face_alignment or mediapipe.")
    ] = "mtcnn",
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Every face of a photo, not only the largest.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Also write the counts to this file.")] = None,
) -> None:
    """Find the faces in photos and cut them out, aligned to the ArcFace template.

    A photo without a face, or one that cannot be read, is a row of manifest.csv with the reason. The same command again
    continues an interrupted run.

    Example: facewright align holiday.tar crops --size 112
    """
    from facewright.align import align_photos

    with progress_bar("Aligning") as progress:
        report = align_photos(
            src, dst, size=size, margin=margin, detector=detector, all_faces=all_faces, progress=progress
        )
    figures = asdict(report) | {"manifest": str(report.manifest), "detector": detector, "size": size}
    write_json(json, figures)
    summary(
        [
            f"photos            {report.photos}",
            f"crops             {report.crops}, {size} x {size} px, by {detector}",
            f"without a face    {report.without_face}",
            f"unreadable        {report.unreadable}",
            f"manifest          {report.manifest}",
        ]
    )
