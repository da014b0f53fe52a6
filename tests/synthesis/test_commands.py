"""The commands embed, contexts and sample, with the small networks in place of the bundled ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from tests.synthesis.tiny import tiny_card
from tests.training.toys import write_toy_pack
from typer.testing import CliRunner

from facewright import diffusion, encoders
from facewright.cli import contexts, embed, sample
from facewright.data.embeddings import read_embeddings, write_embeddings
from facewright.data.sets import read_set
from facewright.errors import FaceError, InputError
from facewright.synthesis import EmbeddingStatistics, save_statistics, uniform_contexts
from facewright.weights import Card


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch, generator: Any, encoder: Any) -> None:
    monkeypatch.setattr(encoders, "load", lambda name, *, device: encoder, raising=False)
    monkeypatch.setattr(diffusion, "load", lambda name, *, device: generator, raising=False)
    monkeypatch.setattr(diffusion, "load_card", lambda name: tiny_card(type(generator)))


def run(*arguments: str | Path) -> str:
    """The command's stdout; its error where it raises one."""
    app = typer.Typer()
    for command in (embed, contexts, sample):
        command.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, FaceError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def crops(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        board = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(board.repeat(14, 0).repeat(14, 1)).save(folder / f"{number}.png")
    return folder


def test_from_contexts_to_a_set(tmp_path: Path) -> None:
    said = run("contexts", "uniform", "--count", "3", "--seed", "5", "--width", "64", "--out", tmp_path / "people.npz")
    assert "3 identities, 64 wide, uniform" in said
    people = read_embeddings(tmp_path / "people.npz")
    np.testing.assert_array_equal(people.embeddings, uniform_contexts(3, seed=5, width=64).embeddings)
    arguments = ("--contexts", tmp_path / "people.npz", "--per-identity", 2, "--out", tmp_path / "set")
    said = run("sample", *arguments, "--steps", 3, "--json", tmp_path / "figures.json")
    assert "6 images of 3 identities, 0 of them made before" in said
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["images"], figures["made"]) == (6, 6)
    assert 0.5 < figures["mean_similarity"] <= 1
    assert read_set(tmp_path / "set").config["steps"] == 3
    assert "6 of them made before" in run("sample", *arguments, "--steps", 3)
    with pytest.raises(InputError, match="steps"):
        run("sample", *arguments, "--steps", 4)


def test_sampling_without_a_measuring_encoder(tmp_path: Path) -> None:
    run("contexts", "uniform", "--count", "2", "--width", "64", "--out", tmp_path / "people.npz")
    people = ("--contexts", tmp_path / "people.npz", "--per-identity", 1)
    said = run("sample", *people, "--encoder", "none", "--image-size", 128, "--out", tmp_path / "set")
    assert "cosine" not in said
    assert read_set(tmp_path / "set").rows[0].similarity is None
    assert read_set(tmp_path / "set").image(0).shape == (128, 128, 3)


def test_embed_and_photos(tmp_path: Path) -> None:
    source = crops(tmp_path / "crops", 3)
    (source / "torn.png").write_bytes(b"torn")
    said = run("embed", source, "--out", tmp_path / "crops.npz")
    assert "3 embeddings, 64 wide, encoder tiny encoder" in said
    assert "1 picture left out" in said
    assert read_embeddings(tmp_path / "crops.npz").names == ("0.png", "1.png", "2.png")
    said = run("contexts", "photos", source, "--crops", "--out", tmp_path / "people.npz")
    assert "3 identities, 64 wide, photos; 1 photo left out" in said
    assert read_embeddings(tmp_path / "people.npz").names == ("0", "1", "2")


def test_embed_a_pack(tmp_path: Path) -> None:
    pack = write_toy_pack(tmp_path / "pack", people=30, poses=2, unknown=0)
    run("embed", pack, "--out", tmp_path / "seen.npz")
    run("embed", pack, "--held-out", "--out", tmp_path / "unseen.npz")
    seen, unseen = (read_embeddings(tmp_path / f"{part}.npz").names for part in ("seen", "unseen"))
    assert len({*seen, *unseen}) == 60
    source = crops(tmp_path / "crops", 2)
    with pytest.raises(InputError, match="--held-out is of packs"):
        run("embed", source, "--held-out", "--out", tmp_path / "x.npz")
    with pytest.raises(InputError, match="leave --align out"):
        run("embed", pack, "--align", "--out", tmp_path / "x.npz")


def test_fitted_to_a_file_of_statistics_or_of_embeddings(tmp_path: Path) -> None:
    statistics = EmbeddingStatistics(np.eye(8)[0], np.eye(8)[1:3], np.array([0.5, 0.4]), 0.3)
    card = Card("reference", "contexts", {}, "drawn", "Apache-2.0", "by hand")
    save_statistics(tmp_path / "s.safetensors", statistics, card)
    out = ("--count", 4, "--out", tmp_path / "new.npz")
    assert "4 identities, 8 wide, fitted" in run("contexts", "fitted", *out, "--like", tmp_path / "s.safetensors")
    real = uniform_contexts(30, seed=0, width=8)
    write_embeddings(tmp_path / "real.npz", real.names, real.embeddings, provenance={"encoder_sha256": "e" * 64})
    near = ("--min-angle", 0.3, "--avoid", tmp_path / "real.npz")
    run("contexts", "fitted", *out, "--like", tmp_path / "real.npz", "--rank", 4, *near, "--force")
    new = read_embeddings(tmp_path / "new.npz")
    assert new.provenance["encoder_sha256"] == "e" * 64
    assert new.provenance["avoided_sha256"] == real.sha256
    assert (new.embeddings @ real.embeddings.T).max() <= np.cos(0.3) + 1e-6


def test_missing_inputs_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of embeddings"):
        run("sample", "--contexts", tmp_path / "a.npz", "--per-identity", 1, "--out", tmp_path / "set")
    with pytest.raises(InputError, match="does not exist"):
        run("embed", tmp_path / "absent", "--out", tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("embed",), ("sample",), ("contexts", "uniform"), ("contexts", "fitted")])
def test_help_holds_an_example(words: tuple[str, ...]) -> None:
    assert "Example" in run(*words, "--help")


def test_contexts_of_another_project_are_imported(tmp_path: Path) -> None:
    rows = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "theirs.npy", rows)
    said = run("contexts", "import", tmp_path / "theirs.npy", "--out", tmp_path / "people.npz")
    assert "3 identities, 4 wide, imported" in said
    people = read_embeddings(tmp_path / "people.npz")
    np.testing.assert_allclose(people.embeddings, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-6)
    assert people.provenance["source"] == "theirs.npy"
