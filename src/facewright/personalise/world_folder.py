"""Scenes of the miniature world as a folder of subjects, on which `facewright train personaliser` trains."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facewright.errors import InputError
from facewright.personalise.subject_captions import marked_phrases
from facewright.personalise.subject_folder import Segment, SubjectRecord, write_lists, write_subject
from facewright.personalise.world_scenes import Scene, World

DIGITS = 7  # of a photo's number; a folder of the set then has a hundred photos


def write_world(
    trained: World,
    held_out: World,
    folder: Path,
    *,
    count: int,
    held_out_count: int,
    styles_said: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write scenes with captions, masks, face points and who is who; what is already there is kept.

    A person whose number the pack knows is the same person in every scene; any other face is somebody else.

    Args:
        trained: of people to train on.
        held_out: of people to test on.
        folder: of subjects, as `SubjectFolder` reads it; the lists are written last.
        count: scenes to train on.
        held_out_count: scenes to test on.
        styles_said: False: every caption to train on is that of a plain photo, as of a folder that nobody captioned.
        progress: called with (scenes done, scenes in all).

    Raises:
        InputError: nothing to train on, or the two worlds share a face.
    """
    if count < 1:
        raise InputError(f"a folder needs at least one scene to train on, got {count}")
    if held_out_count and np.intersect1d(trained.rows, held_out.rows).size:
        raise InputError("the same faces are to be trained on and held out; give worlds of different people")
    names = list[str]()
    for number in range(count + held_out_count):
        world, own = (trained, number) if number < count else (held_out, number - count)
        name = f"{number:0{DIGITS}d}"
        if not (folder / name[:5] / f"{name}.json").is_file():
            _write(world, world.scene(own), folder, name, style_said=styles_said or number >= count)
        names.append(name)
        if progress is not None:
            progress(number + 1, count + held_out_count)
    write_lists(folder, names[:count], names[count:])


def _write(world: World, scene: Scene, folder: Path, name: str, *, style_said: bool) -> None:
    [picture], [masks] = world.draw([scene])
    labels = np.zeros(masks.shape[1:], np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    caption, phrases = marked_phrases(scene.marked(style_said=style_said))
    known = world.faces.pack.labels
    segments = tuple(
        Segment(
            number=number,
            start=start,
            end=end,
            points=figure.points(),
            person=f"person {known[figure.row]}" if known[figure.row] >= 0 else f"face {figure.row}",
        )
        for number, (figure, (start, end)) in enumerate(zip(scene.figures, phrases, strict=True), start=1)
    )
    record = SubjectRecord(caption, segments)
    write_subject(folder, name, picture=picture, labels=labels, record=record, more={"style": scene.style})
