from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.personalise.tiny_world import KNOWN, WORLD, tiny_faces, tiny_world

from facewright.align import warp_face
from facewright.errors import ConfigError, InputError
from facewright.personalise.subject_captions import marked_phrases
from facewright.personalise.world_captions import phrase_of, templates
from facewright.personalise.world_scenes import World, WorldConfig
from facewright.personalise.world_styles import BACKGROUNDS, STYLES, apply_style, background_of

LARGE = replace(WORLD, size=128)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return tiny_world(tmp_path_factory.mktemp("world"), config=LARGE)


def test_a_scene_follows_from_seed_and_number_alone(world: World, tmp_path: Path) -> None:
    again = tiny_world(tmp_path, config=LARGE)
    scenes = [world.scene(number) for number in range(12)]
    assert scenes == [again.scene(number) for number in range(12)]
    images, masks = world.draw(scenes)
    backwards, their_masks = again.draw(scenes[::-1])
    assert np.array_equal(images, backwards[::-1])
    assert np.array_equal(masks, their_masks[::-1])
    assert np.array_equal(world.images([5]), images[5:6])
    other = World(world.faces, world.rows, world.config, seed=1)
    assert [other.scene(number) for number in range(12)] != scenes


def test_captions_say_what_is_there(world: World) -> None:
    for scene in (world.scene(number) for number in range(200)):
        caption, phrases = marked_phrases(scene.marked())
        assert caption == scene.caption
        assert [caption[start:end] for start, end in phrases] == [figure.phrase for figure in scene.figures]
        before, _, after = templates(scene.style)[scene.template].partition("{}")
        assert caption.startswith(before)
        assert caption.endswith(after)
        for figure in scene.figures:
            known = world.faces.known(figure.row)
            everything = phrase_of(known)[0].split()
            nouns = {"person", "child", figure.noun}
            assert set(figure.phrase.split()[1:]) - nouns <= set(everything)
            assert figure.noun in {everything[-1], "person", "child"}
            assert figure.phrase.endswith(figure.noun)


def test_shares_of_people_and_styles_are_kept(world: World) -> None:
    scenes = [world.scene(number) for number in range(600)]
    alone = sum(len(scene.figures) == 1 for scene in scenes)
    assert abs(alone / 600 - WORLD.people[0]) < 0.06
    counts = [sum(scene.style == style for scene in scenes) for style in STYLES]
    assert abs(counts[0] / 600 - WORLD.plain) < 0.06
    assert min(counts) > 20
    assert {len(world.scene(number, people=2).figures) for number in range(9)} == {2}
    assert {world.scene(number, style="night").style for number in range(9)} == {"night"}


def test_masks_are_where_the_faces_are(world: World) -> None:
    for number in range(20):
        scene = world.scene(number, style="photo", people=1 + number % 2)
        [image], [masks] = world.draw([scene])
        assert not masks.sum(0).max() > 1
        assert not masks[len(scene.figures) :].any()
        down = np.linspace(0, 1, 128)[:, None, None]
        ground = np.array(scene.ground[0]) * (1 - down) + np.array(scene.ground[1]) * down
        everybody = masks.any(0)
        beside = everybody.copy()
        for axis in (0, 1):
            for step in (-2, -1, 1, 2):
                beside |= np.roll(everybody, step, axis)
        assert np.abs(image - ground)[~beside].max() <= 1, "something is drawn outside of the masks"
        centres = [mask.nonzero()[1].mean() for mask in masks[: len(scene.figures)]]
        assert centres == sorted(centres)
        for mask, figure in zip(masks, scene.figures, strict=False):
            assert 0.4 * figure.side**2 < mask.sum() < figure.side**2
            x, y = figure.points().round().astype(int).T
            assert mask[y.clip(0, 127), x.clip(0, 127)].all()


def test_the_face_at_a_figure_s_points_is_the_packed_one(world: World) -> None:
    for number in range(8):
        scene = world.scene(number, style="photo", people=1)
        [image], _ = world.draw([scene])
        [figure] = scene.figures
        packed = np.asarray(world.faces.pack.images[figure.row])[8:120, 8:120].astype(float)
        if figure.mirrored:
            packed = packed[:, ::-1]
        middle = np.s_[40:90, 36:76]
        found = warp_face(image, figure.points())[middle].astype(float)
        direct = np.abs(found - packed[middle]).mean()
        turned = np.abs(found - packed[:, ::-1][middle]).mean()
        assert direct < 8
        assert direct < turned


def test_backgrounds_and_effects_are_those_of_the_style(world: World) -> None:
    for colour, wanted in BACKGROUNDS.items():
        [image], [masks] = world.draw([world.scene(3, style=f"{colour} background")])
        shown = image[~masks.any(0)].mean(0)
        assert np.abs(shown - wanted).max() < 60
        assert np.argmax(shown) == np.argmax(wanted)
    scene = world.scene(4, style="sepia")
    plain, _ = world.draw([replace(scene, style="photo")])
    made, _ = world.draw([scene])
    assert np.array_equal(made, apply_style(plain, "sepia"))


def test_some_pictures_of_one_person_are_the_whole_photo(world: World) -> None:
    whole = World(world.faces, world.rows, replace(LARGE, whole=1.0), seed=world.seed)
    seen = set()
    for number in range(40):
        before, scene = world.scene(number), whole.scene(number)
        if len(scene.figures) > 1:
            assert scene == before
            continue
        assert scene.caption == before.caption
        [figure] = scene.figures
        assert (figure.left, figure.top, figure.side) == (0, 0, LARGE.size)
        [image], [masks] = whole.draw([scene])
        cut = scene.style.removesuffix(" background") in BACKGROUNDS
        seen.add(cut)
        if cut:
            assert np.argmax(image[~masks[0]].mean(0)) == np.argmax(background_of(scene.style))
            continue
        photo = np.asarray(world.faces.pack.images[figure.row])
        photo = photo[:, ::-1] if figure.mirrored else photo
        assert np.array_equal(image, apply_style(photo[None], scene.style)[0])
        assert 0.2 < masks[0].mean() < 0.9
    assert seen == {True, False}


def test_where_a_whole_photo_ends_the_picture_is_not_real(world: World) -> None:
    masks = world.faces.pack.masks.copy()
    masks[:, :5, :3] = 0
    short = replace(world.faces, pack=replace(world.faces.pack, masks=masks))
    whole = World(short, world.rows, replace(LARGE, whole=1.0), seed=world.seed)
    scenes = [whole.scene(number) for number in range(40)]
    for scene, real in zip(scenes, whole.real(scenes), strict=True):
        [figure, *others] = scene.figures
        assert real.all() == (not figure.uncut)
        if figure.uncut:
            assert not others
            assert np.array_equal(real[:, ::-1] if figure.mirrored else real, masks[figure.row])
    assert {scene.figures[0].uncut for scene in scenes} == {True, False}


def test_only_the_given_people_appear_and_nobody_twice(tmp_path: Path) -> None:
    faces = tiny_faces(tmp_path)
    apart = faces.rows(held_out=True)
    unseen = World(faces, apart, WORLD, seed=0)
    assert {figure.row for number in range(100) for figure in unseen.scene(number).figures} <= set(apart)
    twice = World(faces, np.arange(2 * KNOWN), WORLD, seed=0)  # two faces of each
    for number in range(60):
        labels = [faces.pack.labels[figure.row] for figure in twice.scene(number, people=2).figures]
        assert len(set(labels)) == 2


def test_what_lies_outside_of_a_photo_is_cut_off(tmp_path: Path) -> None:
    faces = tiny_faces(tmp_path)
    masks = faces.pack.masks.copy()
    masks[:, :5] = 0
    short = replace(faces, pack=replace(faces.pack, masks=masks))
    rows = faces.rows(held_out=False)
    whole, cut = (World(each, rows, LARGE, seed=0) for each in (faces, short))
    scene = whole.scene(0, people=1)
    [[whole_mask, _]], [[cut_mask, _]] = (each.draw([scene])[1] for each in (whole, cut))
    assert cut_mask.nonzero()[0].min() > whole_mask.nonzero()[0].min() + 5
    assert abs(int(cut_mask.nonzero()[0].max()) - int(whole_mask.nonzero()[0].max())) <= 1


def test_bad_input_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        WorldConfig(size=100)
    with pytest.raises(ConfigError, match="add up to 1"):
        WorldConfig(people=(0.5, 0.4), sides=((0.5, 0.6),) * 2)
    with pytest.raises(ConfigError, match="must be 3 pairs"):
        WorldConfig(sides=((0.5, 0.6),))
    with pytest.raises(ConfigError, match="plain and whole must be shares"):
        WorldConfig(plain=2)
    with pytest.raises(InputError, match="1 to 2 people, got 3"):
        world.scene(0, people=3)
    with pytest.raises(InputError, match="can have 2 people, and there are 1 usable faces"):
        World(world.faces, world.rows[:1], WORLD, seed=0)
    same = World(world.faces, np.array([0, 1]), WORLD, seed=0)
    with pytest.raises(InputError, match="2 different people are asked for"):
        same.scene(0, people=2)
