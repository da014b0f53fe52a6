"""What the commands show: progress on stderr, one summary on stdout, figures for programs in a file."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Progress = Callable[[int, int], None]

LINE_EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal to draw a bar on."""


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Give a function of (done, total) that draws a bar on stderr while the block runs.

    Where stderr is no terminal there is no bar: a line is written every `LINE_EVERY` seconds, and one when the block
    ends well.
    """
    started = time.monotonic()
    if not sys.stderr.isatty():
        reached, said = 0, started

        def count(done: int, total: int) -> None:
            nonlocal reached, said
            reached = done
            if (now := time.monotonic()) - said >= LINE_EVERY:
                said = now
                note(f"{title}: {done} of {total}, {now - started:.0f} s")

        yield count
        amount = f" {reached}," if reached else ""
        note(f"{title}:{amount} {time.monotonic() - started:.1f} s")
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def note(line: str) -> None:
    """Write one line to stderr."""
    print(line, file=sys.stderr, flush=True)


def summary(lines: Iterable[str]) -> None:
    """Write a command's result to stdout, one line each."""
    for line in lines:
        print(line)


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things in words: "1 photo", "1,200 photos"; `many` where the plural is not `one` and an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write the figures to `path` (what `--json FILE` names), whole or not at all; nothing where it is None.

    NaN and infinity have no JSON form and are an error here, so a command decides what they mean before it writes.
    """
    if path is None:
        return
    from facewright.training.atomic import atomic_path

    text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
