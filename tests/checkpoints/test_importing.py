"""Import: a safetensors file with a card that the encoders, the loader and the commands understand."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import typer
from tests.checkpoints.conftest import State, filled
from typer.testing import CliRunner

from facewright import checkpoints, encoders
from facewright.cli import import_weights, layouts
from facewright.errors import DataError, InputError
from facewright.weights import read_card


def test_an_imported_encoder_gives_the_checkpoints_numbers(tmp_path: Path, saved: Path, state: State) -> None:
    card = checkpoints.import_checkpoint(saved, tmp_path / "mobile.safetensors")
    assert card == read_card(tmp_path / "mobile.safetensors")
    assert card.architecture == {
        "network": "mobilefacenet",
        "layout": "tface/mobilefacenet",
        "source_sha256": hashlib.sha256(saved.read_bytes()).hexdigest(),
    }
    assert card.input is not None
    assert (card.input.colour, card.input.low, card.input.high) == ("RGB", -1, 1)
    images = torch.randn(2, 3, 112, 112).clamp(-1, 1)
    encoder = encoders.load(tmp_path / "mobile.safetensors")
    with torch.inference_mode():
        expected = F.normalize(checkpoints.load(state)(images))
        torch.testing.assert_close(encoder(images), expected, rtol=0, atol=1e-5)
    assert "tface/mobilefacenet" in (tmp_path / "mobile.md").read_text(encoding="utf-8")


def test_a_bgr_network_is_given_its_colours_and_its_card_settles_the_layout(tmp_path: Path) -> None:
    state, out = filled("adaface/ir_18"), tmp_path / "ada.safetensors"
    torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()}}, tmp_path / "ada.ckpt")
    with pytest.raises(InputError, match="fits 2 layouts with the same tensors: tface/ir_18, adaface/ir_18"):
        checkpoints.import_checkpoint(tmp_path / "ada.ckpt", out)
    assert not out.exists()
    checkpoints.import_checkpoint(tmp_path / "ada.ckpt", out, layout="adaface/ir_18")
    crops = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)
    bgr = torch.from_numpy(crops[:, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        expected = F.normalize(checkpoints.load(out)(bgr)).numpy()
    np.testing.assert_allclose(encoders.load(out, precision="fp32").embed(crops), expected, rtol=0, atol=1e-5)


def test_every_recogniser_layout_is_known_to_the_encoders() -> None:
    for layout in checkpoints.LAYOUTS.values():
        if layout.family.kind == "encoder":
            assert all(generation.network in encoders.encoder.NETWORKS for generation in layout.generations)


def test_other_names_for_the_file_are_refused(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(InputError, match=r"written as \.safetensors"):
        checkpoints.import_checkpoint(saved, tmp_path / "out.pt")
    checkpoints.import_checkpoint(saved, tmp_path / "out.safetensors")
    with pytest.raises(InputError, match="is the checkpoint itself"):
        checkpoints.import_checkpoint(tmp_path / "out.safetensors", tmp_path / "out.safetensors")


def test_a_tensor_with_nan_is_not_imported(tmp_path: Path, state: State) -> None:
    state["conv1.bn.bias"][3] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    state = {f"module.{key}": value for key, value in state.items()}
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(
        DataError, match=r"nan\.pt: tensor 'module\.conv1\.bn\.bias' holds NaN or infinity.*get the file"
    ):
        checkpoints.import_checkpoint(tmp_path / "nan.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_what_an_import_would_replace_is_kept(tmp_path: Path, app: typer.Typer) -> None:
    one, other, out = tmp_path / "one.pt", tmp_path / "other.pt", tmp_path / "out.safetensors"
    torch.save(filled("fastcomposer/postfuse"), one)
    torch.save(filled("fastcomposer/postfuse", seed=1), other)
    card = checkpoints.import_checkpoint(one, out)
    again = checkpoints.import_checkpoint(one, out)  # the same command again is no loss
    assert again.sha256 == card.sha256
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"out\.safetensors holds something else.*name another --out, or --force$"):
        checkpoints.import_checkpoint(other, out)
    notes = tmp_path / "notes.md"
    notes.write_text("mine")
    with pytest.raises(InputError, match=r"notes\.md holds something else"):
        checkpoints.import_checkpoint(other, tmp_path / "notes.safetensors")
    notes.unlink()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    ended = CliRunner().invoke(app, ["import", str(other), "--out", str(out), "--force"])
    assert ended.exit_code == 0, ended.output
    assert read_card(out).sha256 != card.sha256
    out.with_suffix(".md").write_text("mine")
    with pytest.raises(InputError, match=r"out\.md holds something else"):
        checkpoints.import_checkpoint(other, out)
    assert out.with_suffix(".md").read_text() == "mine"


@pytest.mark.parametrize("content", ["no weights", ""])
def test_a_file_that_is_no_import_is_kept(tmp_path: Path, content: str) -> None:
    torch.save(filled("fastcomposer/postfuse"), tmp_path / "one.pt")
    (tmp_path / "out.safetensors").write_text(content)
    with pytest.raises(InputError, match=r"out\.safetensors holds something else"):
        checkpoints.import_checkpoint(tmp_path / "one.pt", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_text() == content


@pytest.fixture
def app() -> typer.Typer:
    built = typer.Typer()
    import_weights.register(built)
    layouts.register(built)
    return built


def test_commands(app: typer.Typer, tmp_path: Path, saved: Path) -> None:
    out = tmp_path / "out.safetensors"
    ended = CliRunner().invoke(app, ["import", str(saved), "--layout", "tface/mobilefacenet", "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    assert "tface/mobilefacenet" in ended.output
    assert "RGB, -1 to 1, 112 x 112 px" in ended.output
    ended = CliRunner().invoke(app, ["layouts", "--json", str(tmp_path / "layouts.json")])
    assert ended.exit_code == 0
    assert "21,450,624" in ended.output
    assert "40 layouts, 2 of them in two forms with a line each" in ended.output
    rows = json.loads((tmp_path / "layouts.json").read_text())["layouts"]
    assert {row["layout"] for row in rows} == checkpoints.LAYOUTS.keys()
    assert len({row["network"] for row in rows if row["layout"] == "curricularface/ir_101"}) == 2
