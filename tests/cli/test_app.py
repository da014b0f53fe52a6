"""The command line as a whole: quick help, one sentence for every mistake, exit codes of the contract."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from facewright import __version__, errors
from facewright.cli import app

PUBLIC = {
    "demo",
    "doctor",
    "align",
    "embed",
    "contexts uniform",
    "contexts photos",
    "run",
    "sample",
    "set check",
    "evaluate verification",
    "evaluate templates",
    "evaluate identification",
    "evaluate set",
    "evaluate leakage",
    "train encoder",
    "train autoencoder",
    "train generator",
    "train recogniser",
}


def _commands(command: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf below a command: its words and its help."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, getattr(command, "help", "") or ""
        return
    for name, each in below.items():
        yield from _commands(each, f"{path} {name}".strip())


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def _failing_with(error: BaseException) -> Callable[[], typer.Typer]:
    def build() -> typer.Typer:
        broken = typer.Typer(rich_markup_mode=None)

        @broken.command()
        def work() -> None:
            raise error

        return broken

    return build


def test_every_command_of_the_contract_is_there() -> None:
    assert dict(_commands(typer.main.get_command(app.build()))).keys() >= PUBLIC


def test_every_command_shows_one_worked_example() -> None:
    for path, text in _commands(typer.main.get_command(app.build())):
        assert text.count("Example:") == 1, path
        assert f"facewright {path} " in f"{text.partition('Example:')[2]} ", path


def test_help_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from facewright.cli import app\n"
        "assert app.run(['--help']) == 0\n"
        "heavy = {'torch', 'cv2', 'matplotlib', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    began = time.monotonic()
    ended = _python(code)
    seconds = time.monotonic() - began
    assert ended.returncode == 0, ended.stderr
    assert "evaluate" in ended.stdout
    assert seconds < 3  # well under one on an idle machine


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"facewright {__version__}\n"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["doctor", "--jso", "x"], "No such option: --jso (Possible options: --json); see `facewright doctor --help`."),
        (["docter"], "No such command 'docter'. Did you mean 'doctor'?; see `facewright --help`."),
        (["demo", "--seed", "x"], "Invalid value for '--seed'"),
        (["set", "chek"], "Did you mean 'check'?"),
        (["train", "encoder"], "Missing argument"),
    ],
)
def test_a_wrong_call_gets_one_sentence(call: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(call) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("facewright: ")
    assert shown.err.count("\n") == 1
    assert said in shown.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.InputError("a.jpg: no such photo"), 2, "facewright: a.jpg: no such photo\n"),
        (errors.ConfigError("steps must be at least 1"), 2, "facewright: steps must be at least 1\n"),
        (errors.DataError("a.npz: damaged"), 2, "facewright: a.npz: damaged\n"),
        (errors.WorkError("3 of 9 are kept"), 1, "facewright: 3 of 9 are kept\n"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/a.png"),
            1,
            "facewright: out/a.png: No space left on device; make room",
        ),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), 1, "Permission denied; make room or allow writing"),
        (FileExistsError(errno.EEXIST, "File exists", "a/b"), 2, "facewright: a/b: File exists; name another path.\n"),
        (KeyboardInterrupt(), 130, "facewright: stopped; the same command again continues.\n"),
    ],
)
def test_an_error_becomes_a_sentence_and_a_code(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "build", _failing_with(error))
    assert app.run([]) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_sigterm_ends_a_command_as_an_interrupt_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build() -> typer.Typer:
        waiting = typer.Typer()

        @waiting.command()
        def work() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

        return waiting

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(app, "build", build)
    assert app.run([]) == 130
    assert capsys.readouterr().err == "facewright: stopped; the same command again continues.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_our_own_slips_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "build", _failing_with(RuntimeError("a slip")))
    with pytest.raises(RuntimeError, match="a slip"):
        app.run([])


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = (
        "import os, sys, typer\n"
        "from facewright.cli import app\n"
        "def build():\n"
        "    broken = typer.Typer()\n"
        "    @broken.command()\n"
        "    def work():\n"
        "        for _ in range(100_000): print('a line')\n"
        "    return broken\n"
        "app.build = build\n"
        "reader, writer = os.pipe()\n"
        "os.close(reader)\n"
        "os.dup2(writer, 1)\n"
        "sys.exit(app.run([]))\n"
    )
    ended = _python(code)
    assert ended.returncode == 1
    assert ended.stderr == ""
