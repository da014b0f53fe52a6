"""A base model as `facewright train base` writes it and a mapper for it, untrained, in place of the bundled ones."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.personalise.tiny_world import AUTOENCODER, DENOISER, TEXT

from facewright.personalise import Mapper, Mapping, MappingConfig, base, read_base, save_mapper
from facewright.personalise.base_folder import make_pipeline, save_base
from facewright.personalise.base_networks import make_autoencoder, make_denoiser, make_scheduler, make_text_encoder
from facewright.personalise.base_tokenizer import SPARE_WORDS, make_tokenizer
from facewright.personalise.world_captions import vocabulary
from facewright.weights import Card, bundled_cards, store

FACTS = {"data": "none", "licence": "Apache-2.0", "recipe": "untrained"}


def save_small(folder: Path, *, seed: int = 0, **built: Any) -> Path:
    """A base model of 32 px pictures; `built` goes into its card's architecture, beside the text encoder's sizes."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer([*vocabulary(["asian"]), *SPARE_WORDS], length=TEXT.length)
    denoiser = make_denoiser(DENOISER, channels=AUTOENCODER.channels, latent=8, text_width=TEXT.width)
    torch.nn.init.normal_(denoiser.conv_out.weight, std=0.1)
    pipe = make_pipeline(
        autoencoder=make_autoencoder(AUTOENCODER, picture=32),
        text_encoder=make_text_encoder(TEXT, tokenizer),
        tokenizer=tokenizer,
        denoiser=denoiser,
        scheduler=make_scheduler("velocity"),
    )
    architecture = {"text": asdict(TEXT), **built}
    return save_base(folder, pipe, Card(name="small base", kind="base", architecture=architecture, input=None, **FACTS))


def save_small_mapper(path: Path, sha256: str | None) -> Path:
    """A mapper for the bundled encoder and the base model of that hash."""
    torch.manual_seed(0)
    network = Mapping(MappingConfig(identity_width=512, width=16, word_width=TEXT.width)).eval()
    encoder = bundled_cards()["encoder"].sha256
    save_mapper(path, Mapper(network), name="small", encoder_sha256=encoder, base_sha256=sha256, **FACTS)
    return path


def bundle(folder: Path, monkeypatch: pytest.MonkeyPatch, *, filled: bool = True, **built: Any) -> Path:
    """Let `folder` be where bundled models lie: the real ones, and a small base model with its mapper, or neither."""
    real = store._bundled_folder()
    folder.mkdir()
    for file in real.iterdir():
        if file.stem in {"encoder", "generator", "contexts"}:
            (folder / file.name).symlink_to(file)
    if filled:
        save_small(folder / "base", **built)
        save_small_mapper(folder / "mapper.safetensors", read_base(folder / "base").sha256)
    monkeypatch.setattr(store, "_bundled_folder", lambda: folder)
    monkeypatch.setattr(base, "bundled_base", lambda: folder / "base")
    return folder
