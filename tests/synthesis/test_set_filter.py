"""Filtering, resampling and adding context images: marks in a manifest, nothing deleted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.synthesis.tiny import TinyEncoder, TinyGenerator

from facewright.align import ARCFACE_TEMPLATE, Face
from facewright.data.embeddings import Embeddings
from facewright.data.sets import SetRow, read_manifest, read_set
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis import (
    SetLimits,
    add_context_images,
    context_images,
    filter_set,
    image_seed,
    pictures_by_name,
    resample_set,
    sample_set,
    set_filter,
    uniform_contexts,
)
from facewright.synthesis.set_filter import judge

CONTEXTS = uniform_contexts(4, seed=0, width=64)
SETTINGS: dict[str, Any] = {"per_identity": 4, "steps": 3, "seed": 7, "batch": 3}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    sample_set(TinyGenerator(), CONTEXTS, out=tmp_path / "set", encoder=TinyEncoder(), **SETTINGS)
    return tmp_path / "set"


def row(identity: int, index: int, similarity: float | None = 0.9, reason: str = "") -> SetRow:
    name = f"{identity:06d}"
    return SetRow(
        identity, name, index, f"{name}/{index}.png", 0, "c", "g", "ddim", 3, 1.0, similarity, not reason, reason
    )


def middle(path: Path) -> float:
    """A similarity that about half the images fall short of."""
    return float(np.median([made.similarity for made in read_manifest(path) if made.similarity is not None]))


def test_similarity_below_the_limit_is_marked_and_nothing_deleted(out: Path) -> None:
    before, limit = files(out), middle(out)
    rows = read_manifest(out)
    report = filter_set(out, SetLimits(min_similarity=limit))
    judged = read_manifest(out)
    assert [made.kept for made in judged] == [made.similarity >= limit for made in rows if made.similarity is not None]
    dropped = next(made for made in judged if not made.kept)
    assert dropped.reason == f"unlike its context: cosine {dropped.similarity:.3f} below {limit:g}"
    assert [replace(made, kept=True, reason="") for made in judged] == list(rows)
    assert (report.images, report.kept) == (16, 8)
    assert report.reasons == {"unlike its context": 8}
    pictures = {name: data for name, data in before.items() if name.endswith(".png")}
    assert pictures.items() <= files(out).items()
    assert json.loads((out / "filter.json").read_text()) == {"min_similarity": limit}
    assert "kept: 8 of 16 images; not kept: 8 unlike its context" in (out / "card.md").read_text()
    filter_set(out, SetLimits())  # judges anew
    assert read_manifest(out) == rows


def test_images_unlike_the_identity_s_others() -> None:
    rows = [row(0, index) for index in range(4)] + [row(1, 0)]
    embeddings = np.array([[1, 0], [0.96, 0.28], [0.96, -0.28], [-0.6, 0.8], [0, 1]], np.float32)
    judged = judge(rows, SetLimits(min_centre=0.2), embeddings=embeddings)
    assert [made.kept for made in judged] == [True, True, True, False, True]
    others = embeddings[:3].sum(axis=0) / np.linalg.norm(embeddings[:3].sum(axis=0))
    assert f"cosine {others @ embeddings[3]:.3f} below 0.2" in judged[3].reason


def test_identities_near_training_people_or_with_too_few_images() -> None:
    rows = [row(0, 0), row(0, 1), row(1, 0, 0.1), row(1, 1), row(2, 0), row(2, 1)]
    embeddings = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [-1, 0], [-1, 0]], np.float32)
    training = Embeddings(("real",), np.array([[0.8, 0.6]], np.float32))
    limits = SetLimits(min_similarity=0.5, max_training=0.7, min_images=2)
    judged = judge(rows, limits, embeddings=embeddings, training=training)
    assert [made.kept for made in judged] == [False, False, False, False, True, True]
    assert judged[0].reason == "near a training person: cosine 0.800 above 0.7"
    assert judged[2].reason.startswith("unlike its context")
    assert judged[3].reason == "too few images: the identity keeps 1, below 2"


def test_pictures_without_a_face_stay_dropped() -> None:
    judged = judge([row(0, 0, reason="no face found"), row(0, 1, reason="unlike its context: old")], SetLimits())
    assert [(made.kept, made.reason) for made in judged] == [(False, "no face found"), (True, "")]


def test_filter_embeds_when_it_must(out: Path, encoder: TinyEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_filter, "CHUNK", 5)
    report = filter_set(out, SetLimits(min_centre=-1.0), encoder=encoder)
    assert report.kept == 16
    training = Embeddings(("0",), CONTEXTS.embeddings[:1], {"encoder": "tiny", "encoder_sha256": encoder.sha256})
    report = filter_set(out, SetLimits(max_training=0.5), encoder=encoder, training=training)
    assert (report.kept, report.kept_identities) == (12, 3)
    assert report.reasons == {"near a training person": 4}


def test_limits_that_cannot_be_measured(out: Path, tmp_path: Path, encoder: TinyEncoder) -> None:
    before = files(out)
    for wrong in ({"min_similarity": 2.0}, {"max_training": -2.0}, {"min_images": 0}):
        with pytest.raises(ConfigError):
            SetLimits(**wrong)
    with pytest.raises(ConfigError, match="need an encoder"):
        filter_set(out, SetLimits(min_centre=0.1))
    with pytest.raises(ConfigError, match="go together"):
        filter_set(out, SetLimits(max_training=0.1), encoder=encoder)
    foreign = Embeddings(("0",), CONTEXTS.embeddings[:1], {"encoder": "other", "encoder_sha256": "f" * 64})
    with pytest.raises(InputError, match="embedded by encoder 'other'"):
        filter_set(out, SetLimits(max_training=0.1), encoder=encoder, training=foreign)
    assert files(out) == before
    sample_set(TinyGenerator(), CONTEXTS, out=tmp_path / "unmeasured", **SETTINGS)
    with pytest.raises(DataError, match=r"image 0 of identity '000000' has no similarity"):
        filter_set(tmp_path / "unmeasured", SetLimits(min_similarity=0.1))


def test_resampling_fills_up_with_new_seeds_and_keeps_what_was_dropped(out: Path) -> None:
    before, limit = files(out), middle(out)
    report = resample_set(
        TinyGenerator(), CONTEXTS, out, SetLimits(min_similarity=limit), encoder=TinyEncoder(), rounds=9
    )
    assert report.complete
    faces = read_set(out)
    assert [sum(made.kept for made in faces.rows if made.identity == who) for who in range(4)] == [4] * 4
    new = [made for made in faces.rows if made.index >= 4]
    assert report.made == len(new) == len(faces) - 16 >= 8
    assert all(made.seed == image_seed(7, made.name, made.index) for made in new)
    assert len({made.seed for made in faces.rows}) == len(faces)
    expected = [float(TinyEncoder().embed(faces.crops([n]))[0] @ CONTEXTS.embeddings[made.identity])
                for n, made in enumerate(faces.rows)]  # fmt: skip
    np.testing.assert_allclose([made.similarity for made in faces.rows], expected, atol=1e-6)
    assert {name: data for name, data in before.items() if name.endswith(".png")}.items() <= files(out).items()
    sample_set(TinyGenerator(), CONTEXTS, out=out, encoder=TinyEncoder(), **SETTINGS)
    assert read_set(out).rows == faces.rows  # sampling leaves them


def test_stopped_resampling_comes_to_the_same_set(out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    sample_set(TinyGenerator(), CONTEXTS, out=other, encoder=TinyEncoder(), **SETTINGS)
    limits = SetLimits(min_similarity=middle(out), min_centre=-0.9)
    resample_set(TinyGenerator(), CONTEXTS, out, limits, encoder=TinyEncoder(), rounds=2)

    def stop(call: int) -> None:
        if call == 1:
            raise KeyboardInterrupt

    broken = TinyGenerator()
    broken.before = stop
    with pytest.raises(KeyboardInterrupt):
        resample_set(broken, CONTEXTS, other, limits, encoder=TinyEncoder(), rounds=2)
    assert len(read_set(other)) == 16
    resample_set(TinyGenerator(), CONTEXTS, other, limits, encoder=TinyEncoder(), rounds=2)
    assert files(other) == files(out)


def test_resampling_ends_where_the_limit_cannot_be_met(out: Path) -> None:
    report = resample_set(
        TinyGenerator(), CONTEXTS, out, SetLimits(min_similarity=1.0), encoder=TinyEncoder(), rounds=2
    )
    assert (report.rounds, report.made, report.complete) == (2, 32, False)
    assert report.lacking == dict.fromkeys(CONTEXTS.names, 4)
    training = Embeddings(("0",), CONTEXTS.embeddings[:1])
    near = SetLimits(max_training=0.5)
    report = resample_set(TinyGenerator(), CONTEXTS, out, near, encoder=TinyEncoder(), training=training)
    assert (report.made, report.complete) == (0, True)  # more images would not make another person of them
    assert report.filtered.kept_identities == 3


IMPOSSIBLE = SetLimits(min_similarity=1.0)


def resampled(out: Path, rounds: int, limits: SetLimits = IMPOSSIBLE, generator: TinyGenerator | None = None) -> Any:
    report = resample_set(generator or TinyGenerator(), CONTEXTS, out, limits, encoder=TinyEncoder(), rounds=rounds)
    return report.rounds, report.made, len(read_manifest(out))


def test_the_bound_on_rounds_holds_over_all_calls(out: Path) -> None:
    assert resampled(out, 2) == (2, 32, 48)
    assert resampled(out, 2) == (2, 0, 48)  # the same call again
    assert resampled(out, 3) == (3, 16, 64)
    assert resampled(out, 1) == (3, 0, 64)
    assert resampled(out, 1, SetLimits(min_similarity=1.0, min_images=2)) == (1, 16, 80)  # other limits, counted anew
    (out / "resample.json").write_text("{")
    with pytest.raises(DataError, match=r"resample\.json: cannot be read .* count the rounds anew"):
        resampled(out, 1)


@pytest.mark.parametrize(("call", "left"), [(5, 17), (6, 16)])  # last batch of the first round, first of the second
def test_a_round_that_was_stopped_is_the_one_to_go_on_with(out: Path, tmp_path: Path, call: int, left: int) -> None:
    other = shutil.copytree(out, tmp_path / "other")
    resampled(other, 2)
    broken = TinyGenerator()

    def stop(number: int) -> None:
        if number == call:
            raise KeyboardInterrupt

    broken.before = stop
    with pytest.raises(KeyboardInterrupt):
        resampled(out, 2, generator=broken)
    assert resampled(out, 2) == (2, left, 48)
    assert files(out) == files(other)


def test_a_round_whose_rows_are_written_counts(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = shutil.copytree(out, tmp_path / "other")
    resampled(other, 2)
    write = set_filter.write_manifest

    def killed(path: Path, rows: Any) -> None:
        write(path, rows)
        if len(rows) == 32:  # those of the first round are in it
            raise KeyboardInterrupt

    monkeypatch.setattr(set_filter, "write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        resampled(out, 2)
    monkeypatch.undo()
    assert resampled(out, 2) == (2, 16, 48)
    assert files(out) == files(other)


def test_a_set_that_was_put_back_to_before_its_rounds_begins_anew(out: Path) -> None:
    before = (out / "manifest.parquet").read_bytes()
    resampled(out, 2)
    (out / "manifest.parquet").write_bytes(before)
    assert resampled(out, 2) == (2, 0, 48)  # from the pictures that are there


def test_resampling_needs_the_set_s_own_networks(out: Path, generator: TinyGenerator, encoder: TinyEncoder) -> None:
    before, limits = files(out), SetLimits(min_similarity=0.99)
    with pytest.raises(InputError, match="contexts_sha256"):
        resample_set(generator, uniform_contexts(4, seed=1, width=64), out, limits, encoder=encoder)
    with pytest.raises(InputError, match="encoder_sha256"):
        resample_set(generator, CONTEXTS, out, limits)
    generator.sha256 = "b" * 64
    with pytest.raises(InputError, match=rf"generator_sha256 {'a' * 12} \(tiny generator\), got {'b' * 12};"):
        resample_set(generator, CONTEXTS, out, limits, encoder=encoder)
    with pytest.raises(ConfigError, match="rounds"):
        resample_set(generator, CONTEXTS, out, limits, encoder=encoder, rounds=0)
    assert files(out) == before


def boards(folder: Path, contexts: Embeddings, order: list[int]) -> None:
    """For each name, the picture whose embedding is about the context of row `order[row]`."""
    folder.mkdir()
    for name, row in zip(contexts.names, order, strict=True):
        board = np.clip(contexts.embeddings[row].reshape(8, 8) * 300 + 127.5, 0, 255).astype(np.uint8)
        Image.fromarray(board.repeat(14, 0).repeat(14, 1)[..., None].repeat(3, 2)).save(folder / f"{name}.png")


def test_context_images_are_found_by_name_not_by_order(tmp_path: Path) -> None:
    names = ("10", "9", "2", "a/b")  # files sort otherwise
    people = Embeddings(names, CONTEXTS.embeddings)
    sample_set(TinyGenerator(), people, out=tmp_path / "set", encoder=TinyEncoder(), **SETTINGS)
    (tmp_path / "faces/a").mkdir(parents=True)
    boards(tmp_path / "all", Embeddings(("10", "9", "2", "b"), people.embeddings), [0, 1, 2, 3])
    for name, where in (("10", "10"), ("9", "9"), ("2", "2"), ("b", "a/b")):
        (tmp_path / f"all/{name}.png").rename(tmp_path / f"faces/{where}.png")
    found = pictures_by_name(tmp_path / "faces", names)
    added = add_context_images(tmp_path / "set", found, people, TinyEncoder(), copies=2)
    faces = read_set(tmp_path / "set")
    assert (added, len(faces)) == (8, 24)
    new = [(number, made) for number, made in enumerate(faces.rows) if made.sampler == "context"]
    assert [(made.identity, made.index) for _, made in new] == [(who, index) for who in range(4) for index in (4, 5)]
    for number, made in new:
        np.testing.assert_array_equal(faces.image(number), np.asarray(Image.open(found[made.name])))
        cosines = people.embeddings @ TinyEncoder().embed(faces.crops([number]))[0]
        assert cosines.argmax() == made.identity
        assert made.similarity == pytest.approx(float(cosines.max()), abs=1e-6)
    assert (
        "8 of the images are the pictures that the identities were taken from" in (tmp_path / "set/card.md").read_text()
    )
    with pytest.raises(InputError, match="already"):
        add_context_images(tmp_path / "set", found, people, TinyEncoder())
    report = resample_set(TinyGenerator(), people, tmp_path / "set", SetLimits(), encoder=TinyEncoder())
    assert report.made == 0


@pytest.mark.parametrize("place", ["write_image", "write_set_card", "write_manifest"])
def test_adding_that_was_killed_is_done_by_the_next_call(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    boards(tmp_path / "faces", CONTEXTS, [0, 1, 2, 3])
    found = pictures_by_name(tmp_path / "faces", CONTEXTS.names)
    other, work = shutil.copytree(out, tmp_path / "other"), getattr(context_images, place)
    add_context_images(other, found, CONTEXTS, TinyEncoder(), copies=2)
    calls: list[str] = []

    def killed(*args: Any, **more: Any) -> None:
        calls.append(place)
        if len(calls) == 4 or place != "write_image":
            raise KeyboardInterrupt
        work(*args, **more)

    monkeypatch.setattr(context_images, place, killed)
    with pytest.raises(KeyboardInterrupt):
        add_context_images(out, found, CONTEXTS, TinyEncoder(), copies=2)
    monkeypatch.undo()
    assert add_context_images(out, found, CONTEXTS, TinyEncoder(), copies=2) == 8
    assert files(out) == files(other)


def test_swapped_or_missing_context_images_add_nothing(out: Path, tmp_path: Path, encoder: TinyEncoder) -> None:
    before = files(out)
    boards(tmp_path / "swapped", CONTEXTS, [0, 2, 1, 3])
    found = pictures_by_name(tmp_path / "swapped", CONTEXTS.names)
    with pytest.raises(DataError, match="identity '000001' is more like '000002'"):
        add_context_images(out, found, CONTEXTS, encoder)
    with pytest.raises(InputError, match=r"'000003' has no picture \(1 of 4"):
        add_context_images(out, {name: found[name] for name in CONTEXTS.names[:3]}, CONTEXTS, encoder)
    with pytest.raises(InputError, match="other contexts"):
        add_context_images(out, found, uniform_contexts(4, seed=1, width=64), encoder)
    with pytest.raises(ConfigError, match="copies"):
        add_context_images(out, found, CONTEXTS, encoder, copies=0)
    Image.new("RGB", (50, 60)).save(tmp_path / "swapped/000000.png")
    with pytest.raises(DataError, match="50 x 60 px, expected an aligned crop"):
        add_context_images(out, found, CONTEXTS, encoder)
    (tmp_path / "swapped/000003.jpg").touch()
    with pytest.raises(InputError, match=r"both 000003\.jpg and 000003\.png"):
        pictures_by_name(tmp_path / "swapped", CONTEXTS.names)
    assert files(out) == before


class Bright:
    """Finds a face, shifted by two pixels, where the picture is bright in the middle."""

    name = "bright"

    def detect(self, image: np.ndarray) -> list[Face]:
        assert image.shape == (128, 128, 3)
        aside = Face((0.0, 0.0, 20.0, 20.0), ARCFACE_TEMPLATE * 0.1, 0.99)
        centre = Face((8.0, 8.0, 120.0, 120.0), ARCFACE_TEMPLATE + 10, 0.9)
        return [aside, centre] if image[60:68, 60:68].mean() > 127 else []


def test_a_generator_of_unaligned_faces(tmp_path: Path, generator: TinyGenerator, encoder: TinyEncoder) -> None:
    plain, aligned = tmp_path / "plain", tmp_path / "aligned"
    sample_set(generator, CONTEXTS, out=plain, image_size=128, **SETTINGS)
    sample_set(generator, CONTEXTS, out=aligned, align=Bright(), encoder=encoder, **SETTINGS)
    wholes, crops = read_set(plain), read_set(aligned)
    assert 0 < crops.kept.sum() < 16
    for number in range(16):
        whole = wholes.image(number)
        assert crops.kept[number] == (whole[60:68, 60:68].mean() > 127)
        if crops.kept[number]:
            difference = np.abs(crops.image(number).astype(int) - whole[10:122, 10:122].astype(int))
            assert difference.max() <= 1
        else:
            assert crops.rows[number].reason == "no face found"
    before = files(aligned)
    (aligned / "manifest.parquet").unlink()
    (aligned / crops.rows[5].file).unlink()
    sample_set(generator, CONTEXTS, out=aligned, align=Bright(), encoder=encoder, **SETTINGS)
    assert files(aligned) == before
    assert "found and warped by bright" in (aligned / "card.md").read_text()
    with pytest.raises(InputError, match=r'align \("bright" there, null asked\)'):
        sample_set(generator, CONTEXTS, out=aligned, encoder=encoder, **SETTINGS)
    with pytest.raises(ConfigError, match="aligned pictures are 112 px"):
        sample_set(generator, CONTEXTS, out=tmp_path / "new", align=Bright(), image_size=128, **SETTINGS)


def test_a_generator_of_embeddings_that_had_other_lengths_is_refused(tmp_path: Path, generator: TinyGenerator) -> None:
    generator.card = {**generator.card, "architecture": {"unit_embeddings": False}}
    with pytest.raises(InputError, match="not of unit length, as its card says"):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", force=True, **SETTINGS)
    assert not (tmp_path / "set").exists()
