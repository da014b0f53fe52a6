"""`facewright subjects`: photos to what a personaliser is trained on."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from facewright.cli.console import progress_bar, summary, write_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("subjects")(subjects)


def subjects(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of photos, or a tar of them.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="New folder, or that of an interrupted run.")],
    captions: Annotated[
        Path | None, typer.Option("--captions", metavar="FILE", help="CSV with the columns photo and caption.")
    ] = None,
    template: Annotated[
        str, typer.Option("--template", help="Caption of all other photos; {people} is everybody on it.")
    ] = "a photo of {people}",
    noun: Annotated[str, typer.Option("--noun", help="What the template calls each of them.")] = "person",
    people: Annotated[
        str, typer.Option("--people", help="folder: a subfolder shows one person; photo: each face is somebody else.")
    ] = "photo",
    segmenter: Annotated[str, typer.Option("--segmenter", help="grabcut, bisenet, mediapipe or rembg.")] = "grabcut",
    weights: Annotated[
        Path | None, typer.Option("--segmenter-weights", metavar="FILE", help="The segmenter's, where it needs some.")
    ] = None,
    detector: Annotated[
        str, typer.Option("--detector", help="mtcnn, dlib, insightface, face_alignment or mediapipe.")
    ] = "mtcnn",
    most: Annotated[int, typer.Option("--most", help="Faces of a photo that count, the largest.")] = 4,
    longest: Annotated[
        int, typer.Option("--longest", help="Longest side of the photos, in pixels; 0: as they are.")
    ] = 2048,
    smallest_face: Annotated[
        int, typer.Option("--smallest-face", help="Pixels from eyes to mouth; smaller faces are background.")
    ] = 24,
    held_out: Annotated[float, typer.Option("--held-out", help="Share of the people to test on.")] = 0.05,
    seed: Annotated[int, typer.Option("--seed", help="Another seed holds out others.")] = 0,
    device: Annotated[str, typer.Option("--device", help="Of the segmenter: cpu or cuda.")] = "cpu",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the counts to this file.")
    ] = None,
) -> None:
    """Find the people on photos, mask them, and write what a personaliser is trained on: photo, caption and mask.

    In a caption the words for each person stand in braces, from left to right: {a young woman} and {an old man} on
    the beach. Without braces words like woman, man or person are taken. The folder has the form of FastComposer's set.
    A photo that cannot be used is a row of left_out.csv with the reason. The same command again continues.

    Example: facewright subjects holiday subjects --captions holiday.csv --people folder
    """
    from facewright.align import load_detector
    from facewright.personalise.subject_build import SubjectConfig, make_subjects, read_captions
    from facewright.personalise.subject_segment import load_segmenter

    config = SubjectConfig(
        template=template,
        noun=noun,
        people=people,
        most=most,
        longest=longest or None,
        smallest_face=smallest_face,
        held_out=held_out,
        seed=seed,
    )
    own = None if captions is None else read_captions(captions)
    backend = load_segmenter(segmenter, weights=weights, device=device)
    with progress_bar("Finding people") as progress:
        report = make_subjects(
            src, dst, config, detector=load_detector(detector), segmenter=backend, captions=own, progress=progress
        )
    write_json(json_file, {**asdict(report), "detector": detector, "segmenter": segmenter})
    summary(
        [
            f"photos      {report.kept} of {report.photos}, {report.held_out} of them held out",
            f"people      {report.people}, masked by {segmenter}",
            f"left out    {len(report.left_out)}, see {dst / 'left_out.csv'}",
        ]
    )
