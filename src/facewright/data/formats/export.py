"""Copy a data set into another format; the bytes of the pictures stay as they are."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from facewright.data.formats.detect import FORMATS
from facewright.data.formats.pair_bin import are_pairs, draw_pairs, write_pair_bin
from facewright.data.formats.parquet import write_parquet
from facewright.data.formats.pixels import Decoder
from facewright.data.formats.records import Record, Records, picture_suffix, unless_skipped
from facewright.data.formats.set_folder import write_folder, write_list, write_set
from facewright.data.formats.webdataset import write_webdataset
from facewright.data.formats.write_recordio import write_recordio
from facewright.data.formats.write_tfrecord import write_tfrecord
from facewright.errors import ConfigError, DataError, InputError
from facewright.training.atomic import atomic_path

REASONS_KEPT = 20
BY_PERSON = ("folder", "set")  # formats that put the pictures of a person side by side


@dataclass(frozen=True)
class ExportConfig:
    """How a set is written."""

    to: str  # one of FORMATS
    damaged: str = "refuse"  # or "skip": leave damaged records out and count them
    decode: bool = False  # also decode every picture, so that one that does not decode counts as damaged
    grouped: bool = False  # RecordIO in InsightFace's identity-grouped form
    pairs: int | None = None  # for bin: how many pairs to draw; None where the set is one of pairs already
    seed: int = 0  # of that draw
    shard_records: int | None = None  # records of one shard; None is the format's own

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise ConfigError(f"no format {self.to!r}; known are {', '.join(FORMATS)}")
        if self.damaged not in ("refuse", "skip"):
            raise ConfigError(f"damaged records are refused or skipped, not {self.damaged!r}; give refuse or skip")
        if self.grouped and self.to != "recordio":
            raise ConfigError(f"only RecordIO has an identity-grouped form, not {self.to}; leave grouped off")
        if self.pairs is not None and self.to != "bin":
            raise ConfigError(f"pairs are drawn for bin alone, not for {self.to}; leave pairs off")
        if self.shard_records is not None and self.shard_records < 1:
            raise ConfigError(f"a shard holds at least one record, got {self.shard_records}")


@dataclass
class ExportReport:
    """What was written and what was left out."""

    written: int = 0
    skipped: int = 0
    identities: int = 0
    reasons: list[str] = field(default_factory=list)  # of the first records that were skipped


def export_records(
    records: Records, out: Path | str, config: ExportConfig, *, progress: Callable[[int, int], None] | None = None
) -> ExportReport:
    """Write all records in another format, whole or not at all.

    Order and labels are kept, except that a folder, a set and grouped RecordIO put the pictures of an identity side
    by side. Those refuse a set of pairs, whose labels 1 (match) and 0 name no people; every other format keeps its
    order, from which it can be written as a .bin again.

    What `damaged` skips are records that cannot be read, or with `decode` not decoded. A set whose records cannot be
    told apart is refused when it is opened, see `Records`.

    Args:
        records: what to write.
        out: the new folder, or for bin the new file; must not exist, or be an empty folder.
        config: how.
        progress: called with (done, total).

    Raises:
        ConfigError: damaged pictures of pairs are to be skipped.
        InputError: `out` is taken, or the set does not suit the format or holds no pictures.
        DataError: a damaged record that is not to be skipped, or a set of which nothing is left.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir()) and config.to != "bin"):
        raise InputError(f"{out}: already there; nothing is overwritten, give a new name")
    if records.latents:
        raise InputError(f"{records.path}: holds tensors, and only pictures are exported; decode them first")
    _check_pairs(records, config)
    report = ExportReport()
    if config.to == "bin":
        with atomic_path(out) as temporary:
            write_pair_bin(_pairs(records, config, report, progress), temporary)
        return report
    order = np.arange(len(records))
    if config.grouped:
        order = np.argsort(records.labels, kind="stable")
    with _atomic_folder(out) as temporary:
        _write(_read(records, order, config, report, progress), temporary, records, out.name, config)
        if not report.written:
            raise DataError(f"{records.path}: no record is left to write; {report.skipped} are damaged")
    return report


def _write(chosen: Iterator[Record], out: Path, records: Records, name: str, config: ExportConfig) -> None:
    limit = {} if config.shard_records is None else {"shard_records": config.shard_records}
    if config.to == "recordio":
        write_recordio(chosen, out, grouped=config.grouped)
    elif config.to == "tfrecord":
        write_tfrecord(chosen, out, name=name if "TFR" in name else f"TFR-{name}", **limit)
    elif config.to == "webdataset":
        write_webdataset(chosen, out, name=name, **limit)
    elif config.to == "parquet":
        write_parquet(chosen, out, name=name, **limit)
    elif config.to == "set":
        write_set(chosen, out, source=f"{records.path.name} ({records.format})")
    elif config.to == "list":
        write_list(chosen, out)
    else:
        write_folder(chosen, out)


def _read(
    records: Records,
    order: np.ndarray,
    config: ExportConfig,
    report: ExportReport,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Record]:
    """The records in this order, counted, without the damaged ones where those are skipped."""
    decoder, seen = Decoder(), Counter[int]()
    for done, number in enumerate(order.tolist(), 1):
        try:
            record = records.read(number)
            picture_suffix(record.image, records.where(number))
            if config.decode:
                decoder.decode(record.image, records.where(number))
        except DataError as error:
            if _in_pairs(records, config):
                raise
            if config.damaged == "refuse":
                raise unless_skipped(error) from error
            report.skipped += 1
            if len(report.reasons) < REASONS_KEPT:
                report.reasons.append(str(error))
        else:
            report.written += 1
            seen[record.label] += 1
            report.identities = len(seen)
            yield record
        if progress is not None:
            progress(done, len(order))


def _in_pairs(records: Records, config: ExportConfig) -> bool:
    return records.pairs or config.to == "bin"


def _check_pairs(records: Records, config: ExportConfig) -> None:
    """Refuse what would take pairs for people, or people for pairs."""
    if config.damaged == "skip" and _in_pairs(records, config):
        raise ConfigError(
            f"{records.path}: a pair cannot lose a picture; leave --damaged skip out, or skip in an export of "
            "the labelled set"
        )
    if records.pairs and (config.to in BY_PERSON or config.grouped):
        form = "grouped RecordIO" if config.grouped else f"the format {config.to}"
        kept = ", ".join(name for name in FORMATS if name not in BY_PERSON)
        raise InputError(
            f"{records.path}: its labels say whether the two pictures of a pair match, and {form} would make two people"
            f" of them; choose one that keeps the order: {kept}"
        )
    if records.pairs and config.pairs is not None:
        raise InputError(f"{records.path}: holds pairs, and pairs are drawn from labelled people; leave --pairs out")
    if config.to == "bin" and config.pairs is None and (records.labels >= 0).all() and not are_pairs(records.labels):
        raise InputError(
            f"{records.path}: holds labelled people, and a .bin holds pairs; give how many to draw, as in --pairs 6000"
        )


def _pairs(
    records: Records, config: ExportConfig, report: ExportReport, progress: Callable[[int, int], None] | None
) -> Iterator[Record]:
    """Records in pairs with labels 1 and 0: drawn, or as they are."""
    if config.pairs is None:
        yield from _read(records, np.arange(len(records)), config, report, progress)
        return
    if (records.labels < 0).any():
        records.read(int(np.argmax(records.labels < 0)))  # raises, naming what is damaged
    order, issame = draw_pairs(records.labels, config.pairs, seed=config.seed)
    for place, record in enumerate(_read(records, order, config, report, progress)):
        yield replace(record, label=int(issame[place // 2]))


@contextmanager
def _atomic_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside `out`; it becomes `out` when the block ends well and is removed otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if out.exists():
            out.rmdir()  # it is empty
        temporary.replace(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
