"""The curves of training runs, drawn from their metrics."""

import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path

from facewright.training.atomic import atomic_path

COLUMNS = 3
NOT_DRAWN = ("images", "unix_s")


def draw_curves(runs: Sequence[Path], out: Path, *, only: Collection[str] = ()) -> list[str]:
    """Draw the figures of RUN/metrics.jsonl against the images seen, one panel a figure, one line a run.

    Where a run was stopped and resumed, the later row of the same number of images counts. Nothing is written where no
    run has a figure.

    Args:
        runs: run folders; each line is named by its folder.
        out: .png or .svg.
        only: the figures to draw; all where left out.

    Returns:
        The names of the figures drawn.
    """
    curves = {run.resolve().name: _curves(run / "metrics.jsonl") for run in runs}
    names = sorted({name for figures in curves.values() for name in figures if not only or name in only})
    if not names:
        return []
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, number)
        for run, figures in curves.items():
            if points := figures.get(name):
                axes.plot(*zip(*sorted(points.items()), strict=True), marker="." if len(points) == 1 else "", label=run)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("images seen", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if len(runs) > 1:
            axes.legend(fontsize=7)
    fixed = {"metadata": {"Date": None}} if out.suffix == ".svg" else {}
    with atomic_path(out) as temporary, rc_context({"svg.hashsalt": "curves", "svg.fonttype": "none"}):
        figure.savefig(temporary, dpi=100, format=out.suffix[1:], **fixed)  # type: ignore[arg-type]
    return names


def _curves(metrics: Path) -> dict[str, dict[int, float]]:
    """Figure by name, each a mapping of images seen to its value."""
    curves: dict[str, dict[int, float]] = {}
    if metrics.exists():
        for line in metrics.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for name in row.keys() - set(NOT_DRAWN):
                curves.setdefault(name, {})[row["images"]] = row[name]
    return curves
