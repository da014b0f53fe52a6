from pathlib import Path

import numpy as np
import pytest
from tests.personalise.tiny_world import WORLD, tiny_faces

from facewright.errors import InputError
from facewright.personalise.subject_folder import SubjectFolder
from facewright.personalise.world_captions import caption_of
from facewright.personalise.world_folder import write_world
from facewright.personalise.world_scenes import World
from facewright.personalise.world_styles import PHOTO


@pytest.fixture
def worlds(tmp_path: Path) -> tuple[World, World]:
    faces = tiny_faces(tmp_path)
    trained, apart = (World(faces, faces.rows(held_out=held_out), WORLD, seed=0) for held_out in (False, True))
    return trained, apart


def test_scenes_become_subjects(worlds: tuple[World, World], tmp_path: Path) -> None:
    out, seen = tmp_path / "subjects", list[tuple[int, int]]()
    write_world(*worlds, out, count=9, held_out_count=3, progress=lambda *done: seen.append(done))
    assert seen[-1] == (12, 12)
    folder = SubjectFolder(out)
    assert len(folder.ids) == 12
    assert folder.held_out_ids == ("0000009", "0000010", "0000011")
    for number, name in enumerate(folder.ids):
        world, own = (worlds[0], number) if number < 9 else (worlds[1], number - 9)
        scene = world.scene(own)
        [picture], [masks] = world.draw([scene])
        record = folder.record(name)
        assert record.caption == scene.caption
        assert np.abs(folder.picture(name).astype(int) - picture).mean() < 6  # JPEG
        labels = folder.labels(name, picture.shape)
        for segment, figure, mask in zip(record.segments, scene.figures, masks, strict=False):
            assert record.caption[segment.start : segment.end] == figure.phrase
            assert np.array_equal(labels == segment.number, mask)
            assert segment.points is not None
            assert np.allclose(segment.points, figure.points(), atol=0.01)
            label = world.faces.pack.labels[figure.row]
            assert segment.person == (f"person {label}" if label >= 0 else f"face {figure.row}")
    before = (out / "00000" / "0000003.jpg").stat().st_mtime_ns
    write_world(*worlds, out, count=9, held_out_count=3)
    assert (out / "00000" / "0000003.jpg").stat().st_mtime_ns == before


def test_captions_may_keep_the_style_to_themselves(worlds: tuple[World, World], tmp_path: Path) -> None:
    for name, said in (("full", True), ("plain", False)):
        write_world(*worlds, tmp_path / name, count=9, held_out_count=3, styles_said=said)
    full, plain = SubjectFolder(tmp_path / "full"), SubjectFolder(tmp_path / "plain")
    styles = [worlds[0].scene(number).style for number in range(9)]
    assert set(styles) - {PHOTO}
    for number, name in enumerate(plain.ids):
        own, other = plain.record(name), full.record(name)
        assert np.array_equal(plain.picture(name), full.picture(name))
        if number >= 9:
            assert own.caption == other.caption
            continue
        assert own.caption == caption_of([figure.phrase for figure in worlds[0].scene(number).figures])
        for one, two in zip(own.segments, other.segments, strict=True):
            assert own.caption[one.start : one.end] == other.caption[two.start : two.end]


def test_bad_input_is_named(worlds: tuple[World, World], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one scene to train on, got 0"):
        write_world(*worlds, tmp_path / "s", count=0, held_out_count=1)
    with pytest.raises(InputError, match="the same faces are to be trained on and held out"):
        write_world(worlds[0], worlds[0], tmp_path / "s", count=1, held_out_count=1)
