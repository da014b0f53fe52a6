"""`facewright evaluate personalised` on a small base model made here, with a face finder that needs no face."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.evaluation.tiny_clip import save_tiny_clip
from tests.personalise.small_base import bundle
from tests.personalise.tiny_base import TEXT_WIDTH, save_tiny

from facewright.cli.app import run
from facewright.cli.evaluate_personalised_groups import spread_groups
from facewright.personalise import Mapper, Mapping, MappingConfig, PictureConfig, draw_pictures, load_base, save_mapper
from facewright.personalise.prompt_classifier import PromptClassifier, PromptClassifierConfig, save_prompt_classifier
from facewright.weights.store import bundled_cards

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base model, mapper and CLIP."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = Mapping(MappingConfig(identity_width=512, width=32, word_width=TEXT_WIDTH)).eval()
    facts = {"name": "small", "data": "none", "licence": "Apache-2.0", "recipe": "untrained"}
    save_mapper(folder / "m.safetensors", Mapper(network), encoder_sha256=bundled_cards()["encoder"].sha256, **facts)
    save_tiny(folder / "base")
    save_tiny_clip(folder / "tiny_clip")
    judge = PromptClassifier(PromptClassifierConfig(stem=4, widths=(4,))).eval()
    save_prompt_classifier(folder / "p.safetensors", judge, **{**facts, "name": "judge"}, measured={"accuracy": 0.25})
    return folder


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Three people of two photos, one of a single photo without a folder."""
    chance = np.random.default_rng(0)
    for name in ("ann/1.png", "ann/2.png", "bob/1.png", "bob/2.png", "cleo/1.png", "cleo/2.png"):
        path = tmp_path / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (120, 120, 3), np.uint8)).save(path)
    Image.fromarray(chance.integers(0, 256, (120, 120, 3), np.uint8)).save(tmp_path / "people" / "dan.png")
    return tmp_path / "people"


def arguments(models: Path, people: Path, out: Path, prompts: str, *more: str) -> list[str]:
    protocol = out.parent / f"prompts-{out.name}.csv"
    protocol.write_text(prompts)
    names = ["--protocol", str(protocol), "--people", str(people), "--base", str(models / "base")]
    quick = ["--mapper", str(models / "m.safetensors"), "--steps=1", "--resamples=50", *more]
    return ["evaluate", "personalised", str(out), *names, *quick]


SINGLE = "prompt,category\na photo of {},plain\n{} on the beach,context\n"


def test_one_person_is_drawn_measured_and_shown(
    models: Path, people: Path, tmp_path: Path, drawn: list[Sequence[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, page, figures = tmp_path / "single", tmp_path / "page.html", tmp_path / "figures.json"
    nouns = tmp_path / "nouns.csv"
    nouns.write_text("identity,noun\nann,a woman\n")
    more = ["--count=2", "--batch=2", "--nouns", str(nouns), "--clip", str(models / "tiny_clip")]
    call = arguments(models, people, out, SINGLE, *more, "--report", str(page), "--json", str(figures))
    assert run(call) == 0
    assert drawn == [range(2)] * 8
    read = json.loads(figures.read_text())
    assert (read["pictures"], read["identities"], read["people_in_each"]) == (16, 4, 1)
    assert read["complete"]["value"] == 1
    assert read["scorers"][0]["made_the_pictures"] is True
    own = read["encoders"]["slimfacenet"]
    scores = [row["identity"]["slimfacenet"] for row in read["each"]]
    assert own["identity"]["value"] == pytest.approx(np.mean(scores))
    assert own["identity"]["interval"][0] <= own["identity"]["value"] <= own["identity"]["interval"][1]
    assert own["swapped"] is None
    assert own["copy_paste"]["count"] == 12  # dan has no further photo
    text = read["prompts"]["clip tiny_clip"]["value"]
    harmonic = read["harmonic_mean"]["slimfacenet"]["clip tiny_clip"]["value"]
    assert harmonic == pytest.approx(2 * text * np.mean(scores) / (text + np.mean(scores)) if text > 0 else 0)
    assert {name: kind["pictures"] for name, kind in read["categories"].items()} == {"plain": 8, "context": 8}
    assert {row["prompt"] for row in read["each"] if row["people"] == ["ann"]} == {
        "a photo of a woman",
        "a woman on the beach",
    }
    shown = page.read_text()
    assert shown.count("<figcaption>a woman on the beach") == 2
    assert not any(outside in shown for outside in ('src="http', 'href="http', "url("))
    assert "16 pictures of 4 people" in capsys.readouterr().out

    (out / "bob" / "01" / "001.png").unlink()
    drawn.clear()
    assert run(call) == 0
    assert drawn == [range(1, 2)]
    assert json.loads(figures.read_text())["each"] == read["each"]
    assert run([*call, "--guidance=3"]) == 2
    assert "settings.guidance 5.0, now it is 3.0" in capsys.readouterr().err


def test_pairs_have_swaps_and_places(
    models: Path, people: Path, tmp_path: Path, drawn: list[Sequence[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "multi", tmp_path / "figures.json"
    more = ["--count=1", "--width=64", "--layout=columns", "--groups=3", "--json", str(figures)]
    call = arguments(models, people, out, "prompt\n{} and {} on the beach\n", *more)
    assert run(call) == 0
    assert len(drawn) == 3
    pairs = [tuple(path.name.split("+")) for path in sorted(out.iterdir())]
    assert pairs == sorted(spread_groups(["ann", "bob", "cleo", "dan"], 2, 3, seed=42))
    assert {name for pair in pairs for name in pair} == {"ann", "bob", "cleo", "dan"}
    own = json.loads(figures.read_text())["encoders"]["slimfacenet"]
    assert own["right"]["value"] == pytest.approx(1 - own["swapped"]["value"])
    assert "people in each other's places" in capsys.readouterr().out


def test_a_classifier_judges_what_the_prompts_ask(
    models: Path, people: Path, tmp_path: Path, drawn: list[Sequence[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    figures, page, nouns = tmp_path / "figures.json", tmp_path / "page.html", tmp_path / "nouns.csv"
    nouns.write_text("identity,noun\nann,a woman\nbob,an old man\n")
    judged = ["--prompts", str(models / "p.safetensors"), "--clip", str(models / "tiny_clip"), "--nouns", str(nouns)]
    call = arguments(models, people, tmp_path / "out", f"{SINGLE}{{}} at night,style\n", "--count=1", *judged)
    assert run([*call, "--json", str(figures), "--report", str(page)]) == 0
    read = json.loads(figures.read_text())
    assert [scorer["name"] for scorer in read["prompt_scorers"]] == ["clip tiny_clip", "judge"]
    assert read["prompt_scorers"][1]["measured"] == {"accuracy": 0.25}
    assert len(read["prompt_scorers"][1]["sha256"]) == 64
    counts = {name: found["count"] for name, found in read["prompts"].items()}
    assert counts == {"clip tiny_clip": 12, "judge": 8, "judge style": 8, "judge gender": 4, "judge age": 2}
    for row in read["each"]:
        own = row["prompts"]
        parts = [own[f"judge {head}"] for head in ("style", "gender", "age")]
        asked = [part for part in parts if part is not None]
        assert own["judge"] == (pytest.approx(np.mean(asked)) if asked else None)
        assert len(asked) == (0 if "beach" in row["prompt"] else {"a": 1, "w": 2, "o": 3}[_first(row["people"])])
    told = capsys.readouterr().out
    assert "mean of identity and judge" in told
    assert "mean of identity and judge style" not in told
    assert "judge style" in told
    assert "Its card: accuracy 0.250." in page.read_text()


def _first(people: list[str]) -> str:
    """Whether a person, a woman or an old man is drawn."""
    return {"ann": "w", "bob": "o"}.get(people[0], "a")


def test_words_that_say_nothing_are_named_before_anything_is_drawn(
    people: Path,
    tmp_path: Path,
    drawn: list[Sequence[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle(tmp_path / "bundled", monkeypatch)
    protocol = tmp_path / "mine.csv"
    protocol.write_text(f"prompt\na pencil drawing of {{}} in a kitchen\n{'a ' * 40}{{}} at night\n")
    call = ["evaluate", "personalised", str(tmp_path / "out"), "--protocol", str(protocol), "--people", str(people)]
    assert run([*call, "--steps=1", "--count=1", "--groups=2", "--negative=dogs", "--resamples=0"]) == 0
    said = capsys.readouterr().err.splitlines()
    [unread] = [place for place, line in enumerate(said) if "has read no caption with 'kitchen', 'dogs', so" in line]
    [cut] = [place for place, line in enumerate(said) if line.startswith("2 prompts are too long; left out of 'a a ")]
    assert said[cut].endswith(" at night")
    assert max(unread, cut) < next(place for place, line in enumerate(said) if line.startswith("drawing"))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--clip=nowhere"], "nowhere holds no CLIP model"),
        (["--scorer=nowhere.safetensors"], "no such weights file"),
        (["--prompts=nowhere.safetensors"], "no such weights file"),
        (["--encoder=nowhere.safetensors"], "no such weights file"),
        (["--groups=0"], "greater than or equal to 1"),
    ],
)
def test_what_measures_is_looked_at_before_anything_is_drawn(
    models: Path,
    people: Path,
    tmp_path: Path,
    drawn: list[Sequence[int]],
    more: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(arguments(models, people, tmp_path / "out", SINGLE, *more)) == 2
    assert sentence in capsys.readouterr().err
    assert not drawn


def test_pairs_that_fit_no_windows_are_refused_before_anything_is_loaded(
    models: Path,
    people: Path,
    tmp_path: Path,
    drawn: list[Sequence[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("facewright.cli.evaluate_personalised_drawing.Studio", None)
    call = arguments(models, people, tmp_path / "out", "prompt\n{} and {}\n{} behind {}\n", "--groups=2")
    assert run([*call, "--layout=columns", "--regions=windows"]) == 2
    assert "windows need people who are named one after another" in capsys.readouterr().err
    assert not drawn


def test_pictures_of_another_number_of_people_are_refused_before_any_is_drawn(
    models: Path, people: Path, tmp_path: Path, drawn: list[Sequence[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    single = arguments(models, people, out, SINGLE, "--count=1", "--groups=1")
    assert run(single) == 0
    before = len(drawn)
    assert run(arguments(models, people, out, "prompt\n{} and {}\n", "--count=1", "--groups=1")) == 2
    said = capsys.readouterr().err
    assert "shows 1, the protocol" in said
    assert "name another folder" in said
    assert len(drawn) == before
    assert run(arguments(models, people, out, SINGLE, "--count=1", "--groups=1")) == 0


def test_without_the_people_the_base_model_draws_the_nouns(
    models: Path, people: Path, tmp_path: Path, drawn: list[Sequence[int]]
) -> None:
    nouns = tmp_path / "nouns.csv"
    nouns.write_text("identity,noun\nann,a woman\n")
    out = tmp_path / "out"
    more = ["--alpha=0", "--count=2", "--groups=1", "--picture-seed=7", "--nouns", str(nouns)]
    assert run(arguments(models, people, out, SINGLE, *more)) == 0
    for number, prompt in enumerate(("a photo of a woman", "a woman on the beach")):
        config = PictureConfig(steps=1, guidance=5.0)
        plain = draw_pictures(load_base(models / "base"), prompt, (), config, numbers=[0, 1], seed=7).images
        for place, image in enumerate(plain):
            with Image.open(out / "ann" / f"{number:02d}" / f"{place:03d}.png") as picture:
                assert np.array_equal(np.asarray(picture), image)


def test_what_personalise_wrote_is_measured(
    models: Path, people: Path, tmp_path: Path, drawn: list[Sequence[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    models_given = ["--base", str(models / "base"), "--mapper", str(models / "m.safetensors"), "--steps=1"]
    call = ["personalise", "ann on the beach", f"--face=ann={people / 'ann' / '1.png'}", *models_given]
    assert run([*call, "--out", str(tmp_path / "out" / "one")]) == 0
    assert run(["evaluate", "personalised", str(tmp_path / "out"), "--json", str(tmp_path / "figures.json")]) == 0
    read = json.loads((tmp_path / "figures.json").read_text())
    row = json.loads((tmp_path / "out" / "one" / "pictures.json").read_text())["pictures"][0]
    assert read["each"][0]["cosines"]["slimfacenet"]["ann"] == pytest.approx(row["cosines"]["ann"], abs=1e-6)
    assert read["encoders"]["slimfacenet"]["identity"]["interval"] is None
    (people / "ann" / "1.png").write_bytes((people / "ann" / "2.png").read_bytes())
    capsys.readouterr()
    assert run(["evaluate", "personalised", str(tmp_path / "out")]) == 2
    assert "the photo of ann that the pictures were made from is gone or another one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--scorer=a", "--scorer=b", "--scorer=c", "--scorer=d"], "at most 3 times, got 4"),
        (["--protocol=single"], "needs --people"),
        (["--protocol=quadruple", "--people=."], "is no protocol; name single or multi"),
        (["--people=nowhere"], "nowhere is no folder"),
        (["--clip=nowhere"], "holds no pictures.json"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    more: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "face.png")
    assert run(["evaluate", "personalised", str(tmp_path / "out"), *more]) == 2
    assert sentence in capsys.readouterr().err
