"""Recipes of stages: one command from faces to figures, broken off anywhere and gone on with, changes refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.cli import tiny_recipe
from tests.synthesis.test_generated import Nobody
from tests.synthesis.tiny import TinyEncoder, TinyGenerator, tiny_card

from facewright import diffusion, encoders, synthesis
from facewright.cli import app, run_processes
from facewright.cli.run_recipe import read_recipe
from facewright.cli.run_stages import RULES, calls_of
from facewright.cli.run_state import RunState
from facewright.data.sets import read_manifest
from facewright.weights import read_card

ROOT = Path(tiny_recipe.__file__).parents[2]


def hashes(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
    }


def kill_in(folder: Path, *settings: str, when: str) -> None:
    """Start the run and kill its process, with no chance to save anything, once two files match `when`."""
    call = [sys.executable, "-m", "tests.cli.tiny_recipe", str(folder), *settings]
    process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 400
    while len(list((folder / "run").glob(when))) < 2:
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.fail(f"the run ended by itself: {process.communicate()[1].decode()}")
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.timeout(900)
def test_from_faces_to_figures_and_killed_while_it_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny_recipe.write_recipe(tmp_path)
    whole, killed = tmp_path / "whole", tmp_path / "run"
    figures = tmp_path / "figures.json"
    assert app.run(["run", str(recipe), "--out", str(whole), "--json", str(figures)]) == 0
    shown = capsys.readouterr()
    assert "[4/10] set: facewright sample --contexts=" in shown.err
    assert "benchmarks: accuracy " in shown.out
    assert ", published 0.9917 (a paper)" in shown.out
    stages = json.loads(figures.read_text())["stages"]
    assert [stage["state"] for stage in stages] == ["done"] * 10
    [measured] = stages[-1]["measured"]
    assert measured["value"] == json.loads((whole / "benchmarks.json").read_text())["accuracy"]
    rows = read_manifest(whole / "set")
    assert len(rows) == 12, "three pictures of each of three people, and the one that they were taken from"
    assert not (whole / "before").exists()

    settings = (f"autoencoder.given={whole / 'autoencoder' / 'autoencoder.safetensors'}", "--until", "shards")
    kill_in(tmp_path, *settings, when="set/images/*/*.png")
    assert not (killed / "set" / "manifest.parquet").exists() or len(read_manifest(killed / "set")) < 12
    assert app.run(["run", str(recipe), *settings, "--out", str(killed)]) == 0
    shown = capsys.readouterr()
    assert "10 stages, 2 done, 1 skipped, 7 left" in shown.err
    assert "begun    set" in shown.err
    assert "left     recogniser" in shown.out
    generators = [read_card(folder / "generator" / "generator.safetensors").sha256 for folder in (whole, killed)]
    assert generators[0] == generators[1]
    assert hashes(killed / "set") == hashes(whole / "set")
    assert hashes(killed / "shards") == hashes(whole / "shards")


CHEAP = """
[[stage]]
name = "people"
command = "contexts unconditional"
count = 3
generator = "nobody"
faces = "{run}/faces"

[[stage]]
name = "set"
command = "sample"
contexts = "{people}"
per-identity = 3
steps = 2
batch = 2

[[stage]]
name = "filled"
command = "set resample"
set = "{set}"
contexts = "{people}"
min-similarity = 0.88
rounds = 3

[[stage]]
name = "more"
command = "set oversample"
set = "{filled}"
contexts = "{people}"
pictures = "{run}/faces"
copies = 2

[[stage]]
name = "shards"
command = "set export"
set = "{more}"
to = "webdataset"

[[stage]]
name = "check"
command = "set check"
set = "{more}"
"""


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "load", lambda name, *, device: TinyEncoder())
    models = {"bundled": TinyGenerator, "nobody": Nobody}
    monkeypatch.setattr(diffusion, "load", lambda name, *, device: models[name]())
    monkeypatch.setattr(diffusion, "load_card", lambda name: tiny_card(models.get(name, TinyGenerator)))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "cheap.toml").write_text(CHEAP)
    return tmp_path / "cheap.toml"


def go(recipe: Path, *more: str, out: str = "run") -> int:
    return app.run(["run", str(recipe), "--out", str(recipe.parent / out), *more])


@pytest.mark.usefixtures("small_networks")
def test_broken_off_just_before_each_stage_is_noted_as_done(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The work is done and nothing says so: what a stage changed in place or refuses to overwrite is in its way."""
    assert go(recipe, out="whole") == 0
    finish = RunState.finish
    stages = ["people", "set", "filled", "more", "shards", "check"]
    for stage in stages:

        def torn(self: RunState, name: str, seconds: float, stage: str = stage) -> None:
            if name == stage:
                raise KeyboardInterrupt
            finish(self, name, seconds)

        with monkeypatch.context() as patch:
            patch.setattr(RunState, "finish", torn)
            assert go(recipe) == 130
        assert "the same command again continues" in capsys.readouterr().err
        if stage == "shards":
            (tmp_path / "run" / ".shards.left").mkdir()
    assert go(recipe) == 0
    assert "6 stages, 5 done, 0 skipped, 1 left" in (said := capsys.readouterr().err)
    assert "begun    check" in said
    ours, theirs = (hashes(tmp_path / name, but=("run.json",)) for name in ("run", "whole"))
    reports = [name for name in theirs if name.endswith(".json") and "/" not in name]  # seconds, and their own paths
    for name in reports:
        del ours[name], theirs[name]
    assert ours == theirs
    assert not list((tmp_path / "run").glob(".*"))
    assert not (tmp_path / "run" / "before").exists()
    assert len(read_manifest(tmp_path / "run" / "set")) == 9 + 3 + 6, "three were replaced, and six added"


@pytest.mark.usefixtures("small_networks")
def test_a_changed_recipe_is_refused_by_name(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert go(recipe, "--until", "set") == 0
    before = hashes(tmp_path / "run")
    capsys.readouterr()
    assert go(recipe, "set.per_identity=4", "shards.to=folder") == 2
    said = capsys.readouterr().err
    assert 'set.per-identity (3 there, 4 asked); shards.to ("webdataset" there, "folder" asked)' in said
    assert go(recipe, "set.per_identity=4", "--amend") == 2
    assert "no finished stage may change" in capsys.readouterr().err
    assert hashes(tmp_path / "run") == before
    assert go(recipe, "shards.to=folder", "--amend") == 0
    assert go(recipe) == 2, "the change is part of the run now"
    assert "shards.to" in capsys.readouterr().err
    assert go(recipe, "shards.to=folder", "--status") == 0
    assert "6 stages, 6 done, 0 skipped, 0 left" in capsys.readouterr().out
    (tmp_path / "run" / "run.json").write_text("{")
    assert go(recipe) == 2
    assert "run.json: cannot be read" in capsys.readouterr().err


@pytest.mark.usefixtures("small_networks")
def test_a_setting_of_a_config_file_counts_as_the_recipe(tmp_path: Path) -> None:
    recipe = tiny_recipe.write_recipe(tmp_path)
    written = read_recipe(recipe, ["recogniser.settings.recipe.schedule.images=8"]).written()
    assert written["recogniser.config.recipe.schedule.images"] == 8
    assert written["recogniser.config.recipe.data"] == "{shards}"
    assert written["generator.config.recipe.network.width"] == 32
    assert not [key for key in written if "published" in key]


@pytest.mark.usefixtures("small_networks")
def test_given_until_and_a_result_that_went_missing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go(recipe, "--until", "people", out="first") == 0
    monkeypatch.chdir(tmp_path)
    given = "people.given=./first/people.npz"
    capsys.readouterr()
    assert go(recipe, given, "--until", "set") == 0
    shown = capsys.readouterr()
    assert f"skipped  people  given as {tmp_path / 'first' / 'people.npz'}" in shown.err
    assert not (tmp_path / "run" / "people.npz").exists()
    (tmp_path / "run" / "set").rename(tmp_path / "elsewhere")
    assert go(recipe, given) == 2
    assert "needs" in (said := capsys.readouterr().err)
    assert "of stage set, which is done; restore it" in said
    assert go(recipe, "people.given=./none.npz", out="other") == 2
    assert "none.npz does not exist" in capsys.readouterr().err
    assert go(recipe, out="elsewhere") == 2
    assert "is there and holds no run.json" in capsys.readouterr().err


@pytest.mark.usefixtures("small_networks")
def test_sigterm_and_a_failing_stage(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminated(*given: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "sample_set", terminated)
        assert go(recipe) == 130
    assert signal.getsignal(signal.SIGTERM) is handler
    state = json.loads((tmp_path / "run" / "run.json").read_text())
    assert list(state["done"]) == ["people"]
    assert state["begun"]["set"] > 0
    capsys.readouterr()
    assert go(recipe, "filled.rounds=1", out="failing") == 1
    said = capsys.readouterr().err
    assert "facewright: stage filled: 1 identity still lacks images" in said
    assert "finished stages are kept in" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('command = "sample"', 'command = "smaple"'), "'smaple' is no command for a stage. Did you mean sample?"),
        (("per-identity = 3", "per-identiy = 3"), "sample has no per-identiy. Did you mean per-identity?"),
        (("per-identity = 3", "per-identity = 'x'"), "stage set: Invalid value for '--per-identity'"),
        (("per-identity = 3", ""), "stage set: Missing option '--per-identity'"),
        (('"{people}"\nper', '"{poeple}"\nper'), "refers to {poeple}, and no stage before it has that name. Did"),
        (('name = "more"', 'name = "set"'), "two stages are called set"),
        (('name = "more"', 'name = "Mo re"'), "stage 4 needs a name"),
        (('command = "sample"', ""), "stage set needs a command"),
        (('[[stage]]\nname = "people"', 'device = 3\n[[stage]]\nname = "people"'), "move it into its stage"),
        (('set = "{set}"', 'set = "./absent"'), "absent does not exist"),
        (("batch = 2", "processes = 0"), "processes must be a number of at least 1"),
        (("batch = 2", "given = 3"), "given must be the path of a result"),
        (("[[stage]]", "[[stages]]"), "move it into its stage"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_and_writes_nothing(
    change: tuple[str, str], said: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert change[0] in CHEAP
    recipe.write_text(CHEAP.replace(*change))
    assert go(recipe) == 2
    shown = capsys.readouterr()
    last = shown.err.splitlines()[-1]
    assert said in last
    assert last.startswith("facewright: ")
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == [recipe]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("sett.steps=3",), "'sett.steps=3' sets no stage of"),
        (("steps=3",), "write STAGE.KEY=VALUE"),
        (("--until", "sets"), "has no stage 'sets'. Did you mean set?"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    more: tuple[str, ...], said: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(recipe, *more) == 2
    assert said in capsys.readouterr().err


def test_paths_flags_and_lists_reach_the_command(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    recipe = tmp_path / "some" / "r.toml"
    recipe.write_text(
        '[[stage]]\nname = "a"\ncommand = "evaluate verification"\npairs = ["lfw", "calfw"]\nroot = "../marks"\n'
        'encoder = "./e.safetensors"\nmirror = false\nsubtract-mean = true\nfar = 1e-4\n'
        '[[stage]]\nname = "b"\ncommand = "sample"\ncontexts = "people.npz"\nper_identity = 2\n'
        "guidance-interval = [0.1, 0.9]\nguidance = -1\nprocesses = 2\n"
    )
    first, second = calls_of(read_recipe(recipe), tmp_path / "run", device="cuda", processes=4)
    given = first.context.params
    assert given["pairs"] == ["lfw", "calfw"]
    assert (given["root"], given["encoder"]) == (tmp_path / "marks", str(tmp_path / "some" / "e.safetensors"))
    assert (given["mirror"], given["subtract_mean"], given["far"], given["device"]) == (False, True, 1e-4, "cuda")
    assert given["json_file"] == first.result == tmp_path / "run" / "a.json"
    assert set(first.inputs) == {tmp_path / "marks", tmp_path / "some" / "e.safetensors"}
    given = second.context.params
    assert given["contexts"] == tmp_path / "some" / "people.npz"
    assert (given["guidance_interval"], given["guidance"], given["workers"]) == ((0.1, 0.9), -1.0, 2)
    assert (given["out"], second.processes) == (tmp_path / "run" / "b", 1)


def test_a_training_in_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe.write_recipe(tmp_path)
    calls: list[list[str]] = []

    class Started:
        def __init__(self, call: list[str], **options: Any) -> None:
            calls.append(call)

        def wait(self, patience: float | None = None) -> int:
            return 3

    monkeypatch.setattr(run_processes.subprocess, "Popen", Started)
    several = ["--processes", "2", "--out", str(tmp_path / "run")]
    assert app.run(["run", str(recipe), *several]) == 2
    assert "stage autoencoder: 2 processes cannot share a batch of 1 parts" in capsys.readouterr().err
    parts = [f"{stage}.settings.recipe.schedule.parts=2" for stage in ("autoencoder", "generator")]
    assert app.run(["run", str(recipe), *parts, "recogniser.processes=1", *several]) == 1
    assert "stage autoencoder: train autoencoder in 2 processes ended with exit code 3" in capsys.readouterr().err
    [call] = calls
    assert call[1:7] == ["-m", run_processes.__name__, "--standalone", "--nproc-per-node=2", "-m", "facewright.cli.app"]
    assert call[7:9] == ["train", "autoencoder"]
    assert f"--out={tmp_path / 'run' / 'autoencoder'}" in call
    assert call[-2:] == [str(tmp_path / "autoencoder.toml"), "recipe.schedule.parts=2"]


def test_checked_in_recipes_are_whole(root: Path, tmp_path: Path) -> None:
    found = {}
    for path in sorted((root / "recipes").glob("*.toml")):
        if "[[stage]]" in path.read_text():
            found[path.name] = calls_of(read_recipe(path), tmp_path / "run", device="cuda", processes=8)
    assert found.keys() >= {"admis_casia.toml", "idiff_face_ffhq.toml", "methods.toml"}
    measured = [call.stage.command for call in found.pop("methods.toml")]
    ways = measured.count("sample") + measured.count(
        "set oversample"
    )  # each is a set of its own, or a set made another
    assert measured.count("evaluate set") == measured.count("evaluate leakage") == ways == 16
    exchanged = [call.stage.command for call in found.pop("exchanged_faces.toml")]
    assert exchanged.count("train recogniser") == exchanged.count("evaluate verification") == 6
    for calls in found.values():
        last = calls[-1].stage
        assert last.command == "evaluate verification"
        assert len(last.values["pairs"]) == 5
        for figures in last.published.values():
            accuracies = [figures["benchmarks"][name]["accuracy"] for name in last.values["pairs"]]
            assert sum(accuracies) / 5 == pytest.approx(figures["average_accuracy"], abs=2e-4)
    assert {"set export", "set oversample", "train recogniser"} <= {c.stage.command for c in found["admis_casia.toml"]}


def test_every_command_of_a_stage_exists() -> None:
    whole = typer.main.get_command(app.build())
    for command in RULES:
        found: Any = whole
        for word in command.split():
            found = found.commands[word]
        assert found.params
