"""Sets whose pictures begin from given ones: which, how far, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.diffusion.tiny import tiny_generator
from tests.training.toys import write_toy_pack

from facewright.data.images import to_tensor
from facewright.data.packs import read_pack
from facewright.data.sets import SetRow, read_set
from facewright.diffusion import Generator, SamplerConfig
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis import SetLimits, StartingPictures, resample_set, sample_set, uniform_contexts
from facewright.synthesis.plan import batches

CONTEXTS = uniform_contexts(3, seed=0, width=16)
GENTLY = SamplerConfig("ddim", 10, strength=0.2)


def rows(count: int, per_identity: int = 1) -> list[SetRow]:
    """Of a set of so many identities."""
    settings = {"per_identity": per_identity, "seed": 3, "batch": count * per_identity, "generator_sha256": ""}
    settings |= {"sampler": "ddim", "steps": 1, "guidance": 1.0}
    return next(batches(uniform_contexts(count, seed=1, width=16), settings))


def lent(start: StartingPictures, plan: list[SetRow], *, size: int, seed: int = 3) -> np.ndarray:
    """The pictures of a plan's people, (B, 128, 128, 3)."""
    contexts = uniform_contexts(plan[-1].identity + 1, seed=1, width=16).embeddings
    return start.lending(contexts, seed=seed, per_identity=size).pictures(plan)


@pytest.fixture
def generator() -> Generator:
    made = tiny_generator()
    made.sha256, made.encoder_sha256 = "a" * 64, None
    return made


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Five crops, each dark on its left and of one brightness on its right."""
    folder = tmp_path / "crops"
    folder.mkdir()
    for number in range(5):
        crop = np.full((112, 112, 3), 50 + 40 * number, np.uint8)
        crop[:, :56] = 0
        Image.fromarray(crop).save(folder / f"{number}.png")
    return folder


def test_each_seed_has_its_picture_or_its_mirror(faces: Path) -> None:
    start = StartingPictures(faces)
    plan = rows(200)
    drawn = start.drawn(plan)
    assert drawn.shape == (200, 128, 128, 3)
    left, right = drawn[:, 64, 20, 0], drawn[:, 64, 108, 0]
    assert ((left == 0) != (right == 0)).all(), "one side is dark"
    assert 70 < int((left == 0).sum()) < 130
    assert len(np.unique(np.maximum(left, right))) <= 5
    assert np.array_equal(start.drawn([plan[7], plan[3]]), drawn[[7, 3]]), "a picture's seed alone decides"


def test_known_people_of_a_pack_that_may_be_learnt_from(tmp_path: Path) -> None:
    path = write_toy_pack(tmp_path / "pack", people=40, poses=2, unknown=5)
    pack = read_pack(path)
    wanted = np.flatnonzero((pack.labels >= 0) & ~pack.held_out)
    assert 0 < len(wanted) < 80
    views = [view for row in wanted for view in (pack.images[row], pack.images[row][:, ::-1])]
    allowed = {np.ascontiguousarray(view).tobytes() for view in views}
    drawn = StartingPictures(path).drawn(rows(60))
    assert {picture.tobytes() for picture in drawn} <= allowed


def test_an_identity_takes_over_the_pictures_of_one_person(tmp_path: Path) -> None:
    path = write_toy_pack(tmp_path / "pack", people=40, poses=5, unknown=5)
    pack = read_pack(path)
    known = np.flatnonzero((pack.labels >= 0) & ~pack.held_out)
    people = len(np.unique(pack.labels[known]))
    start = StartingPictures(path, by="person")
    plan = rows(4 * people, 3)  # pairs: somebody on five pictures lends to two identities; then all lend again
    drawn = lent(start, plan, size=2)
    used = []
    for row, picture in zip(plan, drawn, strict=True):
        view = picture[:, ::-1] if row.index == 2 else picture
        used.append(next(number for number in known if np.array_equal(pack.images[number], view)))
    triples = np.array(used).reshape(4 * people, 3)
    assert (triples[:, 2] == triples[:, 0]).all(), "the third picture of a pair is the first in the mirror"
    whose = pack.labels[triples]
    assert (whose == whose[:, :1]).all(), "one person for each identity"
    first, again = triples[: 2 * people, :2], triples[2 * people :, :2]
    for lending in (first, again):
        assert set(np.unique(pack.labels[lending[:, 0]], return_counts=True)[1]) == {2}
        assert len(np.unique(lending)) == lending.size, "no picture twice while there are others"
    assert {*map(frozenset, first.tolist())} != {*map(frozenset, again.tolist())}, "grouped anew"
    assert not np.array_equal(lent(start, plan, size=2, seed=4), drawn), "the set's seed groups and lends"
    some = [*plan[150:153], *plan[7:9]]
    contexts = uniform_contexts(4 * people, seed=1, width=16).embeddings
    again = start.lending(contexts, seed=3, per_identity=2).pictures(some)
    assert np.array_equal(again, drawn[[150, 151, 152, 7, 8]]), "whatever the batch"


def test_people_on_too_few_pictures_lend_none(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    for person in range(15):  # some are held out
        count = person % 3 + 1
        (folder / str(person)).mkdir(parents=True)
        for number in range(count):
            crop = np.full((112, 112, 3), 40 * count, np.uint8)
            Image.fromarray(crop).save(folder / str(person) / f"{number}.png")
    for least, whose in ((1, {40, 80, 120}), (2, {80, 120}), (3, {120})):
        start = StartingPictures(folder, by="person", least=least)
        drawn = lent(start, rows(30, 2), size=2)
        assert {int(picture[64, 64, 0]) for picture in drawn} == whose
    with pytest.raises(InputError, match="has nobody on 4 pictures"):
        lent(StartingPictures(folder, by="person", least=4), rows(1), size=1)
    with pytest.raises(ConfigError, match="at least 1 picture to lend it, got 0"):
        StartingPictures(folder, by="person", least=0)


def test_who_is_on_them_must_be_known(tmp_path: Path, faces: Path) -> None:
    path = write_toy_pack(tmp_path / "pack", people=0, poses=2, unknown=30)
    assert StartingPictures(path).drawn(rows(2)).shape == (2, 128, 128, 3)
    with pytest.raises(InputError, match="does not say who is on its pictures"):
        lent(StartingPictures(path, by="person"), rows(2), size=1)
    with pytest.raises(InputError, match="has nobody on 2 pictures"):
        lent(StartingPictures(faces, by="person"), rows(2), size=1)
    with pytest.raises(ConfigError, match="begin by picture or person, got 'name'"):
        StartingPictures(path, by="name")


def test_less_strength_keeps_more_of_the_start(faces: Path, generator: Generator) -> None:
    noise = torch.randn(2, *generator.latent_shape, generator=torch.Generator().manual_seed(0))
    contexts = torch.from_numpy(CONTEXTS.embeddings[:2])
    start = to_tensor(StartingPictures(faces).drawn(rows(2)))
    kept = generator.decode(generator.autoencoder.encode(start)).detach()
    away = []
    for strength in (0.1, 0.4, 0.9):
        config = SamplerConfig("ddim", 20, strength=strength)
        made = generator.sample(contexts, noise, sampler=config, start=start)
        away.append(float((made - kept).abs().mean()))
    assert away == sorted(away)
    assert away[0] < 0.8 * away[2]
    with pytest.raises(ConfigError, match="strength 1 leaves nothing"):
        generator.sample(contexts, noise, steps=2, start=start)
    for sampler in ("unipc", "dpmpp-2s", "ddpm", "euler-ancestral"):
        config = SamplerConfig(sampler, 20, strength=0.3)
        made = generator.sample(contexts, noise, sampler=config, start=start, step_noise=lambda _: noise)
        assert torch.isfinite(made).all()


def test_a_set_begun_from_pictures(tmp_path: Path, faces: Path, generator: Generator) -> None:
    out = tmp_path / "set"
    how: dict[str, Any] = {"per_identity": 2, "batch": 4, "sampler": GENTLY, "start": StartingPictures(faces)}
    sample_set(generator, CONTEXTS, out=out, **how)
    config = json.loads((out / "config.json").read_text())
    assert config["strength"] == 0.2
    assert config["start_sha256"] == StartingPictures(faces).sha256
    card = (out / "card.md").read_text()
    assert "strength 0.2" in card
    assert f"begun from given pictures (sha256 `{config['start_sha256']}`), by picture" in card
    assert "personal data of the people on them" in card
    assert "none is a photograph" not in card
    assert "- start: not stated" in card
    files = sorted((out / "images").rglob("*.png"))
    bits = [file.read_bytes() for file in files]
    files[1].unlink()
    assert sample_set(generator, CONTEXTS, out=out, **how).made == 1
    assert [file.read_bytes() for file in files] == bits
    report = resample_set(generator, CONTEXTS, out, SetLimits(min_images=2), start=StartingPictures(faces))
    assert report.complete
    with pytest.raises(InputError, match="was made with start_sha256"):
        resample_set(generator, CONTEXTS, out, SetLimits(min_images=2))
    assert len(read_set(out).rows) == 6


def test_what_does_not_go_together(tmp_path: Path, faces: Path, generator: Generator) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for change, kind, said in (
        ({"sampler": SamplerConfig("ddim", 10)}, ConfigError, "go with a strength below 1, such as 0.25"),
        ({"start": None}, ConfigError, "strength 0.2 begins from given pictures; name some"),
        ({"sampler": SamplerConfig("ddim", 2, strength=0.0001, spacing="trailing")}, ConfigError, "leaves none of"),
        ({"start": StartingPictures(tmp_path / "nowhere")}, (DataError, InputError), "nowhere"),
        ({"start": StartingPictures(empty)}, (DataError, InputError), "empty"),
    ):
        given = {"per_identity": 2, "sampler": GENTLY, "start": StartingPictures(faces), **change}
        with pytest.raises(kind, match=said):
            sample_set(generator, CONTEXTS, out=tmp_path / "set", **given)
        assert not (tmp_path / "set").exists()
    with pytest.raises(ConfigError, match="strength must be above 0"):
        SamplerConfig(strength=0.0)
    for later in ({"guidance_interval": (0.3, 0.8)}, {"identity_from": 0.4}):
        with pytest.raises(ConfigError, match="before strength"):
            SamplerConfig(strength=0.25, **later)
    SamplerConfig(strength=0.25, guidance_interval=(0.2, 0.8), identity_from=0.2)
