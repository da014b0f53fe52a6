"""Encoded pictures to pixels, strictly: a picture that is damaged anywhere is refused, not filled with grey.

JPEG goes through libjpeg-turbo by way of simplejpeg: as quick as OpenCV's reader and the same pixels as Pillow's, but
it also reports what those two pass over (a picture that ends early, or stray bytes in it), and raises instead of
writing to stderr. Other codecs go through Pillow.
"""

import io
from typing import Any

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from facewright.errors import DataError

LARGEST = 1 << 26  # pixels of one picture; a larger one is taken for an attack
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Decoder:
    """Turns encoded pictures into pixels, reusing its memory; one for each thread."""

    def __init__(self) -> None:
        self._scratch = np.empty(1 << 20, np.uint8)  # a picture of 591 x 591; pages are taken as they are touched

    def decode(self, image: bytes, where: str) -> np.ndarray:
        """Pixels (H, W, 3) uint8 RGB, valid until the next call; the EXIF orientation is not applied.

        Raises:
            DataError: the picture is damaged, of an unknown kind or larger than `LARGEST`; names `where`.
        """
        try:
            if not image.startswith(b"\xff\xd8"):
                return _decode_other(image, where)
            try:
                return _decode_jpeg(image, self._scratch)
            except ValueError:
                height, width = simplejpeg.decode_jpeg_header(image)[:2]
                needed = 3 * height * width
                if needed <= len(self._scratch) or height * width > LARGEST:
                    raise
                self._scratch = np.empty(needed, np.uint8)
                return _decode_jpeg(image, self._scratch)
        except _UNREADABLE as error:
            raise unreadable(error, where) from error


def picture_size(image: bytes, where: str) -> tuple[int, int]:
    """Height and width in pixels, from the picture's header; DataError where it has none."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            return opened.height, opened.width
    except _UNREADABLE as error:
        raise unreadable(error, where) from error


def unreadable(error: Exception, where: str) -> DataError:
    """What to raise for a picture that Pillow or libjpeg cannot read, whose own words may name an address in memory."""
    reason = "its kind is not known" if isinstance(error, UnidentifiedImageError) else error
    return DataError(f"{where}: not a readable picture ({reason}); replace it")


def _decode_jpeg(image: bytes, scratch: np.ndarray) -> Any:
    return simplejpeg.decode_jpeg(image, buffer=scratch)


def _decode_other(image: bytes, where: str) -> np.ndarray:
    with Image.open(io.BytesIO(image)) as opened:
        if opened.width * opened.height > LARGEST:
            raise DataError(
                f"{where}: a picture of {opened.width} x {opened.height} px is too large to be a face; replace it"
            )
        return np.asarray(opened.convert("RGB"))
