"""`facewright evaluate verification` and `facewright set check`, with an encoder that measures colours."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from facewright.align import Face
from facewright.cli import evaluate, set_check
from facewright.data.embeddings import write_embeddings
from facewright.data.sets import SetRow, image_file, write_config, write_image, write_manifest
from facewright.errors import DataError, FaceError

IDENTITIES, EACH, WIDTH = 8, 4, 16


class ColourEncoder:
    """Mean colours of a crop's four columns, less their mean over people, sixteen wide: rough but honest."""

    name, sha256, width = "colours", "c0ffee" * 10 + "cafe", WIDTH

    def embed(self, crops: np.ndarray, *, batch: int = 64, mirror: bool = False, progress: object = None) -> np.ndarray:
        assert crops.shape[1:] == (112, 112, 3)
        views = [crops, crops[:, :, ::-1]] if mirror else [crops]
        rows = sum(view.reshape(len(view), 112, 4, 28, 3).mean((1, 3)).reshape(len(view), 12) for view in views) - 127.0
        rows = np.concatenate([rows, np.zeros((len(rows), 4))], axis=1)
        if callable(progress):
            progress(len(crops), len(crops))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class BrightDetector:
    """Finds a face in a picture that is not black in its centre."""

    name = "bright"

    def detect(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        centre = image[height // 2, width // 2].max()
        return [Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2)), 1.0)] if centre else []


def picture(person: int, index: int, *, size: int = 128, noise: int = 25) -> np.ndarray:
    """Four columns of the person's colours, shaken a little by the index."""
    colours = np.random.default_rng(person).integers(20, 235, (4, 3))
    shaken = colours + np.random.default_rng([person, index]).integers(-noise, noise + 1, (4, 3))
    return np.repeat(shaken.clip(0, 255).astype(np.uint8), size // 4, 0)[None].repeat(size, 0)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setattr("facewright.encoders.load", lambda name, *, device: ColourEncoder(), raising=False)
    monkeypatch.setattr("facewright.align.load_detector", lambda name: BrightDetector())
    app = typer.Typer()
    evaluate.register(app)
    set_check.register(app)
    return app


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A set of eight people in four pictures, one picture dropped by a filter and one black."""
    path = tmp_path / "faces"
    rows = []
    for person in range(IDENTITIES):
        for index in range(EACH):
            row = SetRow(
                identity=person,
                name=f"person-{person}",
                index=index,
                file=image_file(person, index),
                seed=index,
                context_sha256="0" * 64,
                generator_sha256="1" * 64,
                sampler="ddim",
                steps=5,
                guidance=1.0,
                similarity=None,
                kept=(person, index) != (7, 3),
                reason="" if (person, index) != (7, 3) else "too far from its context",
            )
            image = picture(person, index)
            if (person, index) == (7, 2):
                image = image * 0
            rows.append(row)
            write_image(path, row, image)
    write_manifest(path, rows)
    write_config(path, {"crop": "centre 112 of 128"})
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Embeddings of the people behind the set, under the names of its identities."""
    crops = np.stack([picture(person, 0, noise=0)[8:120, 8:120] for person in range(IDENTITIES)])
    return write_named(tmp_path / "people.npz", ColourEncoder().embed(crops))


def write_named(path: Path, embeddings: np.ndarray, *, sha256: str = ColourEncoder.sha256) -> Path:
    names = [f"person-{number}" for number in range(len(embeddings))]
    provenance = {"kind": "test", "source": "drawn", "seed": 0, "encoder": "colours", "encoder_sha256": sha256}
    write_embeddings(path, names, embeddings, provenance=provenance)
    return path


def call(app: typer.Typer, *arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def lfw(tmp_path: Path) -> tuple[Path, Path]:
    """A list of 2 folds of 6 + 6 pairs of drawn people, and their crops."""
    lines, images = ["2\t6"], tmp_path / "images"
    for fold in range(2):
        ours = range(6 * fold, 6 * fold + 6)
        lines += [f"P{person}\t1\t2" for person in ours]
        lines += [f"P{person}\t1\tP{(person + 1) % 12}\t2" for person in ours]
    for person in range(12):
        for number in (1, 2):
            path = images / f"P{person}" / f"P{person}_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(person, number, size=112)).save(path)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("\n".join(lines), encoding="utf-8")
    return pairs, images


def test_verification_names_protocol_and_figures(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    shown = call(app, "evaluate", "verification", pairs, "--images", images, "--json", tmp_path / "out.json").output
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["accuracy"] == pytest.approx(np.mean(figures["fold_accuracy"]))
    assert figures["accuracy"] > 0.9
    assert (figures["genuine"], figures["impostor"]) == (12, 12)
    assert figures["encoder"] == {"name": "colours", "sha256": ColourEncoder.sha256}
    assert figures["protocol"].startswith(
        "2 contiguous folds; feature = embedding of the image + embedding of its mirror"
    )
    assert f"{figures['accuracy']:.2%}" in shown
    assert "over 2 folds, threshold from the other folds" in shown
    assert "FMR100" in shown


def test_verification_refuses_a_missing_image(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    (images / "P3" / "P3_0002.png").unlink()
    with pytest.raises(DataError, match="image 2 of P3"):
        call(app, "evaluate", "verification", pairs, "--images", images, "--json", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_check_measures_what_was_kept(app: typer.Typer, faces: Path, people: Path, tmp_path: Path) -> None:
    arguments = ["--contexts", people, "--training", people, "--detector", "bright"]
    out, plots = tmp_path / "out.json", tmp_path / "plots"
    shown = call(app, "set", "check", faces, *arguments, "--json", out, "--plots", plots).output
    figures = json.loads(out.read_text())
    assert (figures["images"], figures["identities"], figures["dropped"]) == (31, 8, 1)
    assert figures["scores"]["genuine"] == 7 * 6 + 3
    assert figures["scores"]["impostor"] == 31 * 30 // 2 - 45
    assert figures["scores"]["eer"] < 0.2
    assert figures["similarity_to_context"]["median"] > 0.9
    assert figures["similarity_to_nearest_training_identity"]["median"] > 0.9
    assert (figures["detector"], figures["share_with_face"]) == ("bright", pytest.approx(30 / 31))
    assert sorted(path.name for path in plots.iterdir()) == ["det.svg", "histograms.svg", "roc.svg"]
    for word in ("31 images of 8 identities, 1 dropped", "EER", "to context", "nearest training", "by bright"):
        assert word in shown


def test_check_works_without_any_extra(app: typer.Typer, faces: Path) -> None:
    shown = call(app, "set", "check", faces).output
    assert "FMR1000" in shown
    assert "to context" not in shown
    assert "faces found" not in shown


def test_check_embeds_in_chunks_of_any_size(
    app: typer.Typer, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(app, "set", "check", faces, "--json", tmp_path / "one.json")
    monkeypatch.setattr(set_check, "CHUNK", 5)
    call(app, "set", "check", faces, "--json", tmp_path / "two.json")
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()


def test_embeddings_of_another_encoder_are_refused(app: typer.Typer, faces: Path, tmp_path: Path) -> None:
    other = write_named(tmp_path / "other.npz", np.eye(8, WIDTH, dtype=np.float32), sha256="beef" * 16)
    with pytest.raises(DataError, match=r"other\.npz: made with encoder colours beefbeefbeef, not with colours c0ffee"):
        call(app, "set", "check", faces, "--training", other)
    few = write_named(tmp_path / "few.npz", np.eye(3, WIDTH, dtype=np.float32))
    with pytest.raises(DataError, match=r"few\.npz: holds no context named 'person-3'"):
        call(app, "set", "check", faces, "--contexts", few)
    narrow = write_named(tmp_path / "narrow.npz", np.eye(8, dtype=np.float32))
    with pytest.raises(FaceError, match="expected 16"):
        call(app, "set", "check", faces, "--training", narrow)


def test_help_shows_an_example(app: typer.Typer) -> None:
    for command in (("evaluate", "verification"), ("set", "check")):
        assert "Example: facewright " + " ".join(command) in " ".join(call(app, *command, "--help").output.split())
