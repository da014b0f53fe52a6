"""Plots of similarity scores as picture bytes, drawn without pyplot, so that nothing global changes."""

import io
from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from facewright.errors import InputError
from facewright.evaluation.rates import Rates, checked_scores, equal_error_rate

Format = Literal["png", "svg"]
Place = Literal["upper right", "lower right", "lower left"]

GENUINE, IMPOSTOR = "#1b7f79", "#d1495b"
CURVES = ("#1b7f79", "#d1495b", "#30638e", "#b98b19", "#6d597a", "#4d4d4d")
INK, GRID = "#333333", "#e3e3e3"
MOST_POINTS = 600  # of a curve, so that an SVG stays small


def score_histograms(
    genuine: np.ndarray,
    impostor: np.ndarray,
    *,
    title: str = "Similarity of pairs",
    threshold: float | None = None,
    threshold_label: str = "EER threshold",
    bins: int = 80,
    picture: Format = "svg",
) -> bytes:
    """Both distributions of cosines on one axis, each with area one.

    Args:
        genuine: (G,) similarities of pairs of one identity.
        impostor: (I,) similarities of pairs of two identities.
        title: above the plot.
        threshold: where a line is drawn, or None.
        threshold_label: what the line is called.
        bins: over the range of both sets.
        picture: "svg" or "png".
    """
    genuine, impostor = checked_scores(genuine, impostor)
    figure, axes = _figure(title)
    low, high = min(genuine.min(), impostor.min()), max(genuine.max(), impostor.max())
    edges = np.linspace(low, high if high > low else low + 1e-3, bins + 1)
    for name, scores, colour in (("different identities", impostor, IMPOSTOR), ("same identity", genuine, GENUINE)):
        label = f"{name} ({scores.size:,} pairs, mean {scores.mean().round(2) + 0.0:.2f})"
        _outline(axes, edges, scores, colour, label)
    if threshold is not None:
        _threshold(axes, threshold, threshold_label)
    axes.set(xlabel="cosine similarity", ylabel="density", xlim=(edges[0], edges[-1]))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)  # room for the legend
    _legend(axes, "upper right")
    return _bytes(figure, picture)


def roc_plot(curves: Mapping[str, Rates], *, title: str = "ROC", picture: Format = "svg") -> bytes:
    """Share of genuine pairs accepted over the false match rate, the latter on a logarithmic axis.

    Args:
        curves: name of a curve to its rates.
        title: above the plot.
        picture: "svg" or "png".
    """
    figure, axes = _figure(title)
    lowest = _lowest_rate(curves)
    for (name, rates), colour in zip(curves.items(), _colours(curves), strict=True):
        fmr, accepted = _thinned(np.maximum(rates.fmr, lowest), 1.0 - rates.fnmr)
        axes.plot(fmr, accepted, color=colour, linewidth=1.8, label=f"{name} (EER {equal_error_rate(rates)[0]:.2%})")
    axes.set_xscale("log")
    axes.set(xlabel="false match rate", ylabel="genuine pairs accepted", xlim=(lowest, 1), ylim=(0, 1.02))
    _percent_decades(axes, lowest)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    _legend(axes, "lower right")
    return _bytes(figure, picture)


def det_plot(curves: Mapping[str, Rates], *, title: str = "DET", picture: Format = "svg") -> bytes:
    """False non-match rate over false match rate, both logarithmic; lower is better.

    Args:
        curves: name of a curve to its rates.
        title: above the plot.
        picture: "svg" or "png".
    """
    figure, axes = _figure(title)
    lowest = _lowest_rate(curves)
    bottom = 10.0 ** np.floor(np.log10(min(1 / rates.genuine for rates in curves.values())))
    for (name, rates), colour in zip(curves.items(), _colours(curves), strict=True):
        fmr, fnmr = _thinned(np.maximum(rates.fmr, lowest), np.maximum(rates.fnmr, bottom))
        axes.plot(fmr, fnmr, color=colour, linewidth=1.8, label=f"{name} (EER {equal_error_rate(rates)[0]:.2%})")
    diagonal = (max(lowest, bottom), 1)
    axes.plot(diagonal, diagonal, color="#999999", linewidth=0.9, linestyle=(0, (4, 3)), label="equal error rates")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="false match rate", ylabel="false non-match rate", xlim=(lowest, 1), ylim=(bottom, 1.15))
    _percent_decades(axes, lowest)
    _percent_decades(axes, bottom, vertical=True)
    _legend(axes, "lower left")
    return _bytes(figure, picture)


def cmc_plot(curves: Mapping[str, np.ndarray], *, title: str = "Identification", picture: Format = "svg") -> bytes:
    """Share of probes whose person is among the first k, over k (cumulative match characteristic).

    Args:
        curves: name of a curve to its rank rates from rank 1 up, as `Identification.cmc` gives them.
        title: above the plot.
        picture: "svg" or "png".
    """
    if not curves:
        raise InputError("a plot needs at least one curve")
    figure, axes = _figure(title)
    for (name, rates), colour in zip(curves.items(), _colours(curves), strict=True):
        label = f"{name} (rank 1 {rates[0]:.2%})"
        axes.step(np.arange(1, len(rates) + 1), rates, where="post", color=colour, linewidth=1.8, label=label)
    most = max(2, *(len(rates) for rates in curves.values()))
    axes.set(xlabel="rank", ylabel="probes found", xlim=(1, most), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    _legend(axes, "lower right")
    return _bytes(figure, picture)


def similarity_histograms(
    groups: Mapping[str, np.ndarray],
    *,
    title: str,
    threshold: float | None = None,
    threshold_label: str = "threshold",
    bins: int = 80,
    picture: Format = "svg",
) -> bytes:
    """Several distributions of cosines on one axis, each with area one.

    Args:
        groups: name to (n,) finite similarities.
        title: above the plot.
        threshold: where a line is drawn, or None.
        threshold_label: what the line is called.
        bins: over the range of all.
        picture: "svg" or "png".
    """
    if not groups or any(not (scores.size and np.isfinite(scores).all()) for scores in groups.values()):
        raise InputError("a histogram needs at least one group, and finite similarities in each")
    figure, axes = _figure(title)
    low, high = min(scores.min() for scores in groups.values()), max(scores.max() for scores in groups.values())
    edges = np.linspace(low, high if high > low else low + 1e-3, bins + 1)
    for (name, scores), colour in zip(groups.items(), _colours(groups), strict=True):
        _outline(axes, edges, scores, colour, f"{name} ({scores.size:,}, mean {scores.mean().round(2) + 0.0:.2f})")
    if threshold is not None:
        _threshold(axes, threshold, threshold_label)
    axes.set(xlabel="cosine similarity", ylabel="density")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)  # room for the legend
    _legend(axes, "upper right")
    return _bytes(figure, picture)


def _outline(axes: Axes, edges: np.ndarray, scores: np.ndarray, colour: str, label: str) -> None:
    heights, _ = np.histogram(scores, edges, density=True)
    axes.stairs(heights, edges, fill=True, color=colour, alpha=0.35)
    axes.stairs(heights, edges, color=colour, linewidth=1.4, label=label)


def _threshold(axes: Axes, threshold: float, label: str) -> None:
    line = (0, (4, 3))
    axes.axvline(threshold, ymax=0.76, color=INK, linewidth=1, linestyle=line, label=f"{label} {threshold:.3f}")


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=10)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color("#999999")
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def _legend(axes: Axes, place: Place) -> None:
    axes.legend(loc=place, fontsize=9, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK)


def _colours(curves: Mapping[str, Rates] | Mapping[str, np.ndarray]) -> list[str]:
    return [CURVES[index % len(CURVES)] for index in range(len(curves))]


def _lowest_rate(curves: Mapping[str, Rates]) -> float:
    """The decade that holds one false match of the largest set."""
    if not curves:
        raise InputError("a plot needs at least one curve")
    most = max(rates.impostor for rates in curves.values())
    return float(10.0 ** np.floor(np.log10(1 / max(most, 10))))


def _thinned(horizontal: np.ndarray, vertical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `MOST_POINTS` points of a curve, evenly apart along it as drawn on a logarithmic axis."""
    if len(horizontal) <= MOST_POINTS:
        return horizontal, vertical
    way = np.cumsum(
        np.abs(np.diff(np.log10(horizontal), prepend=np.log10(horizontal[0])))
        + np.abs(np.diff(vertical, prepend=vertical[0]))
    )
    index = np.unique(np.searchsorted(way, np.linspace(0, way[-1], MOST_POINTS)).clip(max=len(way) - 1))
    return horizontal[index], vertical[index]


def _percent_decades(axes: Axes, lowest: float, *, vertical: bool = False) -> None:
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_major_locator(FixedLocator([10.0**power for power in range(round(np.log10(lowest)), 1)]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))


def _bytes(figure: Figure, picture: Format) -> bytes:
    if picture not in ("png", "svg"):
        raise InputError(f"a plot is written as png or svg, got {picture!r}")
    held = io.BytesIO()
    figure.savefig(held, format=picture, dpi=150, metadata={"Date": None} if picture == "svg" else None)
    return held.getvalue()
