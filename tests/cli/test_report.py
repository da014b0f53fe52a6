"""The report: self-contained, escaped, and saying what it was given."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from facewright.cli.report import Curve, Histogram, Person, Report, Table, charts, render
from facewright.errors import ConfigError


class _Page(HTMLParser):
    """Every address and every open tag of a page."""

    VOID = frozenset({"img", "meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images = 0
        self.open: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [values[key] or "" for key in ("src", "href") if key in values]
        self.images += tag == "img"
        if values.get("id"):
            self.ids.add(str(values["id"]))
        if tag == "img":
            assert values["alt"], "a picture without a text for those who do not see it"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _read(page: str) -> _Page:
    reader = _Page()
    reader.feed(page)
    reader.close()
    return reader


def test_page_is_whole_and_needs_nothing_from_outside(report: Report) -> None:
    page = render(report)
    reader = _read(page)
    assert reader.open == []
    assert reader.images == sum(len(person.faces) for person in report.people) + len(report.people)
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in reader.addresses)
    assert not re.search(r"https?://|@import|url\(|<script", page)
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_links_of_the_mosaic_lead_to_people(report: Report) -> None:
    reader = _read(render(report))
    assert {address[1:] for address in reader.addresses if address.startswith("#")} <= reader.ids


def test_everything_given_is_said(report: Report) -> None:
    page = render(report)
    for text in (
        "1.2 %",
        "Equal error rate",
        "FMR100",
        "Identities",
        "96.2 s",
        "97 s in all",
        "2.13.0",
        report.command,
    ):
        assert text in page
    assert "mean cosine 0." in page


def test_text_is_escaped(report: Report) -> None:
    person = replace(report.people[0], name='<b>"Ann" & Bo</b>')
    page = render(replace(report, people=(person,), title="a < b $title"))
    assert "<b>" not in page.replace('<b><i style="width', "")
    assert "&lt;b&gt;&quot;Ann&quot; &amp; Bo&lt;/b&gt;" in page
    assert "<title>a &lt; b $title</title>" in page


def test_a_report_may_be_short(report: Report) -> None:
    page = render(Report(title="One", lede="Only faces.", people=(replace(report.people[0], similarity=None),)))
    assert "<h2>Faces by identity</h2>" in page
    assert "<svg" not in page
    assert "mean cosine" not in page
    assert _read(page).open == []


def _points(svg: str, kind: str) -> np.ndarray:
    element = next(item for item in ElementTree.fromstring(svg).iter() if kind in item.get("class", "").split())
    return np.array([[float(value) for value in point.split(",")] for point in element.get("points", "").split()])


def _area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def test_both_histograms_have_one_area() -> None:
    chance = np.random.default_rng(1)
    svg = charts.histogram(Histogram("t", chance.normal(0.6, 0.05, 300), chance.normal(0, 0.1, 9000), 0.3))
    genuine, impostor = _area(_points(svg, "genuine")), _area(_points(svg, "impostor"))
    assert genuine == pytest.approx(impostor, rel=0.02)
    assert "threshold 0.30" in svg
    assert ">0.0</text>" in svg
    assert ">0.8</text>" in svg


def test_a_small_negative_mean_shows_no_sign(report: Report) -> None:
    person = replace(report.people[0], similarity=np.full(8, -0.001))
    page = render(replace(report, people=(person,)))
    assert "mean cosine 0.00" in page
    assert "-0.00" not in page


def test_histogram_of_one_value_is_drawn() -> None:
    svg = charts.histogram(Histogram("t", np.ones(3), np.ones(2)))
    assert np.isfinite(_points(svg, "genuine")).all()


def test_roc_rises_and_stays_inside_the_plot() -> None:
    chance = np.random.default_rng(2)
    genuine, impostor = chance.normal(1, 1, 4000), chance.normal(-1, 1, 6000)
    cuts = np.sort(np.concatenate([genuine, impostor]))
    curve = Curve(
        "c",
        1 - np.searchsorted(np.sort(impostor), cuts) / impostor.size,
        1 - np.searchsorted(np.sort(genuine), cuts) / genuine.size,
        impostor.size,
    )
    svg = charts.roc([curve])
    points = _points(svg, "line")
    assert (np.diff(points[:, 0]) >= 0).all()
    assert (np.diff(points[:, 1]) <= 0).all()  # y grows downwards
    assert points[:, 0].min() >= charts.LEFT
    assert points[:, 0].max() <= charts.WIDTH - charts.RIGHT
    assert points[:, 1].min() >= charts.TOP
    assert points[:, 1].max() <= charts.TOP + charts.PLOT_HEIGHT + 1e-6
    assert len(points) < 1500  # ten thousand thresholds, thinned to what can be seen
    assert "100%" in svg


def test_a_perfect_roc_is_drawn() -> None:
    svg = charts.roc([Curve("c", np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0]), 500)])
    points = _points(svg, "line")
    assert (points[:, 1] == charts.TOP).all()
    assert points[-1, 0] == charts.LEFT + charts.PLOT_WIDTH


def test_a_roc_starts_at_one_false_match() -> None:
    few = Curve("few", np.array([1.0, 0.01, 0.0]), np.array([1.0, 0.8, 0.6]), 100)
    many = Curve("many", np.array([1.0, 0.01, 0.0]), np.array([1.0, 0.8, 0.6]), 10_000)
    points = _points(charts.roc([few, many]), "line")
    assert points[0, 0] == pytest.approx(charts.LEFT + charts.PLOT_WIDTH / 2)  # 1 % lies half-way to 0.01 %


def test_what_does_not_fit_is_refused(report: Report) -> None:
    faces = report.people[0].faces
    with pytest.raises(ConfigError, match="uint8"):
        Person("Ann", faces.astype(np.float32))
    with pytest.raises(ConfigError, match="similarities of shape"):
        Person("Ann", faces, np.zeros(3))
    with pytest.raises(ConfigError, match="2 columns and a row of 1"):
        Table("t", ("a", "b"), (("x",),))
    with pytest.raises(ConfigError, match="finite"):
        Histogram("t", np.array([np.nan]), np.zeros(2))
    with pytest.raises(ConfigError, match="two vectors"):
        Curve("c", np.zeros(2), np.zeros(3), 5)
    with pytest.raises(ConfigError, match="one person"):
        Report(title="t", lede="l", people=())
