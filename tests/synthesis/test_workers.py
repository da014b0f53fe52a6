"""Sets made by several processes, on one machine or on several that share a folder."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.synthesis.tiny import TinyEncoder, TinyGenerator

from facewright.data.sets import read_manifest, read_set, write_manifest
from facewright.errors import ConfigError, InputError, WorkError
from facewright.synthesis import Share, sample_set, sample_with_workers, uniform_contexts

CONTEXTS = uniform_contexts(5, seed=0, width=64)
SETTINGS: dict[str, Any] = {"per_identity": 3, "steps": 4, "guidance": 1.5, "seed": 7, "batch": 2, "sampler": "ddpm"}


@dataclass(frozen=True)
class Load:
    """Gives a worker its networks; where `trap` exists, worker `victim` removes it and dies in its second batch."""

    trap: Path | None = None
    victim: int = 1

    def __call__(self, worker: int) -> tuple[TinyGenerator, TinyEncoder]:
        generator = TinyGenerator()
        if self.trap is not None and worker == self.victim and self.trap.exists():
            generator.before = self.die
        return generator, TinyEncoder()

    def die(self, call: int) -> None:
        if call == 1 and self.trap is not None:
            self.trap.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


class Crashing:
    def __call__(self, worker: int) -> tuple[TinyGenerator, TinyEncoder]:
        raise InputError("no such generator; name one")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, bytes]:
    """The set made by one process."""
    sample_set(TinyGenerator(), CONTEXTS, out=tmp_path / "alone", encoder=TinyEncoder(), **SETTINGS)
    return files(tmp_path / "alone")


def test_one_two_and_three_processes_one_of_them_killed(tmp_path: Path, alone: dict[str, bytes]) -> None:
    made = sample_with_workers(Load(), CONTEXTS, workers=2, out=tmp_path / "of 2", **SETTINGS)
    assert (made.images, made.made, made.complete) == (15, 15, True)
    assert files(tmp_path / "of 2") == alone
    trap, out = tmp_path / "trap", tmp_path / "of 3"
    trap.touch()
    with pytest.raises(WorkError, match=r"worker 2 of 3 was ended by signal 9 .* the same command again"):
        sample_with_workers(Load(trap), CONTEXTS, workers=3, out=out, **SETTINGS)
    assert not trap.exists()
    assert not (out / "manifest.parquet").exists()
    before = {name for name in files(out) if name.endswith(".png")}
    assert 0 < len(before) < 15
    steps: list[tuple[int, int]] = []
    made = sample_with_workers(  # restarted with another number of them
        Load(), CONTEXTS, workers=2, out=out, progress=lambda *done: steps.append(done), **SETTINGS
    )
    assert (made.images, made.made) == (15, 15 - len(before))
    assert steps[-1] == (15, 15)
    assert files(out) == alone


def test_errors_of_a_worker_are_the_caller_s(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such generator"):
        sample_with_workers(Crashing(), CONTEXTS, workers=1, out=tmp_path / "set", **SETTINGS)
    for wrong in ({"workers": 0}, {"workers": 1, "threads": 0}):
        with pytest.raises(ConfigError, match="must be at least 1"):
            sample_with_workers(Load(), CONTEXTS, out=tmp_path / "set", **wrong, **SETTINGS)
    assert not (tmp_path / "set").exists()


def sample(out: Path, share: Share, generator: TinyGenerator | None = None, **change: Any) -> Any:
    generator = generator or TinyGenerator()
    return sample_set(generator, CONTEXTS, out=out, encoder=TinyEncoder(), share=share, **(SETTINGS | change))


def test_shares_in_any_order_join_to_one_manifest(tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "set"
    first = sample(out, Share(3, 3))
    assert (first.complete, first.images) == (False, 4)
    assert not (out / "manifest.parquet").exists()
    second = sample(out, Share(1, 3))
    assert (second.complete, second.images, second.made) == (False, 10, 6)
    last = sample(out, Share(2, 3))
    assert (last.complete, last.images, last.made) == (True, 15, 5)
    assert files(out) == alone
    assert sample(out, Share(2, 3)).made == 0
    assert files(out) == alone


def test_what_a_killed_share_left_is_read_again(tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "set"
    sample(out, Share(1, 2))
    (out / "parts/1-of-2/manifest.parquet").write_bytes(b"torn")
    (out / "images/000000/.002.png.abcd_123.png").write_bytes(b"half")
    sample(out, Share(2, 2))
    generator = TinyGenerator()
    done = sample(out, Share(1, 2), generator)
    assert (done.complete, done.made, generator.calls) == (True, 0, [])
    assert files(out) == alone


def test_one_process_completes_what_shares_began(tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "set"
    sample(out, Share(2, 3))
    sample(out, Share(1, 4))
    assert sample(out, Share()).made < 15
    assert files(out) == alone
    (out / "images/000001/001.png").unlink()
    for number in (1, 2, 3):
        sample(out, Share(number, 3))
    assert files(out) == alone


def test_marks_of_a_filter_survive_shares(tmp_path: Path) -> None:
    out = tmp_path / "set"
    sample(out, Share())
    rows = list(read_set(out).rows)
    rows[3] = replace(rows[3], kept=False, reason="similarity below 0.3")
    write_manifest(out, rows)
    (out / rows[8].file).unlink()
    for number in (1, 2):
        sample(out, Share(number, 2))
    assert read_manifest(out) == tuple(rows)


def test_a_share_with_other_settings_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "set"
    sample(out, Share(1, 2))
    before = files(out)
    with pytest.raises(InputError, match="seed"):
        sample(out, Share(2, 2), seed=8)
    assert files(out) == before


def test_folder_where_another_is_just_beginning_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / ".config.json.ab12_cd3.json").touch()
    assert sample(tmp_path, Share()).complete


def test_share_as_text() -> None:
    share = Share.parse("2/3")
    assert (share, str(share), share.whole) == (Share(2, 3), "2/3", False)
    assert [place for place in range(9) if share.holds(place)] == [1, 4, 7]
    held = [[place for place in range(12) if share.split(worker, 2).holds(place)] for worker in range(2)]
    assert held == [[1, 7], [4, 10]]
    for text in ("0/3", "4/3", "1", "1/0", "a/b", "-1/3"):
        with pytest.raises(ConfigError, match="a share is i/n"):
            Share.parse(text)
