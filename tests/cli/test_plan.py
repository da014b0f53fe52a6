"""The plan command: every checked-in config is planned, and what it says follows from the config."""

import json
from pathlib import Path

import pytest

from facewright.cli import app
from facewright.cli.plan_work import read_work

SMALL = """name = "small"
[recipe]
data = "faces"
network = "slimfacenet"
people = 1000
faces = 5000
[recipe.schedule]
epoch = 5000
images = 20000
batch = 64
parts = 8
optimiser = "sgd"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_every_recipe_and_config_is_read_as_its_kind(root: Path) -> None:
    recipes = sorted((root / "recipes").glob("*.toml"))
    assert len(recipes) >= 5
    for path in recipes:
        named = read_work(path)
        schedule = named.work.schedule
        if named.kind != "recogniser":
            assert named.kind in path.name
            continue
        assert schedule.images % schedule.batch == 0, "so that several processes can train it"
        assert schedule.images / (named.work.images or 0) == pytest.approx(
            round(schedule.images / named.work.images), abs=0.01
        )
        assert all(length < schedule.images for length in schedule.milestones)
    for kind in ("encoder", "autoencoder", "generator"):
        assert read_work(root / "configs" / f"{kind}.toml").kind == kind
    assert read_work(root / "configs" / "recogniser.toml").kind == "recogniser"


def test_the_seed_recipe_has_the_published_rates(root: Path) -> None:
    schedule = read_work(root / "recipes" / "casia_ir50_arcface.toml").work.schedule
    assert schedule.epoch == 490_623
    rates = {epoch: schedule.rate_at(epoch * schedule.epoch + 600) for epoch in (0, 21, 22, 27, 28, 31, 32, 39)}
    assert list(rates.values()) == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])


def test_a_plan_for_a_device(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "plan.json"
    assert app.run(["plan", str(config), "--device", "a100-8", "--json", str(figures)]) == 0
    shown = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["parameters"] == 4_675_488
    assert found["head_parameters"] == 512_000
    assert found["images"] == 64 * round(20_000 / 64)
    assert found["epochs"] == pytest.approx(4.0, rel=0.01)
    assert found["steps"] == round(20_000 / 64)
    assert found["processes"] == 8
    assert found["hours"] == pytest.approx(found["images"] / found["images_per_s"] / 3600)
    assert "small: slimfacenet with arcface over 1,000 people" in shown
    assert "4.7 M, and 0.5 M in the head of 1,000 people" in shown
    assert "by operations from iresnet50 at" in shown
    assert "benchmarks/train/nvidia_a100.md" in shown


def test_settings_override_the_file(config: Path, tmp_path: Path) -> None:
    figures = tmp_path / "plan.json"
    call = ["plan", str(config), "recipe.people=2000", "recipe.faces=10000", "--json", str(figures)]
    assert app.run(call) == 0
    found = json.loads(figures.read_text())
    assert found["head_parameters"] == 1_024_000
    assert found["images"] == 64 * round(40_000 / 64), "the schedule keeps its epochs"
    assert "hours" not in found


def test_measuring_here(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "plan.json"
    assert app.run(["plan", str(config), "--measure", "--seconds", "0.1", "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["measured"]["device"] == "cpu"
    assert found["measured"]["batch"] == 8
    assert found["images_per_s"] < found["measured"]["images_per_s"], "the head costs too"
    assert "images/s on cpu" in capsys.readouterr().out


def test_too_little_memory_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["plan", str(config), "recipe.network=iresnet100", "recipe.schedule.batch=8192", "--device", "a10-8"]
    assert app.run(call) == 0
    assert "do not fit into 22 GiB; raise schedule.parts" in capsys.readouterr().err


def test_the_head_is_left_out_where_nobody_says_how_many_people(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "plan.json"
    assert app.run(["plan", str(config), "recipe.people=none", "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())["head_parameters"] == 0
    assert "without its table, whose size the data says: recipe.people=NUMBER counts it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["--device", "a100"], "unknown device 'a100'. Did you mean a100-8?"),
        (["recipe.network=ir50"], "unknown network 'ir50'. Did you mean ir_50?"),
        (["recipe.schedule.parts=4", "--device", "a100-8"], "8 devices cannot share a batch of 4 parts"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    settings: list[str], said: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["plan", str(config), *settings]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("text", ["pack = 3\nwrong = 4\n", "no toml at all"])
def test_a_file_that_is_no_config(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    assert app.run(["plan", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert app.run(["plan", str(tmp_path / "none.toml")]) == 2
    assert "no such config file; see recipes/" in capsys.readouterr().err
