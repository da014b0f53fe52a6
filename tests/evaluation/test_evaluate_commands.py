"""`facewright evaluate set`, `leakage`, `identification` and `templates`, with an encoder that measures colours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from tests.evaluation.drawn import ColourEncoder, call, picture, write_named
from torch import nn

from facewright.cli import evaluate_templates
from facewright.data.embeddings import write_embeddings
from facewright.encoders.encoder import Encoder
from facewright.errors import DataError, InputError


def figures_of(app: typer.Typer, tmp_path: Path, *arguments: object) -> tuple[dict, str]:
    said = call(app, "evaluate", *arguments, "--json", tmp_path / "out.json").output
    return json.loads((tmp_path / "out.json").read_text()), said


def crowd(path: Path, people: range, *, each: int = 2, first: int = 0) -> Path:
    """Embeddings of drawn people named PERSON/NUMBER."""
    crops = [picture(person, first + index, size=112) for person in people for index in range(each)]
    names = [f"{person}/{first + index}" for person in people for index in range(each)]
    made = {"encoder": "colours", "encoder_sha256": ColourEncoder.sha256, "mirror": False}
    write_embeddings(path, names, ColourEncoder().embed(np.stack(crops)), provenance=made)
    return path


def test_set(app: typer.Typer, faces: Path, people: Path, tmp_path: Path) -> None:
    real = crowd(tmp_path / "real.npz", range(7), first=20)
    arguments = ["--contexts", people, "--training", people, "--real", real, "--resamples", 20]
    figures, said = figures_of(app, tmp_path, "set", faces, *arguments, "--plots", tmp_path / "plots")
    assert (figures["images"], figures["identities"]) == (31, 8)
    assert figures["scores"]["genuine"] == 7 * 6 + 3
    assert figures["pyeer"]["fmr100"] >= 0
    assert 1 < figures["vendi"] <= 16
    assert 1 < figures["identity_vendi"]["mean"] < 4
    assert 0 <= figures["class_coverage"] <= 1
    assert figures["intervals"]["eer"]["over"] == "people"
    assert figures["similarity_to_context"]["median"] > 0.9
    assert figures["definitions"].keys() >= {"vendi", "pyeer", "class_uniqueness"}
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["det.svg", "histograms.svg", "roc.svg"]
    for word in ("by pyeer", "Vendi score", "U_class", "C_intra", "D_intra", "95 % bootstrap over identities"):
        assert word in said


def test_set_from_embeddings(app: typer.Typer, tmp_path: Path) -> None:
    source = crowd(tmp_path / "set.npz", range(5), each=4)
    figures, _ = figures_of(app, tmp_path, "set", source, "--resamples", 0)
    assert (figures["images"], figures["identities"], figures["intervals"]) == (20, 5, {})
    assert figures["frechet_distance"] is None
    assert "class_coverage" not in figures
    with pytest.raises(DataError, match="identity 0 has 2 generated pictures"):
        call(app, "evaluate", "set", crowd(tmp_path / "two.npz", range(3)), "--real", source)


def test_distance_to_a_population(app: typer.Typer, tmp_path: Path) -> None:
    source, others = crowd(tmp_path / "set.npz", range(5), each=4), crowd(tmp_path / "others.npz", range(50, 60))
    same, _ = figures_of(app, tmp_path, "set", source, "--population", source, "--resamples", 0)
    other, said = figures_of(app, tmp_path, "set", source, "--population", others, "--resamples", 0)
    assert same["frechet_distance"] < 1e-6 < 0.01 < other["frechet_distance"]
    assert f"Fréchet distance  {other['frechet_distance']:8.4f}" in said


def test_leakage(app: typer.Typer, faces: Path, tmp_path: Path) -> None:
    training = crowd(tmp_path / "training.npz", range(40))
    others = crowd(tmp_path / "others.npz", range(100, 120))
    arguments = ["--training", training, "--held-out", others, "--fmr", 0.001, "--listed", 5]
    figures, said = figures_of(app, tmp_path, "leakage", faces, *arguments, "--plots", tmp_path / "plots")
    assert figures["generated"]["identities"] > figures["held_out"]["identities"]
    assert figures["generated"]["images_searched"] == 31
    assert figures["training_identities"] == 40
    assert len(figures["closest"]) == 5
    assert {match["identity"] == match["person"] for match in figures["closest"]} == {True}
    assert figures["protocol"].endswith("threshold at FMR 0.001 of training people")
    assert (tmp_path / "plots" / "nearest.svg").is_file()
    assert "by chance" in said
    with pytest.raises(DataError, match="too few for an FMR of"):
        call(app, "evaluate", "leakage", faces, "--training", others)


def test_identification(app: typer.Typer, tmp_path: Path) -> None:
    gallery = crowd(tmp_path / "gallery.npz", range(10), each=1)
    probes = crowd(tmp_path / "probes.npz", range(5, 25), first=7)
    distractors = crowd(tmp_path / "more.npz", range(5, 8), each=1, first=7)
    arguments = ["--ranks", "1,3", "--fpir", "0.1", "--plots", tmp_path / "plots"]
    figures, said = figures_of(app, tmp_path, "identification", gallery, probes, *arguments)
    assert (figures["probes_with_mate"], figures["probes_without_mate"], figures["gallery_size"]) == (10, 30, 10)
    assert 0.5 < figures["rank"]["1"] <= figures["rank"]["3"] == figures["cmc"][2]
    low, high = figures["rank_interval_95"]["1"]
    assert low <= figures["rank"]["1"] <= high
    assert figures["open_set"][0]["fpir"] <= 0.1
    assert "ties count against" in said
    assert (tmp_path / "plots" / "cmc.svg").is_file()
    harder, _ = figures_of(app, tmp_path, "identification", gallery, probes, "--distractors", distractors, *arguments)
    assert harder["gallery_size"] == 13
    assert harder["rank"]["1"] < figures["rank"]["1"]  # the distractors are copies of probes
    with pytest.raises(InputError, match="--ranks takes numbers"):
        call(app, "evaluate", "identification", gallery, probes, "--ranks", "few")


def test_a_probe_without_a_face_is_never_found(app: typer.Typer, tmp_path: Path) -> None:
    for person in range(4):
        for kind, index in (("gallery", 0), ("probes", 1)):
            path = tmp_path / kind / str(person) / f"{index}.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(picture(person, index, size=112)).save(path)
    whole, _ = figures_of(app, tmp_path, "identification", tmp_path / "gallery", tmp_path / "probes")
    assert (whole["rank"]["1"], whole["probes_without_face"], whole["open_set"]) == (1.0, 0, [])
    assert "its mirror" in whole["protocol"]
    (tmp_path / "probes" / "2" / "1.png").write_bytes(b"no picture")
    figures, said = figures_of(app, tmp_path, "identification", tmp_path / "gallery", tmp_path / "probes")
    assert (figures["rank"]["1"], figures["probes_without_face"]) == (0.75, 1)
    assert "1 probes without a face" in said


@pytest.fixture
def ijb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Eight people in three templates each, each of two faces; the encoder's features are not of unit length."""
    meta, images = tmp_path / "meta", tmp_path / "images"
    meta.mkdir()
    images.mkdir()
    faces, points = [], []
    for person in range(8):
        for template in range(3):
            for face in range(2):
                name = f"{person}_{template}_{face}.png"
                Image.fromarray(picture(person, 2 * template + face, size=112)).save(images / name)
                faces.append(f"{name} {10 * person + template} {face}")
                template_points = "38.3 51.7 73.5 51.5 56.0 71.7 41.5 92.4 70.7 92.2"
                points.append(f"{name} {template_points} 0.{5 + face}")
    pairs = [
        f"{10 * one + a} {10 * two + b} {int(one == two)}"
        for one in range(8)
        for two in range(one, 8)
        for a in range(3)
        for b in range(3)
        if (one, a) < (two, b)
    ]
    for ending, lines in (("face_tid_mid", faces), ("name_5pts_score", points), ("template_pair_label", pairs)):
        (meta / f"ijbx_{ending}.txt").write_text("\n".join(lines) + "\n")

    def raw(network: ColourEncoder, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 3 * network.embed(crops), 3 * network.embed(crops[:, :, ::-1])

    monkeypatch.setattr(evaluate_templates, "_raw", raw)
    return meta, images


def test_templates(app: typer.Typer, ijb: tuple[Path, Path], tmp_path: Path) -> None:
    meta, images = ijb
    cache = tmp_path / "features.npz"
    arguments = ["templates", meta, "--images", images, "--features", cache]
    figures, said = figures_of(app, tmp_path, *arguments, "--plots", tmp_path / "plots", "--resamples", 10)
    assert (figures["benchmark"], figures["faces"], figures["templates"]) == ("ijbx", 48, 24)
    assert (figures["genuine"], figures["impostor"]) == (8 * 3, 28 * 9)
    assert figures["protocol"].startswith("N1D1F2: raw feature of the image + that of its mirror")
    assert figures["tar_at_far"].keys() == {"0.01", "0.1"}
    assert figures["tar_at_nearest_far"].keys() == {"1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1"}
    assert figures["scores"]["eer"] < 0.2
    assert figures["intervals"]["eer"]["over"] == "pairs"
    assert "arcface_torch" in said
    for path in images.iterdir():
        path.unlink()  # the features are kept, so the images are not read again
    again, _ = figures_of(app, tmp_path, *arguments, "--resamples", 10)
    assert again == figures
    tface, _ = figures_of(
        app, tmp_path, *arguments, "--flip", "none", "--no-norm-score", "--no-detector-score", "--resamples", 10
    )
    assert tface["protocol"].startswith("N0D0F0")
    assert tface["scores"] != figures["scores"]
    with np.load(cache) as opened:
        held = dict(opened)
    np.savez(cache, **{**held, "encoder_sha256": np.array("beef")})
    with pytest.raises(DataError, match=r"features.npz: 48 features by encoder beef, expected 48 by c0ffee"):
        call(app, "evaluate", *arguments)


def test_images_of_templates_that_cannot_be_used(app: typer.Typer, ijb: tuple[Path, Path], tmp_path: Path) -> None:
    meta, images = ijb
    for face in range(2):
        (images / f"3_1_{face}.png").unlink()
    with pytest.raises(DataError, match=r"3_1_0\.png"):
        call(app, "evaluate", "templates", meta, "--images", images, "--aligned")
    figures, _ = figures_of(app, tmp_path, "templates", meta, "--images", images, "--aligned", "--missing", "reject")
    assert (figures["faces_missing"], figures["templates_dropped"]) == (2, 1)
    assert figures["missing"] == {"genuine": 2, "impostor": 21}


def test_raw_features_add_up_to_the_embedding() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 112 * 112, 6))
    encoder = Encoder(network, name="small", width=6, bgr=True)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    plain, mirrored = evaluate_templates._raw(encoder, crops)
    summed = plain + mirrored
    unit = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    assert unit == pytest.approx(encoder.embed(crops, mirror=True), abs=1e-5)
    assert np.linalg.norm(plain, axis=1) != pytest.approx(np.ones(3), abs=0.01)


def test_embeddings_of_another_encoder_are_refused(app: typer.Typer, faces: Path, tmp_path: Path) -> None:
    other = write_named(tmp_path / "other.npz", np.eye(8, 16, dtype=np.float32), sha256="beef" * 16)
    with pytest.raises(DataError, match=r"other\.npz: made with encoder colours beefbeefbeef, not with colours c0ffee"):
        call(app, "evaluate", "leakage", faces, "--training", other)


@pytest.mark.parametrize("command", ["verification", "set", "leakage", "identification", "templates"])
def test_help_shows_an_example(app: typer.Typer, command: str) -> None:
    said = " ".join(call(app, "evaluate", command, "--help").output.split())
    assert f"Example: facewright evaluate {command} " in said
