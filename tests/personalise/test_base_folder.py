"""A base model written with its card, of one text encoder or two."""

from pathlib import Path

import pytest
import torch
from tests.personalise.tiny_base import tiny_pipeline

from facewright.personalise import load_base, read_base
from facewright.personalise.base_folder import pipeline_sha256, save_base
from facewright.weights import Card

pytest.importorskip("diffusers", reason="needs the extra personalise")

CARD = Card(
    name="further",
    kind="base",
    architecture={"pipeline": "any"},
    data="none",
    licence="Apache-2.0",
    recipe="untrained",
    input=None,
)


@pytest.mark.parametrize("large", [False, True])
def test_what_is_written_is_what_the_card_names(large: bool, tmp_path: Path) -> None:
    pipe = tiny_pipeline(large=large)
    if large:
        pipe.register_to_config(force_zeros_for_empty_prompt=False)
    save_base(tmp_path / "base", pipe, CARD)
    facts, read = read_base(tmp_path / "base"), load_base(tmp_path / "base", precision="float16")
    assert type(read) is type(pipe)
    assert facts.sha256 == pipeline_sha256(read)
    assert (facts.is_small, facts.drawing) == (False, {})
    assert read.config.get("force_zeros_for_empty_prompt", False) is False
    assert pipe.unet.dtype == torch.float32, "the pipeline stays as it was"
    for name in ("vae", "unet", "text_encoder", *(["text_encoder_2"] if large else [])):
        for key, value in getattr(pipe, name).state_dict().items():
            other = getattr(read, name).state_dict()[key]
            assert torch.equal(other, value.half() if value.is_floating_point() else value)


def test_every_network_counts_in_the_hash() -> None:
    pipe = tiny_pipeline(large=True)
    seen = {pipeline_sha256(pipe)}
    for network in (pipe.vae, pipe.text_encoder, pipe.text_encoder_2, pipe.unet):
        with torch.no_grad():
            next(network.parameters()).add_(1)
        seen.add(pipeline_sha256(pipe))
    assert len(seen) == 5
