"""The commands with a drawn encoder, a drawn set and a drawn list of pairs."""

from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from tests.evaluation.drawn import EACH, IDENTITIES, BrightDetector, ColourEncoder, picture, write_named

from facewright.cli import evaluate, set_check
from facewright.data.sets import SetRow, image_file, write_config, write_image, write_manifest


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
