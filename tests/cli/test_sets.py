"""The commands of contexts, sample and set that search, share, filter and fill up, with small networks."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from tests.synthesis.test_contexts import narrow
from tests.synthesis.test_generated import Nobody
from tests.synthesis.tiny import TinyEncoder, TinyGenerator, tiny_card
from typer.testing import CliRunner

from facewright import diffusion, encoders, synthesis
from facewright.cli import contexts, sample, set_check
from facewright.data.embeddings import read_embeddings, write_embeddings
from facewright.data.sets import read_set, write_manifest
from facewright.errors import ConfigError, DataError, FaceError, InputError, WorkError
from facewright.synthesis import SampleSummary, Share, fitted_contexts, try_identities, uniform_contexts

LOAD_CARD = diffusion.load_card


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "load", lambda name, *, device: TinyEncoder())
    models = {"bundled": TinyGenerator, "nobody": Nobody}
    monkeypatch.setattr(diffusion, "load", lambda name, *, device: models[name]())
    monkeypatch.setattr(diffusion, "load_card", lambda name: tiny_card(models.get(name, TinyGenerator)))


def run(*arguments: str | Path | float) -> str:
    """The command's stdout; its error where it raises one."""
    app = typer.Typer()
    for command in (contexts, sample, set_check):
        command.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, FaceError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def people(tmp_path: Path) -> Path:
    made = uniform_contexts(4, seed=0, width=64)
    write_embeddings(tmp_path / "people.npz", made.names, made.embeddings, provenance=made.provenance)
    return tmp_path / "people.npz"


@pytest.fixture
def out(tmp_path: Path, people: Path) -> Path:
    run("sample", "--contexts", people, "--per-identity", 4, "--steps", 2, "--batch", 3, "--out", tmp_path / "set")
    return tmp_path / "set"


def middle(out: Path) -> float:
    return float(np.median([row.similarity for row in read_set(out).rows if row.similarity is not None]))


def test_packed_contexts(tmp_path: Path) -> None:
    said = run("contexts", "packed", "--count", 6, "--width", 3, "--out", tmp_path / "packed.npz")
    assert "1.571 rad after" in said
    assert "6 identities, 3 wide, packed" in said
    real = fitted_contexts(40, narrow(), seed=0)
    write_embeddings(tmp_path / "real.npz", real.names, real.embeddings, provenance=real.provenance)
    near = ("--count", 9, "--iterations", 3, "--out", tmp_path / "near.npz")
    run("contexts", "packed", *near, "--like", tmp_path / "real.npz", "--rank", 4)
    assert read_embeddings(tmp_path / "near.npz").provenance["encoder_sha256"] == "e" * 64
    before = (tmp_path / "near.npz").read_bytes()
    other = ("contexts", "packed", *near, "--gallery", tmp_path / "real.npz", "--pull", 2)
    with pytest.raises(InputError, match=r"near\.npz holds something else"):
        run(*other)
    run("contexts", "packed", *near, "--like", tmp_path / "real.npz", "--rank", 4)
    assert (tmp_path / "near.npz").read_bytes() == before
    run(*other, "--force")
    assert read_embeddings(tmp_path / "near.npz").provenance["pull"] == 2


def test_balanced_contexts(tmp_path: Path) -> None:
    real = fitted_contexts(20, narrow(), seed=0)
    names = [f"{'ab'[number % 2]}/{number}" for number in range(20)]
    write_embeddings(tmp_path / "real.npz", names, real.embeddings, provenance={})
    arguments = ("contexts", "balanced", "--per-group", 3, "--like", tmp_path / "real.npz", "--rank", 3, "--force")
    assert "3 of each of a, b" in run(*arguments, "--out", tmp_path / "new.npz")
    groups = tmp_path / "groups.csv"
    groups.write_text("".join(f"{name},{'xyz'[number % 3]}\n" for number, name in enumerate(names)))
    assert "3 of each of x, y, z" in run(*arguments, "--groups", groups, "--out", tmp_path / "new.npz")
    assert read_embeddings(tmp_path / "new.npz").names[-1] == "z/000002"
    for text, said in (("a/1\n", "line 1 is not of the form"), ("a/1,x\na/1,y\n", "line 2 names 'a/1' a second time")):
        groups.write_text(text)
        with pytest.raises(DataError, match=said):
            run(*arguments, "--groups", groups, "--out", tmp_path / "new.npz")
    write_embeddings(tmp_path / "real.npz", [*map(str, range(20))], real.embeddings, provenance={})
    with pytest.raises(DataError, match="holds no folder to tell its group"):
        run(*arguments, "--out", tmp_path / "new.npz")


def test_unconditional_contexts_and_their_end(tmp_path: Path) -> None:
    search = ("contexts", "unconditional", "--generator", "nobody", "--faces", tmp_path / "faces", "--batch", 8)
    said = run(*search, "--count", 3, "--out", tmp_path / "new.npz", "--json", tmp_path / "new.json")
    assert "3 identities, 64 wide, generated; 3 of 3 identities found in 8 draws" in said
    assert json.loads((tmp_path / "new.json").read_text())["found"] == 3
    few = ("--count", 20, "--min-angle", 1.5, "--max-draws", 24, "--out", tmp_path / "few.npz")
    with pytest.raises(WorkError, match=r"of 20 identities found in 24 draws: .* holds those found"):
        run(*search, *few)
    assert 0 < len(read_embeddings(tmp_path / "few.npz")) < 20


def test_contexts_are_filtered_by_trial_samples(tmp_path: Path, people: Path) -> None:
    chosen = ("contexts", "filter", people, "--out", tmp_path / "chosen.npz")
    assert "4 of 4 identities found" in run(*chosen, "--min-angle", 0.5, "--min-to-context", 0.1, "--trials", 2)
    assert "generated" not in run(*chosen, "--min-pairwise", 0.1, "--trials", 2, "--json", tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["inconsistent"] == 0
    made = uniform_contexts(4, seed=0, width=64)
    write_embeddings(people, made.names, made.embeddings, provenance={"encoder": "x", "encoder_sha256": "f" * 64})
    with pytest.raises(FaceError, match="made by encoder 'x'"):
        run(*chosen, "--min-pairwise", 0.1)


def test_the_first_contexts_that_pass_are_kept(tmp_path: Path, people: Path) -> None:
    out, figures = tmp_path / "chosen.npz", tmp_path / "figures.json"
    search = ("contexts", "filter", people, "--out", out, "--json", figures)
    assert "2 identities, 64 wide, uniform; 2 of 2 identities found in 2 draws" in run(*search, "--count", 2)
    assert read_embeddings(out).names == ("000000", "000001")
    with pytest.raises(ConfigError, match=r"count must lie in \[1, 4\], for no more are in .*people\.npz, got 5"):
        run(*search, "--count", 5)
    assert read_embeddings(out).names == ("000000", "000001")
    trials = (*search, "--trials", 2, "--batch", 4, "--force")
    rows = read_embeddings(people)
    held = try_identities(TinyGenerator(), TinyEncoder(), rows.names, rows.embeddings, samples=2, batch=4).to_context
    limit = float(np.sort(held)[1:3].mean())
    with pytest.raises(WorkError, match=r"2 of 3 identities found in 4 draws: 2 proved inconsistent; .* --force"):
        run(*trials, "--count", 3, "--min-to-context", limit)
    passing = tuple(name for name, cosine in zip(rows.names, held, strict=True) if cosine >= limit)
    assert read_embeddings(out).names == passing
    assert json.loads(figures.read_text())["found"] == 2
    assert "1 identity, 64 wide, uniform; 1 of 1 identity" in run(*trials, "--count", 1, "--min-to-context", limit)
    assert read_embeddings(out).names == passing[:1]


def test_drawing_and_trials_follow_the_generator_s_card(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"sampler": "ddpm", "steps": 2, "guidance": 1.5}
    monkeypatch.setattr(diffusion, "load_card", lambda name: tiny_card(TinyGenerator, sampling=few))
    given: list[tuple[Any, ...]] = []
    sample = TinyGenerator.sample

    def listen(self: TinyGenerator, *args: Any, **options: Any) -> Any:
        given.append(tuple(options[key] for key in few))
        return sample(self, *args, **options)

    monkeypatch.setattr(TinyGenerator, "sample", listen)
    chosen = (
        "contexts",
        "filter",
        people,
        "--force",
        "--min-to-context",
        0,
        "--trials",
        2,
        "--out",
        tmp_path / "c.npz",
    )
    run(*chosen)
    run(*chosen, "--steps", 3, "--guidance", 1)
    run(*chosen, "--sampler", "ddim")
    assert given == [("ddpm", 2, 1.5), ("ddpm", 3, 1.0), ("ddim", 25, 1.0)]
    given.clear()
    nobody = ("contexts", "unconditional", "--count", 2, "--batch", 2, "--force", "--out", tmp_path / "n.npz")
    for number, more in enumerate(((), ("--steps", 3), ("--sampler", "ddim"))):
        run(*nobody, "--faces", tmp_path / f"faces{number}", *more)
    assert given == [("ddpm", 2, 0.0), ("ddpm", 3, 0.0), ("ddim", 25, 0.0)]
    with pytest.raises(InputError, match="drawn with another sampler, steps; give the same"):
        run(*nobody, "--faces", tmp_path / "faces2")
    made = read_embeddings(tmp_path / "n.npz").provenance
    assert (made["sampler"], made["steps"]) == ("ddim", 25)


@pytest.mark.parametrize("command", [("sample", "--per-identity", 1), ("sample", "--per-identity", 1, "--workers", 2)])
def test_contexts_of_another_width_are_refused_before_anything_is_loaded(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str | int, ...]
) -> None:
    def load(name: str, *, device: str) -> None:
        raise AssertionError("the networks were loaded")

    monkeypatch.setattr(diffusion, "load", load)
    monkeypatch.setattr(encoders, "load", load)
    monkeypatch.setattr(diffusion, "load_card", LOAD_CARD)  # the bundled generator's own, for embeddings 512 wide
    with pytest.raises(DataError, match=r"people\.npz: embeddings are 64 wide, expected 512") as refused:
        run(*command, "--contexts", people, "--out", tmp_path / "set")
    assert refused.value.exit_code == 2
    with pytest.raises(DataError, match="embeddings are 64 wide, expected 512"):
        run("contexts", "filter", people, "--min-pairwise", 0.1, "--out", tmp_path / "chosen.npz")
    monkeypatch.setattr(diffusion, "load_card", lambda name: tiny_card(Nobody))
    with pytest.raises(InputError, match="knows no identities"):
        run(*command, "--contexts", people, "--out", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["people.npz"]


def test_a_set_is_checked_against_its_own_contexts_and_plan(tmp_path: Path, people: Path, out: Path) -> None:
    figures = tmp_path / "check.json"
    assert "to context" in run("set", "check", out, "--contexts", people, "--json", figures)
    assert (json.loads(figures.read_text())["made"], json.loads(figures.read_text())["planned"]) == (16, 16)
    others = uniform_contexts(4, seed=1, width=64)
    write_embeddings(people, others.names, others.embeddings, provenance={})
    with pytest.raises(InputError, match=r"was not made from .*people.npz; give the contexts"):
        run("set", "check", out, "--contexts", people)
    write_manifest(out, read_set(out).rows[:7])
    assert "7 of 16 pictures; complete it with the same sample command" in run("set", "check", out)


@pytest.mark.parametrize("count", [0, 3])
def test_contexts_that_cannot_be_sampled_are_named(tmp_path: Path, count: int) -> None:
    made = uniform_contexts(3, seed=0, width=32)
    write_embeddings(tmp_path / "few.npz", made.names[:count], made.embeddings[:count], provenance={})
    with pytest.raises(FaceError, match=r"few\.npz(: embeddings are 32 wide| holds no identity)"):
        run("sample", "--contexts", tmp_path / "few.npz", "--per-identity", 2, "--out", tmp_path / "set")
    with pytest.raises(InputError, match=r"is a folder, expected an \.npz; facewright contexts photos"):
        run("sample", "--contexts", tmp_path, "--per-identity", 2, "--out", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_shares_of_a_set(tmp_path: Path, people: Path, out: Path) -> None:
    arguments = ("sample", "--contexts", people, "--per-identity", 4, "--steps", 2, "--batch", 3)
    part = (*arguments, "--out", tmp_path / "shared")
    assert "other shares have images to make" in run(*part, "--share", "1/2", "--json", tmp_path / "part.json")
    assert json.loads((tmp_path / "part.json").read_text())["complete"] is False
    assert "other shares" not in run(*part, "--share", "2/2")
    for path in out.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "shared" / path.relative_to(out)).read_bytes()
    with pytest.raises(ConfigError, match="a share is i/n"):
        run(*part, "--share", "3/2")
    with pytest.raises(ConfigError, match="threads"):
        run(*part, "--threads", 0)


def test_workers_get_what_the_command_was_given(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def work(load: Any, contexts: Any, **options: Any) -> SampleSummary:
        given.update(options, load=load, contexts=contexts)
        return SampleSummary(tmp_path, 4, 8, 8, 1.0, None)

    monkeypatch.setattr(synthesis, "sample_with_workers", work)
    run("sample", "--contexts", people, "--per-identity", 2, "--out", tmp_path / "s", "--workers", 3, "--share", "1/2")
    assert (given["workers"], given["threads"], given["share"], given["align"]) == (3, 1, Share(1, 2), None)
    generator, encoder = pickle.loads(pickle.dumps(given["load"]))(2)  # noqa: S301 - our own object, made a line before
    assert (generator.name, encoder.name) == ("tiny generator", "tiny encoder")


def test_filter_resample_and_card(tmp_path: Path, people: Path, out: Path) -> None:
    limit = f"{middle(out):.4f}"
    said = run("set", "filter", out, "--min-similarity", limit, "--json", tmp_path / "filter.json")
    assert "8 of 16 images kept" in said
    assert "dropped 8: unlike its context" in said
    assert json.loads((tmp_path / "filter.json").read_text())["kept"] == 8
    resample = ("set", "resample", out, "--contexts", people)
    with pytest.raises(WorkError, match="4 identities still lack images, '000000' 4"):
        run(*resample, "--min-similarity", 1, "--rounds", 1)
    said = run(*resample, "--min-similarity", limit, "--rounds", 9, "--json", tmp_path / "resample.json")
    assert json.loads((tmp_path / "resample.json").read_text())["lacking"] == {}
    assert "4 of 4 identities" in said
    said = run("set", "card", out, "--licence", "poses=CC BY-NC 4.0")
    assert "CC BY-NC 4.0 (from the poses, read as: non-commercial)" in said
    assert "- poses: CC BY-NC 4.0" in (out / "card.md").read_text()
    run("set", "card", out, "--licence", "generator=CC0")
    assert "- generator: Apache-2.0" in (out / "card.md").read_text(), "what it states itself stays"
    with pytest.raises(ConfigError, match="INPUT=TEXT"):
        run("set", "card", out, "--licence", "CC0")


def test_oversampling_from_drawn_faces(tmp_path: Path) -> None:
    search = ("contexts", "unconditional", "--generator", "nobody", "--faces", tmp_path / "faces", "--batch", 4)
    run(*search, "--count", 3, "--out", tmp_path / "new.npz")
    run("sample", "--contexts", tmp_path / "new.npz", "--per-identity", 2, "--steps", 2, "--out", tmp_path / "set")
    add = ("set", "oversample", tmp_path / "set", "--contexts", tmp_path / "new.npz", "--copies", 2)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("".join(f"000000{number},faces/000000{(number + 1) % 3}.png\n" for number in range(3)))
    with pytest.raises(DataError, match="is more like"):
        run(*add, "--pictures", pairs)
    assert "6 images added, 2 of each of 3 identities" in run(*add, "--pictures", tmp_path / "faces")
    assert len(read_set(tmp_path / "set")) == 12


COMMANDS = [
    *(("contexts", name) for name in ("packed", "balanced", "unconditional", "filter")),
    *(("set", name) for name in ("filter", "resample", "oversample", "card")),
]


@pytest.mark.parametrize("words", COMMANDS)
def test_help_holds_an_example(words: tuple[str, str]) -> None:
    assert "Example" in run(*words, "--help")
