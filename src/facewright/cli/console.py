"""What the commands show: progress on stderr, one summary on stdout, figures for programs in a file."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Progress = Callable[[int, int], None]


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Give a function of (done, total) that draws a bar on stderr while the block runs.

    Where stderr is no terminal there is no bar: one line is written when the block ends well.
    """
    started = time.monotonic()
    if not sys.stderr.isatty():
        counted = [0]

        def count(done: int, total: int) -> None:  # noqa: ARG001 - the shape of every progress function
            counted[0] = done

        yield count
        amount = f" {counted[0]}," if counted[0] else ""
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
