"""`facewright personalise` called again: what is there is kept, other settings are refused, memory may run out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.personalise.tiny_base import TEXT_WIDTH, save_tiny

from facewright.cli.app import run
from facewright.personalise import Mapper, Mapping, MappingConfig, pictures, save_mapper
from facewright.weights.store import bundled_cards

pytest.importorskip("diffusers", reason="needs the extra personalise")


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A call without --out, on a small base model."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = Mapping(MappingConfig(identity_width=512, width=32, word_width=TEXT_WIDTH)).eval()
    facts = {"name": "small", "data": "none", "licence": "Apache-2.0", "recipe": "untrained"}
    mapper, photo = folder / "small.safetensors", folder / "a.png"
    save_mapper(mapper, Mapper(network), encoder_sha256=bundled_cards()["encoder"].sha256, **facts)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)).save(photo)
    models = ["--base", str(save_tiny(folder / "tiny")), "--mapper", str(mapper)]
    return ["personalise", "alice on the beach", f"--face=alice={photo}", *models, "--steps=2"]


def test_only_what_is_missing_is_drawn_again(call: list[str], drawn: list[Sequence[int]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run([*call, "--count=3", "--batch=1", "--out", str(out)]) == 0
    first = [(out / f"00{number}.png").read_bytes() for number in range(3)]
    (out / "001.png").unlink()
    drawn.clear()
    assert run([*call, "--count=4", "--batch=1", "--out", str(out)]) == 0
    assert drawn == [range(1, 2), range(3, 4)]
    assert [(out / f"00{number}.png").read_bytes() for number in range(3)] == first
    assert [row["number"] for row in json.loads((out / "pictures.json").read_text())["pictures"]] == [0, 1, 2, 3]
    drawn.clear()
    assert run([*call, "--count=2", "--out", str(out)]) == 0
    assert not drawn


def test_other_settings_are_refused_by_name(
    call: list[str], drawn: list[Sequence[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, photo = tmp_path / "out", tmp_path / "other.png"
    Image.new("RGB", (120, 120)).save(photo)
    assert run([*call, "--out", str(out)]) == 0
    before = (out / "pictures.json").read_bytes()
    drawn.clear()
    for more, sentence in (
        (["--steps=3"], "settings.steps 2, now it is 3"),
        (["--seed=1"], "settings.seed 0, now it is 1"),
        (["--noun=alice=woman"], "text person on the beach, now it is woman on the beach"),
        ([f"--face=alice={photo}"], "people.alice.photos"),
    ):
        assert run([*call, *more, "--out", str(out)]) == 2
        assert sentence in capsys.readouterr().err
    assert not drawn
    assert (out / "pictures.json").read_bytes() == before


def test_too_little_memory_keeps_what_is_made_and_names_the_cure(
    call: list[str],
    drawn: list[Sequence[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, draw = tmp_path / "out", pictures.draw_pictures
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
    no_room = RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")

    def failing(error: Exception) -> Any:
        def one(*args: Any, **more: Any) -> Any:
            if more["numbers"][0] >= 2:
                raise error
            return draw(*args, **more)

        return one

    for error in (full, no_room):
        monkeypatch.setattr("facewright.personalise.pictures.draw_pictures", failing(error))
        assert run([*call, "--count=4", "--batch=2", "--out", str(out)]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "2 pictures at a time do not fit in the memory of cpu" in said
        assert "2 pictures in" in said
        assert "run the same command with --batch 1" in said
        assert sorted(path.name for path in out.iterdir()) == ["000.png", "001.png", "pictures.json"]
    monkeypatch.setattr("facewright.personalise.pictures.draw_pictures", failing(RuntimeError("another slip")))
    with pytest.raises(RuntimeError, match="another slip"):
        run([*call, "--count=4", "--batch=1", "--out", str(out)])
    monkeypatch.setattr("facewright.personalise.pictures.draw_pictures", draw)
    drawn.clear()
    assert run([*call, "--count=4", "--batch=1", "--out", str(out)]) == 0
    assert drawn == [range(2, 3), range(3, 4)]
