"""This project's own set folder as records, and records as such a folder."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facewright.data.formats.list_file import read_picture
from facewright.data.formats.records import Record, Records, picture_suffix
from facewright.data.sets import CARD, SetRow, image_file, read_config, read_manifest, write_config, write_manifest


class SetFolder(Records):
    """The pictures of a set that no filter has dropped, in the order of identity and index."""

    format = "set"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        read_config(path)
        self._rows = [row for row in read_manifest(path) if row.kept]
        self.labels = np.array([row.identity for row in self._rows], np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, number: int) -> Record:
        row = self._rows[number]
        return Record(read_picture(self.path / row.file, self.where(number)), row.identity, row.file)

    def where(self, number: int) -> str:
        return str(self.path / self._rows[number].file)


def write_pictures(records: Iterable[Record], out: Path) -> Iterable[tuple[str, Record]]:
    """Write each picture as images/000007/003.jpg below `out` as it comes, and give its path and record.

    The number of a picture counts those of its identity; its suffix tells what its bytes are.
    """
    counts: Counter[int] = Counter()
    for record in records:
        suffix = picture_suffix(record.image, record.name)
        file = Path(image_file(record.label, counts[record.label])).with_suffix(suffix).as_posix()
        counts[record.label] += 1
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_bytes(record.image)
        yield file, record


def write_set(records: Iterable[Record], out: Path, *, source: str) -> None:
    """Write a set folder whose pictures were not made here: what the manifest says of sampling is empty.

    Args:
        records: in any order; the manifest is sorted by identity, and within one keeps this order.
        out: an existing folder.
        source: what the records were read from, for card and config.
    """
    counts: Counter[int] = Counter()
    rows = []
    for file, record in write_pictures(records, out):
        rows.append(
            SetRow(
                identity=record.label,
                name=f"{record.label:06d}",
                index=counts[record.label],
                file=file,
                seed=0,
                context_sha256="",
                generator_sha256="",
                sampler="",
                steps=0,
                guidance=0.0,
                similarity=None,
            )
        )
        counts[record.label] += 1
    write_manifest(out, rows)
    write_config(out, {"imported_from": source})
    card = f"# Imported set\n\n{len(rows):,} pictures of {len(counts):,} identities, copied from {source}.\n"
    (out / CARD).write_text(card, encoding="utf-8")


def write_folder(records: Iterable[Record], out: Path) -> None:
    """Write OUT/000007/003.jpg, one folder for each label."""
    counts: Counter[int] = Counter()
    for record in records:
        folder = out / f"{record.label:06d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{counts[record.label]:06d}{picture_suffix(record.image, record.name)}").write_bytes(record.image)
        counts[record.label] += 1


def write_list(records: Iterable[Record], out: Path) -> None:
    """Write the pictures below OUT/images and OUT/img_list.txt, `path label` parted by tabs, in their order."""
    with (out / "img_list.txt").open("w", encoding="utf-8", newline="\n") as opened:
        for file, record in write_pictures(records, out):
            opened.write(f"{file}\t{record.label}\n")
