"""What the tests of this room share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.align.drawn import Scripted, centre_face

from facewright.align import Detector, load_detector


@pytest.fixture
def scripted() -> Scripted:
    """Finds a face in the middle of every picture that is not all black."""
    return Scripted(lambda image: [centre_face(image)] if image.any() else [])


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The default detector."""
    return load_detector()


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes an array (or a Pillow picture) below `photos/` and gives its path."""

    def write(name: str, pixels: np.ndarray | Image.Image, **options: object) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(path, **options)
        return path

    return write
