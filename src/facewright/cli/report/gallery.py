"""Whole pictures with what was asked for under each."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture, uint8 (H, W, 3) RGB, and two lines of text."""

    image: np.ndarray
    caption: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures that belong together."""

    title: str
    pictures: tuple[Shown, ...]
    note: str = ""


def gallery(shown: Gallery, *, address: Callable[[np.ndarray], str]) -> str:
    """The pictures side by side, in their own proportions; `address` gives a picture's data address."""
    cells = "".join(
        f'<figure><img src="{address(one.image)}" alt="{escape(one.caption)}">'
        f"<figcaption>{escape(one.caption)} <small>{escape(one.note)}</small></figcaption></figure>"
        for one in shown.pictures
    )
    note = f'<p class="about">{escape(shown.note)}</p>' if shown.note else ""
    return f'<section><h2>{escape(shown.title)}</h2>{note}<div class="gallery">{cells}</div></section>'
