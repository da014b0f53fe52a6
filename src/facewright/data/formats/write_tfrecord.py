"""Write TFRecord shards with all three kinds of index."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from facewright.data.formats.example import example_bytes
from facewright.data.formats.records import Record, index_name
from facewright.data.formats.tfrecord import CHECK, LABEL, START, masked_crc

SHARD_RECORDS = 500_000


def write_tfrecord(records: Iterable[Record], out: Path, *, name: str, shard_records: int = SHARD_RECORDS) -> None:
    """Write NAME/NAME-00000.tfrecord ..., NAME/NAME.index, NAME.txt and labels.txt into `out`.

    A record has the features `image` and `label` (int32 in four bytes), as ADMIS writes them.

    Args:
        records: in the order to write.
        out: an existing folder.
        name: of the set; TFace takes a set for TFRecord only where the name has TFR in it.
        shard_records: of one shard.
    """
    shards = out / name
    shards.mkdir()
    left = iter(records)
    paths: set[str] = set()
    texts = (out / f"{name}.txt", shards / f"{name}.index", out / "labels.txt")
    training, index, labels = (path.open("w", encoding="utf-8", newline="\n") for path in texts)
    with training, index, labels:
        shard = 0
        while part := next(left, None):
            offset = 0
            with (shards / f"{name}-{shard:05d}.tfrecord").open("wb") as opened:
                for record in (part, *islice(left, shard_records - 1)):
                    path = index_name(record)
                    path = f"{len(paths)}/{path}" if path in paths else path  # an index needs names of their own
                    paths.add(path)
                    training.write(f"{name}\t{shard}\t{offset}\t{record.label}\n")
                    index.write(f"{path}\t{shard}\t{offset}\n")
                    labels.write(f"{path}\t{record.label}\n")
                    features = {"image": record.image, "label": LABEL.pack(record.label)}
                    offset += opened.write(record_bytes(example_bytes(features)))
            shard += 1


def record_bytes(payload: bytes) -> bytes:
    """Frame a payload with its length and both CRCs."""
    length = len(payload).to_bytes(8, "little")
    return START.pack(len(payload), masked_crc(length)) + payload + CHECK.pack(masked_crc(payload))
