"""A report about people drawn in code; what a command draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.cli.sides import Sides

from facewright.cli.report import Curve, Figure, Histogram, Person, Report, Step, Table


def drawn_face(person: int, pose: int, *, size: int = 128) -> np.ndarray:
    """A cartoon face, uint8 (size, size, 3): colours and proportions from `person`, light and tilt from `pose`."""
    look = np.random.default_rng(person)
    skin = look.integers((150, 100, 70), (250, 210, 190))
    hair, ground = look.integers(20, 140, 3), look.integers(90, 230, 3)
    width, eyes, mouth = look.uniform(0.28, 0.38), look.uniform(0.10, 0.17), look.uniform(0.06, 0.14)
    change = np.random.default_rng([person, pose])
    light, shift = change.uniform(0.8, 1.15), change.uniform(-0.04, 0.04)

    def shade(colour: np.ndarray) -> tuple[int, ...]:
        return tuple(int(value) for value in np.clip(colour * light, 0, 255))

    picture = Image.new("RGB", (size, size), shade(ground))
    draw = ImageDraw.Draw(picture)
    x, y = size * (0.5 + shift), size * 0.52
    w, h = size * width, size * 0.4
    draw.ellipse((x - w * 1.1, y - h * 1.15, x + w * 1.1, y + h * 0.6), fill=shade(hair))
    draw.ellipse((x - w, y - h * 0.85, x + w, y + h), fill=shade(skin))
    for side in (-1, 1):
        centre = x + side * size * eyes
        draw.ellipse((centre - 6, y - 10, centre + 6, y - 3), fill=(245, 245, 240))
        draw.ellipse((centre - 3, y - 10, centre + 3, y - 4), fill=(40, 30, 25))
    draw.line((x, y, x - 3, y + 14, x + 3, y + 15), fill=shade(skin * 0.7), width=2)
    draw.arc((x - size * mouth, y + 16, x + size * mouth, y + 32), 10, 170, fill=(150, 50, 50), width=3)
    return np.asarray(picture)


@pytest.fixture
def report() -> Report:
    """Two dozen drawn people and figures that look like a run's."""
    chance = np.random.default_rng(0)
    people = tuple(
        Person(
            name=f"Person {person + 1:02d}",
            faces=np.stack([drawn_face(person, pose) for pose in range(8)]),
            similarity=chance.normal(0.62, 0.09, 8).clip(0, 1),
        )
        for person in range(24)
    )
    genuine, impostor = chance.normal(0.55, 0.12, 672).clip(-1, 1), chance.normal(0.04, 0.1, 17_664).clip(-1, 1)
    cuts = np.linspace(1, -1, 300)
    curve = Curve(
        "bundled encoder",
        np.array([(impostor >= cut).mean() for cut in cuts]),
        np.array([(genuine >= cut).mean() for cut in cuts]),
        impostor.size,
    )
    other = Curve("small recogniser", curve.false_match, curve.true_match**3, 1000)
    return Report(
        title="Two dozen people who do not exist",
        lede="Each face below was drawn by code from a number. Follow one to see the rest of that person.",
        people=people,
        figures=(
            Figure("1.2 %", "Equal error rate", "672 genuine and 17,664 impostor pairs, bundled encoder"),
            Figure("100 %", "Faces found", "192 of 192 images, dlib HOG"),
            Figure("0.62", "Mean cosine to the identity", "image against the embedding it was made for"),
            Figure("86.1 %", "Small recogniser", "accuracy on pairs of held-out new people"),
        ),
        histogram=Histogram("How alike two faces are", genuine, impostor, 0.29, "By the bundled encoder."),
        roc=(curve, other),
        roc_note="Higher is better.",
        tables=(
            Table(
                "The set in numbers",
                ("measure", "value", "how"),
                (("EER", "1.2 %", "where both errors are equal"), ("FMR100", "1.4 %", "FNMR at FMR 1 %")),
                "Protocols are named beside every figure.",
            ),
        ),
        steps=(
            Step("Identities", "24 new, uniform on the sphere", 0.4),
            Step("Faces", "192 of 128 px, 25 steps", 96.2),
        ),
        versions=(("facewright", "0.1.0"), ("torch", "2.13.0")),
        notes=("These people are drawings.",),
        command="facewright demo --seed 0",
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[int]]:
    """Numbers of the personalised pictures that are drawn; faces are found without looking for any."""
    from facewright.personalise import pictures

    monkeypatch.setattr("facewright.align.load_detector", lambda name: Sides())
    seen, draw = list[Sequence[int]](), pictures.draw_pictures

    def counted(*args: Any, **more: Any) -> Any:
        seen.append(more["numbers"])
        return draw(*args, **more)

    monkeypatch.setattr("facewright.personalise.pictures.draw_pictures", counted)
    return seen
