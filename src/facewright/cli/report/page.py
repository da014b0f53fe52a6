"""Lay a report out as one HTML page."""

import base64
import io
from html import escape
from importlib import resources
from string import Template

import numpy as np
from PIL import Image

from facewright.cli.report import charts
from facewright.cli.report.gallery import gallery
from facewright.cli.report.model import Figure, Histogram, Person, Report, Step, Table

JPEG_QUALITY = 88


def render(report: Report) -> str:
    """One HTML page that holds its pictures, its charts and its style, and asks for nothing from outside.

    Works offline, in light and dark, and from a phone's width up. Every text is escaped.
    """
    page = Template((resources.files("facewright.cli.report") / "page.html").read_text(encoding="utf-8"))
    sections = [
        _figures(report.figures),
        _people(report.people),
        _charts(report),
        "".join(_table(table) for table in report.tables),
        "".join(gallery(shown, address=_picture) for shown in report.galleries),
        _steps(report.steps),
        _notes(report.notes),
        _versions(report),
    ]
    return page.substitute(
        title=escape(report.title),
        lede=escape(report.lede),
        mosaic=_mosaic(report.people),
        body="\n".join(section for section in sections if section),
    )


def _picture(face: np.ndarray) -> str:
    """A data address of one face, uint8 (H, W, 3), as JPEG."""
    held = io.BytesIO()
    Image.fromarray(face).save(held, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode("ascii")


def _mosaic(people: tuple[Person, ...]) -> str:
    """The first face of everyone, each a link to the rest of that person."""
    cells = [
        f'<a href="#p{index}"><img src="{_picture(person.faces[0])}" alt="{escape(person.name)}"></a>'
        for index, person in enumerate(people)
    ]
    return f'<nav class="mosaic" aria-label="Everyone">{"".join(cells)}</nav>'


def _figures(figures: tuple[Figure, ...]) -> str:
    if not figures:
        return ""
    cells = "".join(
        f"<div><dt>{escape(figure.label)}</dt><dd>{escape(figure.value)}<small>{escape(figure.note)}</small></dd></div>"
        for figure in figures
    )
    return f'<dl class="figures">{cells}</dl>'


def _people(people: tuple[Person, ...]) -> str:
    rows = "".join(_person(person, index) for index, person in enumerate(people))
    about = "The bar under a face shows its cosine to the identity it was made for."
    if all(person.similarity is None for person in people):
        about = ""
    return f'<section><h2>Faces by identity</h2><p class="about">{about}</p><div class="people">{rows}</div></section>'


def _person(person: Person, index: int) -> str:
    cells = []
    for number, face in enumerate(person.faces):
        bar, title = "", f"{person.name}, face {number + 1}"
        if person.similarity is not None:
            cosine = float(person.similarity[number])
            title += f", cosine {_two_places(cosine)}"
            bar = f'<i style="width:{100 * min(max(cosine, 0.0), 1.0):.0f}%"></i>'
        cells.append(f'<span title="{escape(title)}"><img src="{_picture(face)}" alt="{escape(title)}">{bar}</span>')
    mean = (
        ""
        if person.similarity is None
        else f" <small>mean cosine {_two_places(float(person.similarity.mean()))}</small>"
    )
    return (
        f'<figure id="p{index}"><figcaption>{escape(person.name)}{mean}</figcaption>'
        f'<div class="faces">{"".join(cells)}</div></figure>'
    )


def _two_places(value: float) -> str:
    """Without the sign that a small negative number would leave before 0.00."""
    return f"{round(value, 2) + 0.0:.2f}"


def _charts(report: Report) -> str:
    drawn = []
    if report.histogram is not None:
        drawn.append(_histogram(report.histogram))
    if report.roc:
        lines = "".join(
            f'<li class="key{index % len(charts.DASHES)}">{escape(curve.label)}</li>'
            for index, curve in enumerate(report.roc)
        )
        drawn.append(
            f'<figure class="chart"><h3>True match rate over false match rate</h3><ul class="legend">{lines}</ul>'
            f"{charts.roc(report.roc)}<figcaption>{escape(report.roc_note)}</figcaption></figure>"
        )
    return f'<section><h2>Do identities hold?</h2><div class="charts">{"".join(drawn)}</div></section>' if drawn else ""


def _histogram(scores: Histogram) -> str:
    return (
        f'<figure class="chart"><h3>{escape(scores.title)}</h3><ul class="legend">'
        f'<li class="genuine">two faces of one person ({scores.genuine.size:,})</li>'
        f'<li class="impostor">faces of two people ({scores.impostor.size:,})</li></ul>'
        f"{charts.histogram(scores)}<figcaption>{escape(scores.note)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.header)
    kinds = ["number" if column and all(map(_is_number, column)) else "words" for column in columns]
    head = _row("th", table.header, kinds)
    rows = "".join(_row("td", row, kinds) for row in table.rows)
    return (
        f"<section><h2>{escape(table.title)}</h2>"
        f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
        f'<p class="about">{escape(table.note)}</p></section>'
    )


def _row(tag: str, cells: tuple[str, ...], kinds: list[str]) -> str:
    inner = "".join(f'<{tag} class="{kind}">{escape(cell)}</{tag}>' for cell, kind in zip(cells, kinds, strict=True))
    return f"<tr>{inner}</tr>"


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-−±").strip()[:1].isdigit() or not cell


def _steps(steps: tuple[Step, ...]) -> str:
    if not steps:
        return ""
    total = sum(step.seconds for step in steps)
    longest = max(max(step.seconds for step in steps), 1e-9)
    items = "".join(
        f"<li><strong>{escape(step.title)}</strong> <span>{escape(step.detail)}</span>"
        f'<b><i style="width:{100 * step.seconds / longest:.0f}%"></i></b><em>{step.seconds:.1f} s</em></li>'
        for step in steps
    )
    return (
        f'<section><h2>What was run</h2><ol class="steps">{items}</ol>'
        f'<p class="about">{total:.0f} s in all.</p></section>'
    )


def _notes(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    return f"<section><h2>Before you quote a number</h2>{''.join(f'<p>{escape(note)}</p>' for note in notes)}</section>"


def _versions(report: Report) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.versions)
    command = f"<p>Make this page again:</p><pre>{escape(report.command)}</pre>" if report.command else ""
    return f'<footer>{command}<dl class="versions">{rows}</dl></footer>' if rows or command else ""
