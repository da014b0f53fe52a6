"""The demo's loop on toy models: what it writes, that it resumes, and what its pairs are."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from facewright.align.detector import Face
from facewright.cli.demo import DemoConfig, Models, run_loop
from facewright.cli.demo_pairs import Lfw, find_lfw, held_out_pairs
from facewright.cli.demo_personalised import Source
from facewright.cli.report import Personalised, PersonalisedPicture
from facewright.data.sets import read_set
from facewright.errors import ConfigError, InputError
from facewright.synthesis import uniform_contexts

CONFIG = DemoConfig(identities=3, held_out=3, per_identity=4, steps=1, recogniser_images=8, seed=5)


class ToyEncoder:
    """Embeds a crop as the normalised colours of a coarse grid."""

    name, sha256, width = "toy", "e" * 64, 192

    def embed(
        self,
        crops: np.ndarray,
        *,
        batch: int = 64,
        mirror: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        cells = crops.reshape(len(crops), 8, 14, 8, 14, 3).mean((2, 4)).reshape(len(crops), -1) - 128
        if progress is not None:
            progress(len(crops), len(crops))
        return (cells / np.linalg.norm(cells, axis=1, keepdims=True)).astype(np.float32)


class ToyGenerator:
    """Draws the context as blocks of colour, with a little of the noise."""

    name, sha256, image_size, latent_shape = "toy", "f" * 64, 128, (1, 16, 16)
    context_width, encoder_sha256 = 192, "e" * 64
    card: dict[str, str] = {}  # noqa: RUF012 - the protocol's own shape

    def __init__(self) -> None:
        self.drawn = 0

    def sample(
        self,
        contexts: Tensor,
        noise: Tensor,
        *,
        sampler: str = "ddim",
        steps: int = 25,
        guidance: float = 1.0,
        step_noise: Callable[[int], Tensor] | None = None,
    ) -> Tensor:
        self.drawn += len(contexts)
        blocks = (contexts * 4).reshape(-1, 8, 8, 3).permute(0, 3, 1, 2)
        large = torch.nn.functional.interpolate(blocks, size=128, mode="nearest")
        grain = torch.nn.functional.interpolate(noise[:, :1], size=128, mode="nearest")
        return (large + 0.1 * grain).clamp(-1, 1)


class ToyDetector:
    """Finds a face in every picture."""

    name = "toy"

    def detect(self, image: np.ndarray) -> list[Face]:
        return [Face((0.0, 0.0, 128.0, 128.0), np.zeros((5, 2)), 1.0)]


@pytest.fixture
def models() -> Models:
    return Models(
        ToyEncoder(),
        ToyGenerator(),
        ToyDetector(),
        train=lambda config, data, out, progress: ToyEncoder(),
        draw=lambda config, faces, progress: uniform_contexts(
            config.identities + config.held_out, seed=config.seed, width=ToyEncoder.width
        ),
    )


def test_writes_report_figures_and_grid(models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = run_loop(models, CONFIG, out=tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["set"]["images"] == 12
    assert figures["share_with_face"] == 1.0
    assert figures["settings"]["seed"] == 5
    assert set(figures["recognisers"]) == {"this demo's recogniser", "bundled encoder"}
    assert figures["set"]["scores"]["eer"] == pytest.approx(loop.measures.scores.eer)
    page = (tmp_path / "report.html").read_text()
    assert "3 people who do not exist" in page
    assert page.count("<img ") == 3 + 12
    assert "No LFW files were given" in page
    assert "research and non-commercial use only" in page
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * 130 + 2, 3 * 130 + 2)
    assert capsys.readouterr().out == ""  # progress goes to stderr, the summary is the command's


def test_personalised_pictures_have_their_part(models: Models, tmp_path: Path) -> None:
    asked = []

    def personalise(
        sources: Sequence[Source], out: Path, seed: int, progress: Callable[[int, int], None]
    ) -> Personalised:
        asked.append((sources, out, seed))
        names = [source.name for source in sources]
        image = np.full((128, 128, 3), 90, np.uint8)
        pictures = (
            PersonalisedPicture(image, f"a photo of {names[0]}", 1, {names[0]: 0.625}),
            PersonalisedPicture(image, f"a photo of {names[1]}", 0, {names[1]: None}),
            PersonalisedPicture(image, f"{names[0]} and {names[1]}", 3, {names[0]: 0.5, names[1]: 0.25}),
        )
        return Personalised({source.name: source.image for source in sources}, pictures, 20, 3.0)

    run_loop(models, CONFIG, out=tmp_path / "without")
    run_loop(replace(models, personalise=personalise), CONFIG, out=tmp_path / "with")
    [(sources, folder, seed)] = asked
    assert (folder, seed) == (tmp_path / "with" / "personalised", 5)
    assert [source.name for source in sources] == ["Person 1", "Person 2", "Person 3"]
    assert [source.file.name for source in sources] == ["000.png"] * 3
    faces = read_set(tmp_path / "with" / "faces")
    for number, source in enumerate(sources):
        assert np.array_equal(source.image, np.asarray(Image.open(source.file)))
        assert np.array_equal(source.crop, faces.crops([4 * number])[0])
    figures = json.loads((tmp_path / "with/metrics.json").read_text())
    part = figures["personalised"]
    assert part["one_person"] == {"pictures": 2, "share_complete": 0.5, "identity": 0.3125}
    assert part["several_people"] == {"pictures": 1, "share_complete": 1.0, "identity": 0.25}
    assert part["pictures"][1] == {"prompt": "a photo of Person 2", "faces": 0, "cosines": {"Person 2": None}}
    assert "Personalised pictures" in figures["seconds"]
    page, other = ((tmp_path / name / "report.html").read_text() for name in ("with", "without"))
    assert page.count("<img ") == other.count("<img ") + 3 + 3
    assert "Person 1: cosine 0.50, Person 2: cosine 0.25" in page
    assert "a photo of Person 2 <small>no face found</small>" in page
    assert "as a prompt says" not in other
    assert "personalised" not in json.loads((tmp_path / "without/metrics.json").read_text())


def test_faces_of_a_person_are_their_own(models: Models, tmp_path: Path) -> None:
    loop = run_loop(models, CONFIG, out=tmp_path)
    faces = read_set(tmp_path / "faces")
    for identity, person in enumerate(loop.people):
        rows = np.flatnonzero(faces.identities == identity)
        assert np.array_equal(person.faces, np.stack([faces.image(int(row)) for row in rows]))
        assert person.similarity is not None
        assert (person.similarity > 0.5).all()


def test_second_run_makes_nothing_anew(models: Models, tmp_path: Path) -> None:
    first = run_loop(models, CONFIG, out=tmp_path)
    drawn = models.generator.drawn
    assert drawn == 24
    (tmp_path / "report.html").unlink()
    second = run_loop(models, CONFIG, out=tmp_path)
    assert models.generator.drawn == drawn
    assert (tmp_path / "report.html").exists()
    assert second.measures.scores == first.measures.scores
    assert second.own.result.accuracy == first.own.result.accuracy


def test_another_seed_is_refused_in_a_used_folder(models: Models, tmp_path: Path) -> None:
    run_loop(models, CONFIG, out=tmp_path)
    with pytest.raises((ConfigError, InputError)):
        run_loop(models, DemoConfig(identities=3, held_out=3, per_identity=4, steps=1, seed=6), out=tmp_path)


def test_held_out_pairs_are_balanced_in_every_fold(models: Models, tmp_path: Path) -> None:
    run_loop(models, CONFIG, out=tmp_path)
    faces = read_set(tmp_path / "held-out")
    pairs = held_out_pairs(faces, seed=1)
    labels = faces.identities[pairs.rows].reshape(-1, 2)
    assert np.array_equal(labels[:, 0] == labels[:, 1], pairs.issame)
    assert pairs.issame.sum() == 3 * 6  # every pair of four images
    assert np.array_equal(pairs.issame, np.tile([True, False], 18))
    assert len({tuple(pair) for pair in pairs.rows.reshape(-1, 2)}) == len(pairs.issame)
    assert pairs.crops.shape == (12, 112, 112, 3)


def test_lfw_is_used_where_it_is_given(models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "lfw"
    images = folder / "lfw_112"
    images.mkdir(parents=True)
    chance = np.random.default_rng(0)
    lines = ["10\t1"]
    for fold in range(10):
        for name in (f"A{fold}", f"B{fold}"):
            picture = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(14, 0).repeat(14, 1)
            for number in (1, 2):
                Image.fromarray(picture).save(images / f"{name}_{number:04d}.png")
        lines += [f"A{fold}\t1\t2", f"A{fold}\t1\tB{fold}\t1"]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    found = find_lfw(folder)
    assert found == Lfw(folder / "pairs.txt", images)
    loop = run_loop(models, CONFIG, out=out, lfw=found)
    assert loop.own.result.accuracy == 1.0  # both images of a person are one picture
    assert not (out / "held-out").exists()
    page = (out / "report.html").read_text()
    assert "accuracy on LFW" in page
    assert "No LFW files" not in page


def test_a_folder_without_lfw_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no lfw_pairs\.txt or pairs\.txt"):
        find_lfw(tmp_path)
    (tmp_path / "pairs.txt").write_text("1 1\n")
    with pytest.raises(InputError, match=r"no lfw_pairs_112\.tar"):
        find_lfw(tmp_path)


def test_config_is_checked() -> None:
    with pytest.raises(ConfigError, match="identities must be at least 2, got 1"):
        DemoConfig(identities=1)
