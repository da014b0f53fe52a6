"""A personaliser on drawn people, through a base model of a few thousand random weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.personalise.drawn_subjects import PixelEncoder, no_detector, write_drawn
from tests.personalise.tiny_base import SECOND_WIDTH, TEXT_WIDTH, tiny_pipeline
from torch import Tensor

from facewright.errors import ConfigError, InputError
from facewright.personalise import (
    BaseModel,
    Mapper,
    Mapping,
    MappingConfig,
    People,
    PersonaliserTraining,
    Trained,
    read_people,
    train_personaliser,
)
from facewright.training.trainer import Schedule

diffusers = pytest.importorskip("diffusers", reason="needs the extra personalise")

SCHEDULE = Schedule(
    images=12, batch=4, parts=2, learning_rate=1e-3, precision="fp32", log_every=4, save_every=4, ema_maximum=0.5
)
RECIPE = PersonaliserTraining(
    SCHEDULE, size=16, width=32, expression_width=4, most_people=2, masked=0.5, other_photo=0.5, least_window=0.8
)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline()


@pytest.fixture
def people(tmp_path: Path) -> People:
    folder = write_drawn(tmp_path / "subjects")
    return read_people(folder, PixelEncoder(), no_detector, cache=tmp_path / "cache", expression_width=4)


@pytest.fixture
def listening() -> Any:
    """A base model whose denoiser heeds the prompt, so that words have something to learn."""
    pipe = tiny_pipeline()
    with torch.no_grad():
        for name, parameter in pipe.unet.named_parameters():
            if ".attn2.to_out.0.weight" in name or ".attn2.to_v" in name:
                parameter *= 30
            if name == "conv_out.weight":
                parameter *= 8
    return pipe


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state(pipe: Any) -> dict[str, Tensor]:
    parts = {"unet": pipe.unet, "vae": pipe.vae, "text": pipe.text_encoder}
    return {f"{part}.{name}": value.clone() for part, m in parts.items() for name, value in m.state_dict().items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mode": "fuse", "localisation": 0.01, "cgdr": False, "unconditional": 0.5, "normalise": "area"},
        {"localisation": 0.01, "identity": 0.1, "identity_until": 1.0, "checkpointing": True},
    ],
    ids=["replace", "fuse", "identity"],
)
def test_only_the_mapping_changes(changes: dict[str, Any], pipe: Any, people: People, tmp_path: Path) -> None:
    before, processors = state(pipe), dict(pipe.unet.attn_processors)
    saved = list[Trained]()
    trained = train_personaliser(
        people,
        BaseModel(pipe),
        replace(RECIPE, **changes),
        out=tmp_path / "run",
        identify=PixelEncoder.identify,
        on_save=saved.append,
        measure=lambda trained, images: {"seen": float(images)},
    )
    assert same(state(pipe), before)
    assert pipe.unet.attn_processors == processors
    assert trained.denoiser is None
    assert trained.mapper.mode == changes.get("mode", "replace")
    assert len(saved) == 3
    moved = {
        name: not torch.equal(value, saved[0].mapper.mapping.state_dict()[name])
        for name, value in trained.mapper.mapping.state_dict().items()
    }
    assert all(moved.values()), moved
    if trained.mapper.fuse is not None and saved[0].mapper.fuse is not None:
        assert not same(trained.mapper.fuse.state_dict(), saved[0].mapper.fuse.state_dict())
    found = {name for row in rows(tmp_path / "run") for name in row}
    assert {"denoising", "held_out", "held_out_swapped", "held_out_noun", "held_out_around", "seen"} <= found
    assert ("localisation" in found, "identity" in found) == ("localisation" in changes, "identity" in changes)
    assert trained.mapper.words(torch.from_numpy(people.embedding[0, 0])).shape == (2, TEXT_WIDTH)


def test_the_loss_falls_on_one_drawn_person(listening: Any, tmp_path: Path) -> None:
    folder = write_drawn(tmp_path / "subjects", people=1, photos=1, pairs=0, held_out=0)
    people = read_people(
        folder, PixelEncoder(), no_detector, cache=tmp_path / "cache", expression_width=4, held_out=0.0
    )
    schedule = replace(SCHEDULE, images=192, parts=1, learning_rate=3e-2, log_every=32, save_every=192)
    recipe = replace(
        RECIPE, schedule=schedule, cgdr=False, masked=1.0, normalise="area", mirrored=0.0, least_window=1.0, dropout=0.0
    )
    train_personaliser(people, BaseModel(listening), recipe, out=tmp_path / "run")
    losses = [row["denoising"] for row in rows(tmp_path / "run")]
    assert losses[-1] < 0.6 * losses[0], losses


def test_cgdr_keeps_the_words_out_of_the_background(listening: Any, people: People, tmp_path: Path) -> None:
    around = {}
    for cgdr in (False, True):
        schedule = replace(SCHEDULE, images=96, parts=1, learning_rate=3e-2, log_every=96, save_every=96)
        recipe = replace(RECIPE, schedule=schedule, cgdr=cgdr, masked=0.0)
        train_personaliser(people, BaseModel(listening), recipe, out=tmp_path / f"{cgdr}")
        [around[cgdr]] = [row["held_out_around"] for row in rows(tmp_path / f"{cgdr}") if "held_out_around" in row]
    assert around[True] < 0.5 * around[False], around


@pytest.mark.parametrize("mode", ["replace", "fuse"])
def test_a_run_that_is_broken_off_ends_as_the_unbroken_one(
    mode: str, pipe: Any, people: People, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, mode=mode, localisation=0.01)
    whole = train_personaliser(people, BaseModel(pipe), recipe, out=tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(trained: Trained) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        train_personaliser(people, BaseModel(pipe), recipe, out=tmp_path / "broken", on_save=stop)
    torch.manual_seed(99)
    resumed = train_personaliser(people, BaseModel(pipe), recipe, out=tmp_path / "broken")
    assert same(whole.mapper.mapping.state_dict(), resumed.mapper.mapping.state_dict())
    one, other = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "broken"))
    assert same(one["module"], other["module"])
    changed = replace(recipe, schedule=replace(SCHEDULE, images=16))
    with pytest.raises(ConfigError, match="holds a run with another schedule"):
        train_personaliser(people, BaseModel(pipe), changed, out=tmp_path / "broken")


def test_the_words_begin_as_those_of_a_person(pipe: Any, people: People, tmp_path: Path) -> None:
    seen = list[Tensor]()

    def keep(trained: Trained) -> None:
        seen.append(trained.mapper.words(torch.from_numpy(people.embedding[0, 0])))

    schedule = replace(SCHEDULE, images=4, learning_rate=1e-9, ema_maximum=None)
    train_personaliser(people, BaseModel(pipe), replace(RECIPE, schedule=schedule), out=tmp_path / "run", on_save=keep)
    noun = BaseModel(pipe).noun_embedding(["a", "person"])
    assert seen[0].shape == noun.shape
    cosines = torch.cosine_similarity(seen[0], noun)
    assert float(cosines.min()) > 0.9, cosines


@pytest.mark.parametrize("trained", ["attention", "denoiser"])
def test_the_denoiser_learns_where_it_is_asked_to(trained: str, pipe: Any, people: People, tmp_path: Path) -> None:
    before = state(pipe)
    recipe = replace(RECIPE, mode="fuse", trained=trained, localisation=0.01, unconditional=0.2)
    made = train_personaliser(people, BaseModel(pipe), recipe, out=tmp_path / "run")
    assert same(state(pipe), before), "the base model itself stays as it is"
    assert made.denoiser is not None
    changed = {
        name for name, value in made.denoiser.state_dict().items() if not torch.equal(value, before[f"unet.{name}"])
    }
    keys = {name for name in pipe.unet.state_dict() if ".attn2.to_k." in name or ".attn2.to_v." in name}
    assert keys <= changed
    assert (changed == keys) == (trained == "attention")


def test_stable_diffusion_xl(people: People, tmp_path: Path) -> None:
    trained = train_personaliser(people, BaseModel(tiny_pipeline(large=True)), RECIPE, out=tmp_path / "run")
    assert trained.mapper.words(torch.from_numpy(people.embedding[0, 0])).shape == (2, TEXT_WIDTH + SECOND_WIDTH)


def test_a_mapper_to_start_from(pipe: Any, people: People, tmp_path: Path) -> None:
    torch.manual_seed(3)
    start = Mapper(Mapping(MappingConfig(48, 4, 32, TEXT_WIDTH)))
    saved = list[Trained]()
    schedule = replace(SCHEDULE, images=4, learning_rate=1e-9, weight_decay=0.0)
    recipe = replace(RECIPE, schedule=schedule)
    train_personaliser(people, BaseModel(pipe), recipe, out=tmp_path / "run", start=start, on_save=saved.append)
    for name, value in start.mapping.state_dict().items():
        assert torch.allclose(saved[0].mapper.mapping.state_dict()[name], value, atol=1e-7), name
    other = Mapper(Mapping(MappingConfig(48, 4, 32, TEXT_WIDTH + 1)))
    with pytest.raises(InputError, match=r"mapper to start from is replace with .*word_width=33.*needs replace with"):
        train_personaliser(people, BaseModel(pipe), recipe, out=tmp_path / "other", start=other)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "add"}, "mode must be replace or fuse, got 'add'"),
        ({"trained": "vae"}, "trained must be mapping or attention or denoiser, got 'vae'"),
        ({"mirrored": 1.5}, "mirrored is a share from 0 to 1, got 1.5"),
        ({"least_window": 0.0}, "least_window must be in"),
        ({"localisation": -1.0}, "weights must be at least 0"),
        ({"most_people": 0}, "most_people at least 1"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_wrong_recipes_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(RECIPE, **changes)


def test_the_identity_loss_needs_an_encoder(pipe: Any, people: People, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="identity loss needs an encoder"):
        train_personaliser(people, BaseModel(pipe), replace(RECIPE, identity=1.0), out=tmp_path / "run")
