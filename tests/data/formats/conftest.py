"""Small data sets of drawn pictures."""

from dataclasses import replace

import pytest
from tests.data.formats.toy_sets import LABELS, Listed, drawn_jpeg

from facewright.data.formats import Record


@pytest.fixture(scope="session")
def drawn() -> Listed:
    """Eight pictures of three people, in mixed order."""
    return Listed([Record(drawn_jpeg(n), label, f"p{label}/{n}.jpg") for n, label in enumerate(LABELS)])


@pytest.fixture(scope="session")
def drawn_pairs(drawn: Listed) -> Listed:
    """The same pictures as four pairs, of which the first and the last match."""
    return Listed([replace(record, label=int(n in (0, 1, 6, 7))) for n, record in enumerate(drawn.records)])
