"""Charts as inline SVG; colours come from the page, so they follow its light and dark form."""

from collections.abc import Sequence
from html import escape

import numpy as np

from facewright.cli.report.model import Curve, Histogram

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 24, 16, 40
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
BINS = 56
ROC_STARTS = (0.0, 0.5, 0.8, 0.9)  # where the axis of true match rates may begin: each gives five round steps
DASHES = ("", "7 4", "2 4", "10 3 2 3")


def histogram(scores: Histogram) -> str:
    """Two outlines over one cosine axis, each scaled so that its area is 1."""
    both = np.concatenate([scores.genuine, scores.impostor])
    low = max(-1.0, np.floor(both.min() * 10) / 10)
    high = min(1.0, np.ceil(both.max() * 10) / 10)
    if high - low < 0.1:
        low, high = max(-1.0, low - 0.1), min(1.0, high + 0.1)
    edges = np.linspace(low, high, BINS + 1)
    densities = [np.histogram(values, edges, density=True)[0] for values in (scores.impostor, scores.genuine)]
    tallest = max(float(density.max()) for density in densities)

    def across(cosine: float) -> float:
        return float(LEFT + (cosine - low) / (high - low) * PLOT_WIDTH)

    parts = []
    step = 0.1 if high - low <= 0.9 else 0.2
    for number in range(int(np.ceil(low / step - 1e-6)), int(np.floor(high / step + 1e-6)) + 1):
        parts.append(_x_tick(across(number * step), f"{number * step:.1f}"))
    for density, name in zip(densities, ("impostor", "genuine"), strict=True):
        points = [f"{across(low):.1f},{TOP + PLOT_HEIGHT}"]
        for left, right, height in zip(edges[:-1], edges[1:], density, strict=True):
            y = TOP + PLOT_HEIGHT * (1 - float(height) / tallest)
            points += [f"{across(float(left)):.1f},{y:.1f}", f"{across(float(right)):.1f},{y:.1f}"]
        points.append(f"{across(high):.1f},{TOP + PLOT_HEIGHT}")
        parts.append(f'<polygon class="area {name}" points="{" ".join(points)}"/>')
    if scores.threshold is not None and low <= scores.threshold <= high:
        x = across(scores.threshold)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + PLOT_HEIGHT}"/>')
        place = f'class="end" x="{x - 6:.1f}"' if x > LEFT + PLOT_WIDTH / 2 else f'x="{x + 6:.1f}"'
        parts.append(f'<text {place} y="{TOP + 10}">threshold {scores.threshold:.2f}</text>')
    parts.append(_axis_title("cosine of two faces"))
    said = (
        f"{scores.title}: {scores.genuine.size} pairs of one person, mean cosine {scores.genuine.mean():.2f}; "
        f"{scores.impostor.size} pairs of two people, mean cosine {scores.impostor.mean():.2f}."
    )
    return _svg(parts, said)


def roc(curves: Sequence[Curve]) -> str:
    """True match rate over false match rate, the latter on a log axis down to one false match of the longest list."""
    decades = int(np.clip(np.ceil(np.log10(max(curve.impostors for curve in curves))), 1, 6))
    smallest = min(float(_seen(curve, decades)[1].min()) for curve in curves)
    lowest = max(start for start in ROC_STARTS if start <= smallest)

    def across(rate: float) -> float:
        return float(LEFT + (np.log10(max(rate, 10.0**-decades)) + decades) / decades * PLOT_WIDTH)

    def up(rate: float) -> float:
        return TOP + PLOT_HEIGHT * (1 - (rate - lowest) / (1 - lowest))

    parts = []
    for power in range(-decades, 1):
        rate = 10.0**power
        parts.append(_x_tick(across(rate), f"{rate * 100:g}%"))
    for rate in np.linspace(lowest, 1.0, 6):
        y = up(float(rate))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 7}" y="{y + 4:.1f}">{rate:.0%}</text>')
    for index, curve in enumerate(curves):
        false_match, true_match = _seen(curve, decades)
        line = _thinned([(across(float(x)), up(float(y))) for x, y in zip(false_match, true_match, strict=True)])
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        dash = DASHES[index % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(f'<polyline class="line line{index % len(DASHES)}"{dashed} points="{points}"/>')
    parts.append(_axis_title("false match rate"))
    said = "True match rate over false match rate: " + ", ".join(curve.label for curve in curves) + "."
    return _svg(parts, said)


def _seen(curve: Curve, decades: int) -> tuple[np.ndarray, np.ndarray]:
    """A curve left to right, from the rate of one false match (or the axis' left end) and the height it has there."""
    start = max(10.0**-decades, 1 / curve.impostors)
    order = np.lexsort((curve.true_match, curve.false_match))
    false_match, true_match = curve.false_match[order], curve.true_match[order]
    reached = true_match[false_match <= start]
    first = float(reached.max()) if reached.size else float(true_match[0])
    beyond = false_match > start
    return np.append(start, false_match[beyond]), np.append(first, true_match[beyond])


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Both ends, and between them the points that lie a pixel or more from the last one kept."""
    kept = [points[0]]
    for x, y in points[1:-1]:
        if abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= 1:
            kept.append((x, y))
    return [*kept, points[-1]]


def _x_tick(x: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + PLOT_HEIGHT}"/>'
        f'<text class="middle" x="{x:.1f}" y="{TOP + PLOT_HEIGHT + 17}">{label}</text>'
    )


def _axis_title(text: str) -> str:
    return f'<text class="middle" x="{LEFT + PLOT_WIDTH / 2:.0f}" y="{HEIGHT - 5}">{text}</text>'


def _svg(parts: Sequence[str], said: str) -> str:
    body = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">{body}</svg>'
