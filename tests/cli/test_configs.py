"""A config file mirrors its dataclass, and says what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from facewright.cli.configs import read_config
from facewright.errors import ConfigError, InputError


@dataclass(frozen=True)
class Inner:
    images: int
    rate: float = 0.1
    clip: float | None = 1.0
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ConfigError(f"images must be at least 1, got {self.images}")


@dataclass(frozen=True)
class Outer:
    data: Path
    schedule: Inner
    name: str = "a"
    fast: bool = False
    widths: tuple[int, ...] = ()


FILE = """
data = "faces"
name = "b"
widths = [1, 2, 3]
[schedule]
images = 100
rate = 1
betas = [0.5, 0.75]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.toml"
    path.write_text(FILE)
    return path


def test_file_becomes_the_dataclass(file: Path) -> None:
    read = read_config(Outer, file)
    assert read == Outer(file.parent / "faces", Inner(100, 1.0, 1.0, (0.5, 0.75)), "b", widths=(1, 2, 3))
    assert isinstance(read.schedule.rate, float)


def test_settings_override_the_file(file: Path) -> None:
    settings = ["schedule.images=7", "fast=true", "name=new", "data=here/faces", "schedule.clip=none", "widths=[4]"]
    read = read_config(Outer, file, settings)
    assert read.schedule.images == 7
    assert read.fast
    assert read.name == "new"
    assert read.data == Path("here/faces")  # of the working folder, not the file's
    assert read.schedule.clip is None
    assert read.widths == (4,)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("shedule.images=7", r"unknown key shedule\. Did you mean schedule\?"),
        ("schedule.image=7", r"unknown key schedule\.image\. Did you mean schedule\.images\?"),
        ("schedule.images=many", r"schedule\.images must be of type int, got 'many'"),
        ("schedule.images=true", r"schedule\.images must be of type int, got True"),
        ("fast=1", "fast must be of type bool, got 1"),
        ("schedule.images=0", r"a\.toml: images must be at least 1, got 0"),
        ("schedule.betas=[1.0]", r"schedule\.betas must be of type tuple\[float, float\]"),
        ("schedule=3", "schedule must be of type Inner, got 3"),
        ("name.deep=3", "name is a single value"),
        ("name", "'name' is no setting; write key=value"),
    ],
)
def test_a_wrong_setting_is_named(file: Path, setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(Outer, file, [setting])


def test_a_missing_key_is_named(file: Path) -> None:
    file.write_text("[schedule]\nimages = 1\n")
    with pytest.raises(ConfigError, match="data is missing; give it in the file or as data=VALUE"):
        read_config(Outer, file)


def test_what_is_no_toml_is_refused(file: Path, tmp_path: Path) -> None:
    file.write_text("data = \n")
    with pytest.raises(ConfigError, match=r"not a TOML file .*line 1"):
        read_config(Outer, file)
    with pytest.raises(InputError, match="no such config file"):
        read_config(Outer, tmp_path / "none.toml")
