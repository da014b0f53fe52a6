"""A drawn face that the default detector finds, pictures without one, and a detector that is told what to say."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from facewright.align import Face

# Eyes, nose tip and mouth corners of `draw_face`, in its units around its centre.
DRAWN_POINTS = np.array([[-16, -10], [16, -10], [0, 8], [-13, 27], [13, 27]], float)


def draw_face(
    width: int = 160, height: int = 160, *, centre: tuple[float, float] = (80, 80), unit: float = 1.0
) -> np.ndarray:
    """uint8 (height, width, 3) RGB with one face, 76 `unit` wide, drawn at four times the size and shrunk."""
    picture = Image.new("RGB", (width * 4, height * 4), (90, 120, 150))
    draw = ImageDraw.Draw(picture)

    def oval(x: float, y: float, half_width: float, half_height: float, colour: tuple[int, int, int]) -> None:
        left, top = (centre[0] + (x - half_width) * unit) * 4, (centre[1] + (y - half_height) * unit) * 4
        draw.ellipse([left, top, left + 8 * half_width * unit, top + 8 * half_height * unit], fill=colour)

    oval(0, -8, 43, 56, (70, 45, 30))
    oval(0, -2, 36, 45.4, (226, 178, 150))
    for side in (-1, 1):
        oval(side * 16, -10, 11, 6.8, (192, 151, 127))
        oval(side * 16, -24.7, 10, 2.5, (80, 50, 35))
        oval(side * 16, -10, 8, 4.4, (245, 245, 245))
        oval(side * 16, -10, 4, 4.4, (40, 30, 25))
        oval(side * 4.8, 13, 2.5, 1.5, (130, 80, 70))
        oval(side * 22, 12, 9, 9, (235, 185, 156))
    oval(0, 2, 4, 12, (248, 195, 165))
    oval(0, 12, 7, 4, (180, 142, 120))
    oval(0, 28, 14, 5.2, (180, 80, 80))
    oval(0, 27, 13, 2, (110, 40, 40))
    oval(0, 38, 9, 3, (212, 167, 141))
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def draw_shapes(seed: int, width: int = 240, height: int = 200) -> np.ndarray:
    """uint8 (height, width, 3) RGB with circles and boxes, no face."""
    generator = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), tuple(int(v) for v in generator.integers(0, 256, 3)))
    draw = ImageDraw.Draw(picture)
    for number in range(30):
        left, top = (int(v) for v in generator.integers(-20, width, 2))
        wide, high = (int(v) for v in generator.integers(3, 90, 2))
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape([left, top, left + wide, top + high], fill=tuple(int(v) for v in generator.integers(0, 256, 3)))
    return np.asarray(picture)


def centre_face(image: np.ndarray) -> Face:
    """The face that `draw_face` draws at its defaults, whatever the picture shows."""
    return Face((42.0, 30.0, 118.0, 130.0), DRAWN_POINTS + 80, 0.5)


class Scripted:
    """A detector that answers from a function, and counts how often it is asked."""

    name = "scripted"

    def __init__(self, answer: Callable[[np.ndarray], list[Face]]) -> None:
        self.answer = answer
        self.asked = 0

    def detect(self, image: np.ndarray) -> list[Face]:
        self.asked += 1
        return self.answer(image)
