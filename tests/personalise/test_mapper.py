from pathlib import Path

import pytest
import torch

from facewright import checkpoints
from facewright.errors import DataError, FaceError
from facewright.personalise import Mapper, Mapping, MappingConfig, PostFuse, load_mapper, read_mapper_card, save_mapper
from facewright.weights import Card, save_weights

CONFIG = MappingConfig(identity_width=12, expression_width=4, width=16, word_width=8)
FACTS = {"name": "small", "data": "drawn", "licence": "Apache-2.0", "recipe": "none", "encoder_sha256": "ab" * 32}


def mapper(*, fused: bool) -> Mapper:
    torch.manual_seed(0)
    return Mapper(Mapping(CONFIG).eval(), PostFuse(8).eval() if fused else None)


@pytest.mark.parametrize("fused", [False, True])
def test_a_mapper_comes_back_as_it_was(tmp_path: Path, fused: bool) -> None:
    path, made = tmp_path / "a.safetensors", mapper(fused=fused)
    save_mapper(path, made, **FACTS)
    card = read_mapper_card(path)
    assert (card.config, card.mode, card.encoder_sha256) == (CONFIG, "fuse" if fused else "replace", "ab" * 32)
    back = load_mapper(path)
    assert back.mode == card.mode
    assert not back.mapping.training
    identity = torch.randn(12)
    words = back.words(identity)
    assert words.shape == (2, 8)
    assert torch.equal(words, torch.cat(made.mapping(identity[None])))
    if made.fuse is not None and back.fuse is not None:
        for name, tensor in made.fuse.state_dict().items():
            assert torch.equal(back.fuse.state_dict()[name], tensor)


def test_it_says_which_base_model_it_is_for(tmp_path: Path) -> None:
    save_mapper(tmp_path / "a.safetensors", mapper(fused=False), base_sha256="cd" * 32, **FACTS)
    save_mapper(tmp_path / "b.safetensors", mapper(fused=False), **FACTS)
    assert read_mapper_card(tmp_path / "a.safetensors").base_sha256 == "cd" * 32
    assert read_mapper_card(tmp_path / "b.safetensors").base_sha256 is None
    assert load_mapper(tmp_path / "a.safetensors").mapping.config == CONFIG
    assert "cd" * 32 in (tmp_path / "a.md").read_text()


def test_an_imported_mapping_of_face2diffusion_is_taken(tmp_path: Path) -> None:
    torch.save(Mapping().state_dict(), tmp_path / "mapping.pt")
    checkpoints.import_checkpoint(tmp_path / "mapping.pt", tmp_path / "mapping.safetensors")
    card = read_mapper_card(tmp_path / "mapping.safetensors")
    assert (card.config, card.mode, card.encoder_layout) == (MappingConfig(), "replace", "f2d/msid")
    assert load_mapper(tmp_path / "mapping.safetensors").words(torch.randn(1536)).shape == (2, 768)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    facts = {key: value for key, value in FACTS.items() if key != "encoder_sha256"}
    for kind, built, sentence in (
        ("encoder", {}, "of kind 'encoder', expected 'mapper'"),
        ("mapper", {"network": "gru", "mode": "replace"}, "the network 'gru'"),
        ("mapper", {"network": "mapping", "mode": "add"}, "mode 'add', expected 'mapping' with replace or fuse"),
        ("mapper", {"network": "mapping", "mode": "replace", "depth": 3}, "does not describe a mapping"),
    ):
        save_weights(path, {"a": torch.zeros(1)}, Card(kind=kind, architecture=built, **facts))
        with pytest.raises(FaceError, match=sentence):
            read_mapper_card(path)
    save_mapper(path, mapper(fused=False), **FACTS)
    state = mapper(fused=False).mapping.state_dict()
    state.pop("null_exp")
    architecture = {"network": "mapping", "mode": "replace", **vars(CONFIG)}
    save_weights(path, state, Card(kind="mapper", architecture=architecture, **facts))
    with pytest.raises(DataError, match="do not fit a mapper of mode replace"):
        load_mapper(path)
