"""Decoding: Pillow's pixels exactly, and nothing that is damaged."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.data.formats.toy_sets import drawn_jpeg

from facewright.data.formats import Decoder
from facewright.data.formats.pixels import picture_size
from facewright.errors import DataError


def _encoded(kind: str, **settings: object) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(drawn_jpeg(1))).save(out, kind, **settings)
    return out.getvalue()


@pytest.mark.parametrize(
    "image",
    [
        drawn_jpeg(0),
        drawn_jpeg(0, size=700),  # larger than the decoder's first memory
        _encoded("JPEG", progressive=True),
        _encoded("PNG"),
        _encoded("WEBP", lossless=True),
        _encoded("BMP"),
    ],
)
def test_pixels_are_those_of_pillow(image: bytes) -> None:
    decoder = Decoder()
    for _ in range(2):
        wanted = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
        assert np.array_equal(decoder.decode(image, "here"), wanted)
        assert picture_size(image, "here") == wanted.shape[:2]


def test_grey_becomes_rgb() -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(out, "JPEG")
    assert np.array_equal(Decoder().decode(out.getvalue(), "here"), np.full((8, 8, 3), 100))


JPEG = drawn_jpeg(0)
HALF = len(JPEG) // 2


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"no picture",
        JPEG[:HALF],
        JPEG[:-2],
        JPEG[:HALF] + b"\xff\xd9" + JPEG[HALF + 2 :],  # ends early; Pillow and OpenCV fill the rest with grey
        b"\xff\xd8\xff\xd9",
        _encoded("PNG")[:-30],
        JPEG[: JPEG.index(b"\xff\xc0") + 5] + b"\xff\xff\xff\xff" + JPEG[JPEG.index(b"\xff\xc0") + 9 :],  # 65535 px
    ],
)
def test_damaged_pictures_are_refused(image: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="here: not a readable picture"):
        Decoder().decode(image, "here")
    assert capfd.readouterr() == ("", "")


def test_a_picture_of_no_kind_is_told_without_an_address_in_memory() -> None:
    for read in (Decoder().decode, picture_size):
        with pytest.raises(DataError, match=r"^here: not a readable picture \(its kind is not known\); replace it$"):
            read(b"no picture", "here")
