"""The pack command: the shipped config, a small pack, a wrong one."""

from pathlib import Path

import pytest
from PIL import Image
from tests.training.toys import toy_face

from facewright.align import PackConfig
from facewright.cli import app
from facewright.cli.configs import read_config
from facewright.data.packs import read_pack

SOURCE = """
data = "nowhere"
[[source]]
name = "drawn"
archive = "photos"
manifest = "list.csv"
points = "fixed"
fixed = [[46.3, 59.7], [81.5, 59.5], [64.0, 79.7], [49.5, 100.4], [78.7, 100.2]]
identity = "who"
"""


def test_the_shipped_config_is_whole(root: Path) -> None:
    config = read_config(PackConfig, root / "configs" / "pack.toml", ["data=photos"])
    assert [source.name for source in config.sources()] == ["celeba_10k", "celeba_wild_crops", "utkface_128"]
    assert {source.archive.parent for source in config.sources()} == {Path("photos")}


def test_a_pack_is_made_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(toy_face(number, 0)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "list.csv").write_text("file,who\n0.png,5\n1.png,6\n2.png,5\n")
    (tmp_path / "pack.toml").write_text(SOURCE)
    out = tmp_path / "pack"
    call = ["pack", str(tmp_path / "pack.toml"), f"data={tmp_path}", "--out", str(out)]
    for _ in range(2):
        assert app.run(call) == 0
        assert capsys.readouterr().out == f"drawn: 3 faces\n3 of 3 photos gave a face; the pack is in {out}\n"
    assert read_pack(out).labels.tolist() == [0, 1, 0]


def test_what_is_wrong_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack.toml").write_text(SOURCE)
    call = ["pack", str(tmp_path / "pack.toml"), "--out", str(tmp_path / "pack")]
    assert app.run(call) == 2
    assert f"{tmp_path / 'nowhere' / 'photos'} does not exist" in capsys.readouterr().err
    (tmp_path / "pack.toml").write_text(SOURCE.replace("archive", "archiv"))
    assert app.run(call) == 2
    assert "unknown key source.archiv. Did you mean source.archive?" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()
