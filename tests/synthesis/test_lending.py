"""Pictures of people lent to identities that are like them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.diffusion.tiny import tiny_generator
from tests.synthesis.tiny import TinyEncoder
from tests.training.toys import write_toy_pack

from facewright.data.sets import SetRow
from facewright.diffusion import SamplerConfig
from facewright.errors import ConfigError, InputError
from facewright.synthesis import SetLimits, StartingPictures, resample_set, sample_set, uniform_contexts
from facewright.synthesis.lending import likest
from facewright.synthesis.plan import batches


class SmallEncoder(TinyEncoder):
    """As wide as the small generator's contexts."""

    width = 16

    def embed(self, crops: np.ndarray, **options: Any) -> np.ndarray:
        embeddings = super().embed(crops, **options)[:, ::4]
        return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)


ENCODER = SmallEncoder()


def rows(count: int, size: int) -> list[SetRow]:
    settings = {"per_identity": size, "seed": 0, "batch": count * size, "generator_sha256": ""}
    settings |= {"sampler": "ddim", "steps": 1, "guidance": 1.0}
    return next(batches(uniform_contexts(count, seed=1, width=16), settings))


def test_the_likest_left_are_paired_first() -> None:
    similarities = np.array([[0.9, 0.8, 0.1], [0.95, 0.2, 0.1], [0.3, 0.7, 0.0]])
    assert likest(similarities) == [1, 0, 2]
    random = np.random.default_rng(0).standard_normal((64, 64))
    assert sorted(likest(random)) == list(range(64))


def test_identities_get_pictures_of_people_like_them(tmp_path: Path) -> None:
    path = write_toy_pack(tmp_path / "pack", people=150, poses=3, unknown=5)
    plan = rows(70, 3)  # a block and a little more
    contexts = uniform_contexts(70, seed=1, width=16).embeddings
    cosines = []
    for match in (False, True):
        start = StartingPictures(path, by="person", match=match)
        pictures = start.lending(contexts, seed=0, per_identity=3, encoder=ENCODER).pictures(plan)
        means = ENCODER.embed(np.ascontiguousarray(pictures[:, 8:120, 8:120])).reshape(70, 3, -1).mean(axis=1)
        cosines.append((means / np.linalg.norm(means, axis=1, keepdims=True) * contexts).sum(axis=1).mean())
        assert len({picture.tobytes() for picture in pictures}) == 210
    assert cosines[1] > cosines[0] + 0.02


def test_a_set_of_matched_people(tmp_path: Path) -> None:
    pack = write_toy_pack(tmp_path / "pack", people=20, poses=3, unknown=0)
    contexts = uniform_contexts(5, seed=0, width=16)
    generator = tiny_generator()
    generator.sha256, generator.encoder_sha256 = "a" * 64, None
    start = StartingPictures(pack, by="person", least=3, match=True)
    how: dict[str, Any] = {"per_identity": 2, "batch": 4, "sampler": SamplerConfig("ddim", 10, strength=0.2)}
    how |= {"encoder": ENCODER, "start": start}
    out = tmp_path / "set"
    sample_set(generator, contexts, out=out, **how)
    config = json.loads((out / "config.json").read_text())
    assert (config["start_least"], config["start_match"]) == (3, True)
    assert "by person, of people on at least 3, matched to the identities" in (out / "card.md").read_text()
    files = sorted((out / "images").rglob("*.png"))
    bits = [file.read_bytes() for file in files]
    files[5].unlink()
    assert sample_set(generator, contexts, out=out, **how).made == 1
    assert [file.read_bytes() for file in files] == bits
    assert resample_set(generator, contexts, out, SetLimits(min_images=2), encoder=ENCODER, start=start).complete
    fewer = StartingPictures(pack, by="person", least=2, match=True)
    with pytest.raises(InputError, match="was made with start_least 3, got 2"):
        resample_set(generator, contexts, out, SetLimits(min_images=2), encoder=ENCODER, start=fewer)
    with pytest.raises(ConfigError, match="people are matched by the encoder"):
        sample_set(generator, contexts, out=tmp_path / "none", **{**how, "encoder": None})
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="only people are matched"):
        StartingPictures(pack, match=True)
