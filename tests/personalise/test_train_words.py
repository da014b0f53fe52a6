"""A mapping learns words that make of a prompt what a generator made of the embedding."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.diffusion.tiny import tiny_unet
from tests.personalise.tiny_base import save_tiny
from tests.personalise.tiny_world import AUTOENCODER, TEXT

from facewright.errors import ConfigError, InputError
from facewright.personalise import load_base
from facewright.personalise.base_folder import make_pipeline
from facewright.personalise.base_from_generator import begin_as_generator, sizes_of_generator
from facewright.personalise.base_networks import make_autoencoder, make_scheduler
from facewright.personalise.base_tokenizer import make_tokenizer
from facewright.personalise.mapping import Mapping, MappingConfig
from facewright.personalise.train_base import BaseTraining, make_text_to_image
from facewright.personalise.train_denoiser import BaseModel
from facewright.personalise.train_words import WordsTraining, train_words
from facewright.personalise.world_captions import vocabulary
from facewright.training.trainer import Schedule

pytest.importorskip("diffusers", reason="needs the extra personalise")

SCHEDULE = Schedule(images=800, batch=8, learning_rate=3e-3, ema_maximum=0.9, log_every=80, save_every=400)


@pytest.fixture(scope="module")
def base() -> BaseModel:
    tokenizer, generator = make_tokenizer(vocabulary(), length=TEXT.length), tiny_unet()
    config = BaseTraining(SCHEDULE, TEXT, sizes_of_generator(generator.config))
    networks = make_text_to_image(config, tokenizer, channels=4, latent=8)
    begin_as_generator(networks.denoiser, generator, longest=8.0)
    torch.manual_seed(0)
    pipe = make_pipeline(
        autoencoder=make_autoencoder(AUTOENCODER, picture=32),
        text_encoder=networks.text_encoder,
        tokenizer=tokenizer,
        denoiser=networks.denoiser,
        scheduler=make_scheduler("velocity"),
    )
    return BaseModel(pipe)


def mapping() -> Mapping:
    torch.manual_seed(0)
    return Mapping(MappingConfig(8, 4, 32, TEXT.width))


def errors(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["context"] for row in rows if "context" in row]


def test_it_learns_words_and_resumes(base: BaseModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    identities = rng.normal(size=(4, 8)).astype(np.float32)
    contexts = rng.normal(size=(4, 32)).astype(np.float32)
    before = {name: value.clone() for name, value in base.pipe.text_encoder.state_dict().items()}

    def taught(out: Path, stop: int | None = None) -> Mapping:
        def watch(done: int, total: int) -> None:
            if done == stop:
                raise KeyboardInterrupt

        made = mapping()
        train_words(made, base, identities, contexts, WordsTraining(SCHEDULE), out=out, progress=watch)
        return made

    whole = taught(tmp_path / "whole")
    found = errors(tmp_path / "whole")
    assert found[-1] < 0.95 * found[0]  # the text encoder is untrained, so words cannot say everything
    for name, value in base.pipe.text_encoder.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path / "broken", stop=400)
    for one, other in zip(taught(tmp_path / "broken").parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_other_base_models_are_refused(tmp_path: Path) -> None:
    other = BaseModel(load_base(save_tiny(tmp_path / "base")))
    given: Any = np.zeros((4, 8), np.float32)
    with pytest.raises(InputError, match=r"base models that begin as a generator alone; leave \[words\] out"):
        train_words(mapping(), other, given, given, WordsTraining(SCHEDULE), out=tmp_path / "run")
    with pytest.raises(ConfigError, match="pairs is a share from 0 to 1, got 2"):
        WordsTraining(SCHEDULE, pairs=2)
