"""The bundled base model and mapper, where this checkout has them: whole, as their cards say, made for each other."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.personalise.small_base import bundle, save_small_mapper

from facewright.personalise import load_base, load_mapper, read_base, read_mapper_card
from facewright.personalise.base import bundled_base, find_base
from facewright.personalise.base_folder import pipeline_sha256
from facewright.weights import bundled_cards

pytest.importorskip("diffusers", reason="needs the extra personalise")


def check_bundled() -> None:
    """They belong together, and every tensor is what its card was written for."""
    facts, mapper = read_base(find_base("bundled")), read_mapper_card("bundled")
    assert facts.card is not None, "the base model has no card"
    assert facts.card.kind == "base"
    assert facts.drawing["steps"] >= 1
    assert facts.word_width == mapper.config.word_width
    assert mapper.base_sha256 == facts.sha256, "the mapper is for another base model"
    assert mapper.encoder_sha256 == bundled_cards()["encoder"].sha256, "the mapper is for another encoder"
    assert pipeline_sha256(load_base("bundled", precision="float16")) == facts.sha256, "its card is of another model"
    load_mapper("bundled")  # compares with its card


def test_they_are_whole_or_absent() -> None:
    assert bundled_base().is_dir() == ("mapper" in bundled_cards()), "bundle both or neither"
    if not bundled_base().is_dir():
        pytest.skip("this checkout has no bundled base model")
    check_bundled()


def test_what_train_wrote_can_be_copied_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bundle(tmp_path / "bundled", monkeypatch)
    check_bundled()
    weights = folder / "base/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor + (name == "conv_in.bias") for name, tensor in tensors.items()}, weights)
    with pytest.raises(AssertionError, match="its card is of another model"):
        check_bundled()
    save_small_mapper(folder / "mapper.safetensors", "ab" * 32)
    with pytest.raises(AssertionError, match="the mapper is for another base model"):
        check_bundled()
