"""Read any photo as upright 8-bit RGB, or refuse it by name."""

import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from facewright.errors import DataError

MAX_PIXELS = 120_000_000
"""A larger photo is refused before it is decoded (its RGB pixels would take more than 360 MB)."""

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".avif"}
    | {".heic", ".heif", ".pgm", ".tga"}
)
"""Files that a folder or a tar is searched for, in lower case."""

_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}

# What Pillow's readers raise on broken or hostile bytes, beside their own OSError.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_photo(photo: Path | str) -> NDArray[np.uint8]:
    """Read a photo file: upright RGB, uint8 (H, W, 3).

    The EXIF orientation is applied. Grey, palette and CMYK become RGB; transparency is laid on white, as picture
    viewers show it; 16-bit grey keeps its high byte by rounding; of several frames the first is taken. Colour profiles
    are not applied.

    Raises:
        DataError: the file is missing, empty, truncated, no picture, or larger than `MAX_PIXELS`.
    """
    path = Path(photo)
    try:
        with path.open("rb") as stream:
            return decode_photo(stream, name=str(path))
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror or problem}") from problem


def decode_photo(stream: BinaryIO, *, name: str) -> NDArray[np.uint8]:
    """Decode a photo from an open file (see `read_photo`); `name` is what an error calls it.

    Raises:
        DataError: as `read_photo`.
    """
    if not stream.read(1):
        raise DataError(f"{name} is empty; copy the photo again")
    stream.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow warns of big pictures and odd metadata; size is checked below, and metadata is not used.
            warnings.simplefilter("ignore")
            with Image.open(stream) as image:
                _check_size(image, name)
                return _to_rgb(ImageOps.exif_transpose(image), name)
    except _DECODER_ERRORS as problem:
        raise DataError(f"{name} cannot be decoded as a picture: {_sentence(problem, name)}") from problem


def check_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the array back when it is a photo: uint8 (H, W, 3).

    Raises:
        DataError: it has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"a photo must be uint8 (H, W, 3) RGB, got {image.dtype} {image.shape}")
    return image


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{name} is {width} x {height} = {width * height / 1e6:.0f} megapixels, above the limit of "
            f"{MAX_PIXELS / 1e6:.0f}; make it smaller first"
        )


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image).astype(np.uint32)
        return np.ascontiguousarray(np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2))
    if image.mode in {"I", "F"}:
        raise DataError(f"{name} holds 32-bit grey values of unknown range; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.new("RGB", coloured.size, "white")
        image.paste(coloured, mask=coloured.getchannel("A"))
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _sentence(problem: BaseException, name: str) -> str:
    """Pillow's reason without the stream's address."""
    if isinstance(problem, UnidentifiedImageError):
        if name.lower().endswith((".heic", ".heif")):
            return "HEIC needs another program; save it as JPEG or PNG"
        return "the bytes are no known picture format"
    if isinstance(problem, Image.DecompressionBombError):
        return f"it is above the limit of {MAX_PIXELS / 1e6:.0f} megapixels; make it smaller first"
    return str(problem).split(" <", 1)[0] or type(problem).__name__
