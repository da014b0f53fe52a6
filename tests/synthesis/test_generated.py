from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.synthesis.tiny import TinyEncoder, TinyGenerator

from facewright.align import ARCFACE_TEMPLATE, Face
from facewright.errors import ConfigError, InputError
from facewright.synthesis import Limits, generated_contexts


class Nobody(TinyGenerator):
    """Unconditional: its noise alone decides who is shown."""

    context_width = 0
    latent_shape = (1, 8, 8)
    encoder_sha256 = None

    def sample(self, contexts: torch.Tensor, noise: torch.Tensor, **options: Any) -> torch.Tensor:
        assert contexts.shape == (len(noise), 0)
        assert options["guidance"] == 1.0
        faces = noise.flatten(1) / noise.flatten(1).norm(dim=1, keepdim=True)
        self.before(len(self.calls))
        self.calls.append((contexts, noise))
        board = torch.zeros(len(noise), 3, 128, 128)
        squares = faces.reshape(-1, 1, 8, 8).repeat_interleave(14, 2).repeat_interleave(14, 3)
        board[:, :, 8:120, 8:120] = 2 * squares
        return board.clamp(-1, 1)


class Some:
    """Finds a face where the top left square is bright."""

    name = "some"

    def detect(self, image: np.ndarray) -> list[Face]:
        bright = image[8:22, 8:22].mean() > 128
        return [Face((8.0, 8.0, 120.0, 120.0), ARCFACE_TEMPLATE + 8, 0.9)] * int(bright)


def found(folder: Path, count: int, generator: TinyGenerator | None = None, **options: Any) -> Any:
    return generated_contexts(
        count, generator or Nobody(), TinyEncoder(), faces=folder, **({"seed": 0, "batch": 4} | options)
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_faces_are_drawn_embedded_and_kept_under_their_names(tmp_path: Path) -> None:
    made = found(tmp_path, 6)
    assert made.contexts.names == tuple(f"{number:07d}" for number in range(6))
    assert made.report.complete
    crops = np.stack([np.asarray(Image.open(tmp_path / f"{name}.png")) for name in made.contexts.names])
    assert crops.shape == (6, 112, 112, 3)
    np.testing.assert_allclose(TinyEncoder().embed(crops), made.contexts.embeddings, atol=1e-6)
    assert made.contexts.provenance["licence"] == "Apache-2.0"
    assert made.contexts.provenance["encoder_sha256"] == TinyEncoder.sha256
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 8  # whole batches


def test_stopped_search_goes_on_and_a_longer_one_begins_alike(tmp_path: Path) -> None:
    whole = found(tmp_path / "whole", 6)

    def stop(call: int) -> None:
        if call == 1:
            raise KeyboardInterrupt

    broken = Nobody()
    broken.before = stop
    with pytest.raises(KeyboardInterrupt):
        found(tmp_path / "part", 6, broken)
    again = Nobody()
    resumed = found(tmp_path / "part", 6, again)
    assert len(again.calls) == 1
    np.testing.assert_array_equal(resumed.contexts.embeddings, whole.contexts.embeddings)
    assert files(tmp_path / "part") == files(tmp_path / "whole")
    longer = found(tmp_path / "part", 9)
    np.testing.assert_array_equal(longer.contexts.embeddings[:6], whole.contexts.embeddings)


def test_limits_that_cannot_be_met_end_the_search_with_a_report(tmp_path: Path) -> None:
    made = found(tmp_path, 60, limits=Limits(1.5), max_draws=70)
    assert not made.report.complete
    assert made.report.drawn == 70
    assert len(made.contexts) == made.report.found < 60
    assert made.report.near_another == 70 - made.report.found
    assert found(tmp_path, 60, limits=Limits(1.5), max_draws=70).report == made.report
    everyone = found(tmp_path, 60, max_draws=70).contexts
    with pytest.raises(InputError, match=r"0 of 2 identities found in 40 draws: 40 lay too near to a person to avoid"):
        found(tmp_path, 2, limits=Limits(avoid=everyone, avoid_angle=0.01))


def test_pictures_without_a_face_are_left_out(tmp_path: Path) -> None:
    made = found(tmp_path, 5, detector=Some())
    assert made.report.faceless > 0
    assert made.report.drawn == made.report.faceless + 5 or made.report.complete
    plain = found(tmp_path, 20).contexts
    rows = [plain.names.index(name) for name in made.contexts.names]
    np.testing.assert_allclose(made.contexts.embeddings, plain.embeddings[rows], atol=0.05)


def test_a_generator_with_an_empty_context_serves_too(tmp_path: Path, generator: TinyGenerator) -> None:
    weights: list[float] = []
    sample = generator.sample

    def listen(contexts: torch.Tensor, noise: torch.Tensor, **options: Any) -> torch.Tensor:
        weights.append(options["guidance"])
        return sample(contexts, noise, **options)

    generator.sample = listen  # type: ignore[method-assign]
    found(tmp_path, 2, generator)
    assert weights == [0.0]
    assert generator.calls[0][0].shape == (4, 64)


def test_a_generator_distilled_with_contexts_is_refused(tmp_path: Path, generator: TinyGenerator) -> None:
    generator.card = {"architecture": {"sampling": {"sampler": "lcm", "steps": 2}}}
    with pytest.raises(InputError, match="cannot draw without; name the generator that it was made of"):
        found(tmp_path / "faces", 2, generator)
    assert not (tmp_path / "faces").exists()


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    found(tmp_path / "faces", 2)
    before = files(tmp_path)
    with pytest.raises(InputError, match="drawn with another seed"):
        found(tmp_path / "faces", 2, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(InputError, match="holds no drawn faces"):
        found(tmp_path / "mine", 2)
    with pytest.raises(ConfigError, match="max_draws must be at least"):
        found(tmp_path / "new", 5, max_draws=4)
    with pytest.raises(ConfigError, match="steps must be at least 1"):
        found(tmp_path / "new", 5, steps=0)
    assert files(tmp_path) == before
    assert not (tmp_path / "new").exists()
