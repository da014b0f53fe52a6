"""A set sampled with more than sampler, steps and guidance: settings, contexts and the real generator."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from tests.diffusion.tiny import tiny_generator
from torch import Tensor
from typer.testing import CliRunner

from facewright import diffusion, synthesis
from facewright.cli import sample
from facewright.data.embeddings import write_embeddings
from facewright.data.images import to_tensor, to_uint8
from facewright.data.sets import read_set
from facewright.diffusion import Generator, SamplerConfig
from facewright.errors import ConfigError, InputError
from facewright.synthesis import (
    SampleSummary,
    image_seed,
    negative_rows,
    sample_set,
    start_noise,
    step_noise,
    uniform_contexts,
    within_cone,
)
from facewright.weights import Card, save_weights

CONTEXTS = uniform_contexts(3, seed=0, width=16)
CONFIG = SamplerConfig("dpmpp-2m", 2, 1.5, spacing="karras", guidance_interval=(0.0, 0.8), identity_from=0.9)


class Listening:
    """A generator that keeps what it was asked."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.options: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.generator, name)

    def sample(self, contexts: Tensor, noise: Tensor, **options: Any) -> Tensor:
        self.options.append(options)
        return self.generator.sample(contexts, noise, **options)


@pytest.fixture
def generator() -> Generator:
    made = tiny_generator()
    made.sha256 = "a" * 64
    made.encoder_sha256 = None
    return made


def test_a_set_is_what_the_generator_makes_with_its_settings(tmp_path: Path, generator: Generator) -> None:
    options = {"sampler": CONFIG, "negative": "far", "cone": 0.4, "seed": 5}
    sample_set(generator, CONTEXTS, per_identity=2, out=tmp_path / "set", batch=6, image_size=128, **options)
    faces = read_set(tmp_path / "set")
    seeds = [image_seed(5, name, index) for name in CONTEXTS.names for index in range(2)]
    identities = [0, 0, 1, 1, 2, 2]
    contexts = within_cone(CONTEXTS.embeddings[identities], seeds, angle=0.4)
    negative = CONTEXTS.embeddings[negative_rows(CONTEXTS.embeddings, identities, seeds, rule="far")]
    pictures = generator.sample(
        torch.from_numpy(contexts),
        start_noise(seeds, (4, 16, 16)),
        sampler=CONFIG,
        negative=torch.from_numpy(negative),
        step_noise=step_noise(seeds, (4, 16, 16)),
    )
    assert np.array_equal(to_uint8(pictures), np.stack([faces.image(number) for number in range(6)]))
    assert {(row.sampler, row.steps, row.guidance) for row in faces.rows} == {("dpmpp-2m", 2, 1.5)}


def test_settings_are_kept_and_another_call_must_share_them(tmp_path: Path, generator: Generator) -> None:
    options: dict[str, Any] = {"per_identity": 1, "out": tmp_path / "set", "batch": 3}
    sample_set(generator, CONTEXTS, sampler=CONFIG, negative="random", cone=0.2, **options)
    config = json.loads((tmp_path / "set/config.json").read_text())
    assert SamplerConfig.from_record(config) == CONFIG
    assert (config["negative"], config["cone"]) == ("random", 0.2)
    card = (tmp_path / "set/card.md").read_text()
    assert "dpmpp-2m, 2 steps, guidance 1.5, spacing karras" in card
    assert "negative random, cone 0.2" in card
    again = sample_set(generator, CONTEXTS, sampler=CONFIG, negative="random", cone=0.2, **options)
    assert again.made == 0
    with pytest.raises(InputError, match=r"cone \(0\.2 there, null asked\)"):
        sample_set(generator, CONTEXTS, sampler=CONFIG, negative="random", **options)


def test_a_generator_is_only_asked_for_what_is_set(tmp_path: Path, generator: Generator) -> None:
    listening = Listening(generator)
    plain: dict[str, Any] = {"per_identity": 1, "batch": 3}
    sample_set(listening, CONTEXTS, out=tmp_path / "a", sampler=SamplerConfig("ddim", 2), **plain)
    sample_set(listening, CONTEXTS, out=tmp_path / "b", sampler="unipc", steps=2, guidance=2.0, negative="far", **plain)
    for options in listening.options:
        del options["step_noise"]
    assert listening.options[0] == {"sampler": "ddim", "steps": 2, "guidance": 1.0}
    assert set(listening.options[1]) == {"sampler", "steps", "guidance", "negative"}
    assert not {"negative", "cone", "spacing", "eta"} & set(read_set(tmp_path / "a").config)


def test_the_command_passes_every_option_on(
    tmp_path: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card("tiny", "generator", {}, "drawn", "Apache-2.0", "by hand")
    monkeypatch.setattr(diffusion, "load", lambda name, *, device: generator)
    monkeypatch.setattr(diffusion, "load_card", lambda name: card)
    write_embeddings(tmp_path / "people.npz", CONTEXTS.names, CONTEXTS.embeddings, provenance=CONTEXTS.provenance)
    app = typer.Typer()
    sample.register(app)
    said = CliRunner().invoke(
        app,
        f"--contexts {tmp_path / 'people.npz'} --out {tmp_path / 'set'} --per-identity 1 --batch 3 --encoder none"
        " --sampler dpmpp-2m --steps 2 --guidance 1.5 --spacing karras --guidance-interval 0 0.8 --identity-from 0.9"
        " --negative close --cone 0.3",
    )
    assert said.exit_code == 0, said.output
    config = read_set(tmp_path / "set").config
    assert SamplerConfig.from_record(config) == CONFIG
    assert (config["negative"], config["cone"]) == ("close", 0.3)


LCM = SamplerConfig("lcm", 2)
PHASES = SamplerConfig("ddim", 4, spacing="trailing")


@pytest.mark.parametrize(
    ("advised", "options", "meant"),
    [
        (LCM, "", LCM),
        (LCM, "--steps 1", SamplerConfig("lcm", 1)),
        (LCM, "--sampler ddim --steps 3", SamplerConfig("ddim", 3)),
        (LCM, "--sampler unipc", SamplerConfig("unipc", 25)),
        (PHASES, "--guidance 1.5", SamplerConfig("ddim", 4, 1.5, spacing="trailing")),
        (PHASES, "--spacing stride --steps 2", SamplerConfig("ddim", 2, spacing="stride")),
        (None, "--steps 3 --eta 0.5", SamplerConfig("ddim", 3, eta=0.5)),
        (None, "", SamplerConfig("ddim", 25)),
    ],
)
def test_the_card_says_how_to_sample_unless_the_call_does(
    advised: SamplerConfig | None,
    options: str,
    meant: SamplerConfig,
    tmp_path: Path,
    generator: Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = {} if advised is None else {"sampling": advised.record()}
    card = Card("few", "generator", record, "drawn", "Apache-2.0", "by hand", input=None)
    save_weights(tmp_path / "few.safetensors", {"x": torch.zeros(1)}, card)
    given: list[SamplerConfig] = []

    def work(load: Any, contexts: Any, *, sampler: SamplerConfig, **options: Any) -> SampleSummary:
        given.append(sampler)
        return SampleSummary(tmp_path, 3, 3, 3, 1.0, None)

    monkeypatch.setattr(synthesis, "sample_with_workers", work)
    monkeypatch.setattr(
        synthesis, "sample_set", lambda model, people, **options: work(None, people, sampler=options["sampler"])
    )
    monkeypatch.setattr(diffusion, "load", lambda name, *, device: generator)
    write_embeddings(tmp_path / "people.npz", CONTEXTS.names, CONTEXTS.embeddings, provenance=CONTEXTS.provenance)
    app = typer.Typer()
    sample.register(app)
    call = (
        f"--generator {tmp_path / 'few.safetensors'} --contexts {tmp_path / 'people.npz'} --out {tmp_path / 'set'}"
        f" --per-identity 1 --encoder none {options}"
    )
    for more in ("", " --workers 2"):
        said = CliRunner().invoke(app, call + more)
        assert said.exit_code == 0, said.output
    assert given == [meant, meant]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cone": 2.0}, "cone's angle"),
        ({"negative": "nearest", "guidance": 1.5}, "unknown negative"),
        ({"negative": "far"}, "counts only under guidance"),
        ({"sampler": SamplerConfig(), "steps": 3}, "has its own steps"),
        ({"sampler": "heun"}, "unknown sampler 'heun'"),
    ],
)
def test_bad_settings_write_nothing(tmp_path: Path, generator: Generator, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sample_set(generator, CONTEXTS, per_identity=1, out=tmp_path / "set", **change)
    assert not (tmp_path / "set").exists()


class BoardEncoder:
    """The means of a 4 x 4 board of squares; differentiable as a call."""

    name, sha256, width = "board", "b" * 64, 16

    def __call__(self, crops: Tensor) -> Tensor:
        return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(crops.mean(1), 28).flatten(1))

    def embed(self, crops: np.ndarray, **_: Any) -> np.ndarray:
        return self(to_tensor(crops)).numpy()


class Fixed:
    """Cannot be called on a batch of crops, so gives no gradient."""

    name, sha256, width = "fixed", "b" * 64, 16
    embed = BoardEncoder().embed


def test_refined_pictures_are_nearer_to_their_contexts(tmp_path: Path, generator: Generator) -> None:
    listening = Listening(generator)
    how: dict[str, Any] = {"per_identity": 2, "steps": 1, "batch": 4, "encoder": BoardEncoder(), "force": True}
    plain = sample_set(generator, CONTEXTS, out=tmp_path / "plain", **how)
    moved = sample_set(listening, CONTEXTS, out=tmp_path / "set", refine=20, **how)
    assert plain.similarity is not None
    assert moved.similarity is not None
    assert moved.similarity > plain.similarity + 0.02
    assert listening.options[0]["refinement"].steps == 20
    config = json.loads((tmp_path / "set/config.json").read_text())
    assert config["refine"] == 20
    assert "refine" not in json.loads((tmp_path / "plain/config.json").read_text())
    assert "refine 20" in (tmp_path / "set/card.md").read_text()
    files = sorted((tmp_path / "set/images").rglob("*.png"))
    bits = [file.read_bytes() for file in files]
    files[3].unlink()
    assert sample_set(listening, CONTEXTS, out=tmp_path / "set", refine=20, **how).made == 1
    assert [file.read_bytes() for file in files] == bits
    with pytest.raises(InputError, match=r"refine \(20 there, 3 asked\)"):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", refine=3, **how)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"refine": 0}, "steps of refinement must lie in"),
        ({"encoder": None}, "refined by the encoder that the generator was trained with; give that, such as bundled"),
        ({"encoder": Fixed()}, "gives no gradient to refine pictures by"),
    ],
)
def test_a_refinement_that_cannot_be(change: dict[str, Any], said: str, tmp_path: Path, generator: Generator) -> None:
    given = {"per_identity": 2, "steps": 1, "encoder": BoardEncoder(), "refine": 4, "force": True, **change}
    with pytest.raises(ConfigError, match=said):
        sample_set(generator, CONTEXTS, out=tmp_path / "set", **given)
    assert not (tmp_path / "set").exists()
