"""Small data sets of drawn pictures, in memory and on disk."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from facewright.data.formats import ExportConfig, Record, Records, export_records, open_records

LABELS = (0, 1, 0, 2, 1, 2, 2, 0)


def drawn_jpeg(number: int, *, size: int = 112) -> bytes:
    """A JPEG of soft colours that the number fixes."""
    low = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    encoded = cv2.imencode(".jpg", cv2.resize(low, (size, size), interpolation=cv2.INTER_CUBIC))[1]
    return encoded.tobytes()


class Listed(Records):
    """Records that a test lists."""

    format = "listed"

    def __init__(self, records: Sequence[Record]) -> None:
        super().__init__(Path("listed"))
        self.records = list(records)

    def __len__(self) -> int:
        return len(self.records)

    def read(self, number: int) -> Record:
        return self.records[number]

    def where(self, number: int) -> str:
        return f"listed: record {number}"


def write(records: Records, out: Path, to: str, **settings: object) -> Path:
    """Export into a new folder (for bin a file) and give its path."""
    export_records(records, out, ExportConfig(to=to, **settings))  # type: ignore[arg-type]
    return out


def content(source: Path | Records) -> list[tuple[int, bytes]]:
    """Labels and picture bytes, in order."""
    records = source if isinstance(source, Records) else open_records(source)
    return [(record.label, record.image) for record in records]
