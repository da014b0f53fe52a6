"""A contact sheet: one picture of everyone."""

from collections.abc import Sequence

import numpy as np

from facewright.cli.report.model import Person

GAP = 2  # pixels between faces
PAPER = 250  # grey of the gaps


def contact_sheet(people: Sequence[Person]) -> np.ndarray:
    """One row a person, their faces side by side: uint8 (H, W, 3). Shorter rows end in paper."""
    height, width = people[0].faces.shape[1:3]
    columns = max(len(person.faces) for person in people)
    sheet = np.full((len(people) * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), PAPER, np.uint8)
    for row, person in enumerate(people):
        top = GAP + row * (height + GAP)
        for column, face in enumerate(person.faces):
            left = GAP + column * (width + GAP)
            sheet[top : top + height, left : left + width] = face
    return sheet
