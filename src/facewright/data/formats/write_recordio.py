"""Write RecordIO: .rec, .idx, .lst and InsightFace's `property`."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from facewright.data.formats.pixels import picture_size
from facewright.data.formats.recordio import body_bytes, frame_bytes
from facewright.data.formats.records import Record, index_name
from facewright.errors import DataError

NAME = "train"
EXACT = 1 << 24  # whole numbers up to here are exact in float32


def write_recordio(records: Iterable[Record], out: Path, *, grouped: bool = False) -> None:
    """Write train.rec, train.idx, train.lst (key, label, name) and property (classes,height,width) into `out`.

    Args:
        records: in the order to write; with `grouped` the pictures of an identity must follow one another.
        out: an existing folder.
        grouped: InsightFace's form with identity records, keys from 1; otherwise keys from 0 as im2rec gives.
    """
    first = 1 if grouped else 0
    groups: dict[int, list[int]] = {}
    offset, key, size = 0, first - 1, (0, 0)
    rec, idx, lst = ((out / f"{NAME}.{suffix}").open("wb") for suffix in ("rec", "idx", "lst"))
    with rec, idx, lst:

        def put(number: int, body: bytes) -> None:
            nonlocal offset
            idx.write(f"{number}\t{offset}\n".encode())
            offset += rec.write(frame_bytes(body, f"{out}: key {number}"))

        for key, record in enumerate(records, first):
            label = record.label
            if label >= EXACT:
                raise DataError(f"{record.name}: label {label} is not exact as float32, which RecordIO keeps it in")
            if not any(size):
                with suppress(DataError):  # a picture is copied as it is, so another one tells the size
                    size = picture_size(record.image, record.name)
            if label in groups and groups[label][1] != key and grouped:
                raise DataError(f"{record.name}: the pictures of identity {label} do not follow one another")
            groups.setdefault(label, [key, key])[1] = key + 1
            put(key, body_bytes(record.image, (label,), key))
            lst.write(f"{key}\t{label:f}\t{index_name(record)}\n".encode())
        if grouped:
            for number, span in enumerate(groups.values(), key + 1):
                put(number, body_bytes(b"", np.array(span, np.float32).tolist(), number))
            bounds = np.array([key + 1, key + 1 + len(groups)], np.float32).tolist()
            put(0, body_bytes(b"", bounds, 0, number2=1))
    classes = max(groups, default=-1) + 1
    (out / "property").write_text(f"{classes},{size[0]},{size[1]}\n", encoding="utf-8")
