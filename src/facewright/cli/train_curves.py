"""The curves of a training run, drawn from its metrics."""

import json
import math
from pathlib import Path

from facewright.training.atomic import atomic_path

COLUMNS = 3
NOT_DRAWN = ("images", "unix_s")


def draw_curves(run: Path) -> None:
    """Draw every figure of RUN/metrics.jsonl against the images seen, into RUN/curves.png.

    Where a run was stopped and resumed, the later row of the same number of images counts.
    """
    curves = _curves(run / "metrics.jsonl")
    if not curves:
        return
    from matplotlib.figure import Figure

    rows = math.ceil(len(curves) / COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.6 * rows), layout="constrained")
    for number, (name, points) in enumerate(sorted(curves.items()), start=1):
        axes = figure.add_subplot(rows, COLUMNS, number)
        axes.plot(*zip(*sorted(points.items()), strict=True), marker="." if len(points) == 1 else "")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("images seen", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    with atomic_path(run / "curves.png") as temporary:
        figure.savefig(temporary, dpi=100)


def _curves(metrics: Path) -> dict[str, dict[int, float]]:
    """Figure by name, each a mapping of images seen to its value."""
    curves: dict[str, dict[int, float]] = {}
    if metrics.exists():
        for line in metrics.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for name in row.keys() - set(NOT_DRAWN):
                curves.setdefault(name, {})[row["images"]] = row[name]
    return curves
