"""Progress on stderr, the summary on stdout, figures in whole files."""

import json
from pathlib import Path

import pytest

from facewright.cli import console


def test_progress_off_a_terminal_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_bar("Embedding") as progress:
        for done in range(1, 4):
            progress(done, 3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Embedding: 3, ")
    assert shown.err.count("\n") == 1


def test_long_work_off_a_terminal_says_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 31.0, 40.0, 62.0, 70.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress_bar("Embedding") as progress:
        for done in range(1, 5):
            progress(done, 4)
    assert capsys.readouterr().err.splitlines() == [
        "Embedding: 2 of 4, 31 s",
        "Embedding: 4 of 4, 62 s",
        "Embedding: 4, 70.0 s",
    ]


def test_things_are_counted_in_words() -> None:
    assert [console.counted(number, "photo") for number in (0, 1, 1200)] == ["0 photos", "1 photo", "1,200 photos"]
    assert console.counted(2, "identity", "identities") == "2 identities"


def test_progress_on_a_terminal_draws_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with console.progress_bar("Embedding") as progress:
        progress(3, 3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Embedding" in shown.err
    assert "3/3" in shown.err


def test_summary_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.summary(["one", "two"])
    assert capsys.readouterr() == ("one\ntwo\n", "")


def test_json_is_written_where_asked(tmp_path: Path) -> None:
    console.write_json(None, {"never": 1})
    console.write_json(tmp_path / "deep" / "a.json", {"eer": 0.5})
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"eer": 0.5}


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    console.write_json(path, {"eer": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.write_json(path, {"eer": float("nan")})
    assert json.loads(path.read_text()) == {"eer": 0.5}
