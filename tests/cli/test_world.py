"""`facewright world`, and that what it writes is read by the commands that come after it."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.cli.sides import Sides
from tests.training.toys import write_toy_pack

from facewright.cli.app import run
from facewright.cli.configs import read_config
from facewright.cli.evaluate_personalised_drawing import read_nouns, read_people
from facewright.cli.train_runs_base import BaseRun
from facewright.cli.train_runs_personalise import PersonaliserRun
from facewright.cli.world_run import WorldFoldersRun
from facewright.data.packs import read_pack
from facewright.evaluation.personalised_protocols import read_protocol
from facewright.personalise.prompt_classifier import PromptClassifier, PromptClassifierConfig, save_prompt_classifier
from facewright.personalise.subject_folder import SubjectFolder
from facewright.personalise.world_captions import read_caption
from facewright.personalise.world_styles import STYLES

CONFIG = (
    'pack = "faces"\ndata = "drawn faces"\nlicence = "Apache-2.0"\ncount = 6\nheld_out_count = 3\npeople = 2\n'
    "[world]\nsize = 32\npeople = [0.6, 0.4]\nsides = [[0.75, 0.9], [0.5, 0.6]]\n"
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Faces of 60 people, of two poses each; the faces are found by whom it costs nothing."""
    monkeypatch.setattr("facewright.cli.world_run.load_detector", lambda name: Sides())
    write_toy_pack(tmp_path / "faces", people=60, poses=2, unknown=8)
    (tmp_path / "world.toml").write_text(CONFIG)
    return tmp_path / "world.toml"


def test_scenes_and_people_are_written_and_completed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["world", str(config), str(out)]) == 0
    assert f"people  2 held-out people with 4 photos in {out / 'people'}" in capsys.readouterr().out
    subjects = SubjectFolder(out / "subjects")
    assert (len(subjects.ids), len(subjects.held_out_ids or ())) == (9, 3)
    pack = read_pack(tmp_path / "faces")
    kept = {f"person {label}" for label in pack.labels[~pack.held_out & (pack.labels >= 0)]}
    for name in subjects.ids[:6]:
        shown = {segment.person for segment in subjects.record(name).segments if "person " in str(segment.person)}
        assert shown <= kept
    people = read_people(out / "people")
    assert set(read_nouns(out / "nouns.csv", list(people)).values()) == {"a person"}
    for name, photos in people.items():
        rows = np.flatnonzero(pack.labels == int(name.removeprefix("person")))
        assert pack.held_out[rows].all()
        for photo, row in zip(photos, rows, strict=True):
            with Image.open(photo) as written:
                assert np.array_equal(np.asarray(written), pack.images[row])

    gone, left = out / "subjects" / "00000" / "0000002.json", next(iter(people.values()))[0]
    before = left.stat().st_mtime_ns
    gone.unlink()
    assert run(["world", str(config), str(out)]) == 0
    assert gone.is_file()
    assert left.stat().st_mtime_ns == before


def test_another_world_in_the_folder_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["world", str(config), str(out), "count=1", "held_out_count=0"]) == 0
    call = ["world", str(config), str(out), "count=1", "held_out_count=0"]
    for setting, said in (
        ("count=2", "another count; give"),
        ("photos_each=1", "another photos_each"),
        ("styles_said=false", "another styles_said; give"),
        ("seed=1", "another held-out scenes, scenes, seed"),
        ("world.plain=0.5", "another held-out scenes, scenes; give the same, or another folder"),
    ):
        assert run([*call, setting]) == 2
        assert said in capsys.readouterr().err
    assert json.loads((out / "world.json").read_text())["licence"] == "Apache-2.0"
    (out / "world.json").write_text("{}")
    assert run(call) == 2
    assert "world.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("people=30", "30 held-out people with 2 photos or more are asked for, the pack has"),
        ("people=0", "must be at least 1 and held_out_count at least 0, got 6, 0, 2 and 3"),
        ("cuont=3", "unknown key cuont. Did you mean count?"),
        ("prompts=none.safetensors", "none.safetensors: no such weights file"),
        ("pack=nowhere", "nowhere is not a face pack"),
    ],
)
def test_bad_settings_are_one_sentence(
    config: Path, tmp_path: Path, setting: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["world", str(config), str(tmp_path / "out"), setting]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["world", str(config), str(tmp_path / "faces")]) == 2
    assert "is not an empty folder, and holds no world.json" in capsys.readouterr().err


def test_a_classifier_says_who_is_what(config: Path, tmp_path: Path) -> None:
    """One that takes everybody for a young woman makes all nouns "a woman", and captions say so."""
    network = PromptClassifier(PromptClassifierConfig(stem=4, widths=(4,))).eval()
    answers = {"style": 0, "gender": 1, "age": 1}
    for name, answer in answers.items():
        head: Any = network.heads[name]
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        head.bias.data[answer] = 9
    card = {"name": "toy", "data": "none", "licence": "Apache-2.0", "recipe": "by hand"}
    save_prompt_classifier(tmp_path / "p.safetensors", network, **card)
    assert run(["world", str(config), str(tmp_path / "out"), f"prompts={tmp_path / 'p.safetensors'}"]) == 0
    with (tmp_path / "out" / "nouns.csv").open(newline="") as stream:
        assert {row["noun"] for row in csv.DictReader(stream)} == {"a woman"}
    subjects = SubjectFolder(tmp_path / "out" / "subjects")
    captions = [read_caption(subjects.record(name).caption) for name in subjects.ids]
    said = {(person.gender, person.age) for _, people in filter(None, captions) for person in people}
    assert ("woman", "young") in said
    assert said <= {(gender, age) for gender in ("woman", None) for age in ("young", None)}


def test_the_checked_in_configs_are_of_one_world(root: Path) -> None:
    world = read_config(WorldFoldersRun, root / "configs/world.toml")
    base = read_config(BaseRun, root / "configs/base.toml")
    for key in ("pack", "tables", "manifest", "prompts", "sure"):
        assert getattr(world, key) == getattr(base, key), key
    unnamed = replace(base.world.said, named=0.0)  # the subjects of a personaliser are named by their nouns
    assert world.world == replace(base.world, said=unnamed)
    personaliser = read_config(PersonaliserRun, root / "configs/world_personaliser.toml")
    assert personaliser.checks is not None
    assert all(read_caption(prompt.replace("{person}", "a person")) for prompt in personaliser.checks.prompts)


@pytest.mark.parametrize(("name", "people", "times"), [("world_single", 1, 2), ("world_pairs", 2, 1)])
def test_the_checked_in_protocols_are_in_the_world_s_words(root: Path, name: str, people: int, times: int) -> None:
    protocol = read_protocol(root / "configs" / f"{name}.csv")
    assert protocol.people == people
    read = [read_caption(prompt.named(["a woman", "an old man"][:people])) for prompt in protocol.prompts]
    assert sorted(style for style, _ in filter(None, read)) == sorted(STYLES * times)
    assert all(found is not None and len(found[1]) == people for found in read)
    assert len({prompt.template for prompt in protocol.prompts}) == len(protocol.prompts)
    assert {prompt.category for prompt in protocol.prompts} == {"plain", "style", "background"}
