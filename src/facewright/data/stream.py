"""Batches of faces from a data set of any format: read, decode, crop and mirror, as uint8.

What happens to the picture at place p of the endless order depends on (seed, p) alone, so neither the size of a batch,
nor the number of threads, nor stopping and going on changes it.
"""

import logging
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock, local

import cv2
import numpy as np

from facewright.data.formats import Decoder, Records
from facewright.data.formats.records import unless_skipped
from facewright.errors import ConfigError, DataError
from facewright.training.seeds import seed_of
from facewright.training.shuffle import EndlessShuffle

_LOG = logging.getLogger(__name__)

REASONS_KEPT = 20
ARRAYS_KEPT = 16  # of whole batches, to be filled again


@dataclass(frozen=True)
class StreamConfig:
    """How batches are made."""

    batch: int = 256  # pictures
    size: int = 112  # pixels, height and width that are cut from a picture
    shift: int = 0  # pixels that the cut may lie off the picture's centre, each way
    mirror: bool = True  # half of the pictures
    shuffle: bool = True  # a new order every epoch; False keeps the order of the set
    damaged: str = "refuse"  # or "skip": leave pictures out that cannot be read or decoded, and count them
    threads: int = 0  # batches made at once ahead of the one in use; 0 makes each when it is asked for

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("size", 1), ("shift", 0), ("threads", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.damaged not in ("refuse", "skip"):
            raise ConfigError(f"damaged pictures are refused or skipped, not {self.damaged!r}; give refuse or skip")


@dataclass(frozen=True, eq=False)
class Batch:
    """Faces of one batch; fewer than asked for where damaged ones were skipped or the stream ends."""

    images: np.ndarray  # uint8 (B, size, size, 3) RGB
    labels: np.ndarray  # (B,) int64
    numbers: np.ndarray  # (B,) int64, of the records
    start: int  # place in the endless order of the first
    skipped: tuple[str, ...] = ()  # why pictures are missing, naming file and record


@dataclass
class StreamReport:
    """What a stream has given so far."""

    read: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)  # of the first that were skipped


class _Memory:
    """Arrays for batches; one that nobody refers to any more is given out again.

    Fresh memory of this size is cleared by the system page by page, which costs as much as cutting the faces does. A
    view of an array refers to it, so an array whose references are those of an idle one is in nobody's hands.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._arrays = [np.empty(shape, np.uint8)]
        self._lock = Lock()
        self._idle = self._references(0)

    def _references(self, place: int) -> int:
        return sys.getrefcount(self._arrays[place])

    def take(self) -> np.ndarray:
        """An array that the caller may fill and keep."""
        with self._lock:
            for place in range(len(self._arrays)):
                if self._references(place) == self._idle:
                    return self._arrays[place]
            if len(self._arrays) < ARRAYS_KEPT:
                self._arrays.append(np.empty(self._shape, np.uint8))
                return self._arrays[-1]
        return np.empty(self._shape, np.uint8)


class FaceStream:
    """Batches of a set, in an order and with cuts that the seed fixes."""

    def __init__(self, records: Records, config: StreamConfig, *, seed: int) -> None:
        if records.latents:
            raise DataError(f"{records.path}: holds tensors and no pictures; read them with formats.read_latent")
        self.records = records
        self.config = config
        self.report = StreamReport()
        self._shuffle = EndlessShuffle(len(records), seed=seed) if config.shuffle else None
        self._key = seed_of("cuts", seed)
        self._threads = local()
        self._memory = _Memory((config.batch, config.size, config.size, 3))

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Batches of places `start` ... `stop` - 1 of the endless order; the last may be smaller.

        Args:
            start: pictures already used, as a trainer counts them.
            stop: None is the end of the epoch that `start` lies in.

        Raises:
            DataError: a picture cannot be used and the policy is to refuse; names file and record.
        """
        stop = (start // len(self.records) + 1) * len(self.records) if stop is None else stop
        places = range(start, stop, self.config.batch)
        plans = ((place, self._order(place, min(self.config.batch, stop - place))) for place in places)
        for batch in self._made(plans):
            self.report.read += len(batch.labels)
            self.report.skipped += len(batch.skipped)
            self.report.reasons += batch.skipped[: REASONS_KEPT - len(self.report.reasons)]
            for reason in batch.skipped:
                _LOG.warning("skipped: %s", reason)
            yield batch

    def _made(self, plans: Iterator[tuple[int, np.ndarray]]) -> Iterator[Batch]:
        """The planned batches, made here or ahead by threads; the order of the plans is kept."""
        if not self.config.threads:
            for start, numbers in plans:
                yield self._make(start, numbers)
            return
        ahead: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.config.threads, thread_name_prefix="faces") as pool:
            try:
                for start, numbers in plans:
                    ahead.append(pool.submit(self._make, start, numbers))
                    if len(ahead) > self.config.threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _order(self, start: int, count: int) -> np.ndarray:
        """Numbers of the records at these places of the endless order."""
        if self._shuffle is not None:
            return self._shuffle.take(start, count).numpy()
        return np.arange(start, start + count) % len(self.records)

    def _make(self, start: int, numbers: np.ndarray) -> Batch:
        """The batch of these records, cut and mirrored as the places from `start` on say."""
        config, records, decoder = self.config, self.records, self._decoder()
        images = self._memory.take()
        labels = np.empty(len(numbers), np.int64)
        kept: list[int] = []
        skipped: list[str] = []
        tops, lefts, mirrored = self._cuts(start, len(numbers))
        for number, top, left, mirror in zip(numbers.tolist(), tops, lefts, mirrored, strict=True):
            place = len(kept)
            try:
                record = records.read(number)
                pixels = decoder.decode(record.image, records.where(number))
                cut = self._cut(pixels, top, left, number)
            except DataError as error:
                if config.damaged == "refuse":
                    raise unless_skipped(error) from error
                skipped.append(str(error))
                continue
            if mirror:
                cv2.flip(cut, 1, images[place])
            else:
                images[place] = cut
            labels[place] = record.label
            kept.append(number)
        count = len(kept)
        return Batch(images[:count], labels[:count], np.array(kept, np.int64), start, tuple(skipped))

    def _cuts(self, start: int, count: int) -> tuple[list[int], list[int], list[bool]]:
        """How far from the centre each place is cut, down and right, and whether it is mirrored.

        A Philox counter gives four words a place, so every place has its own whatever came before.
        """
        words = np.random.Philox(key=self._key, counter=start).random_raw(4 * count).reshape(count, 4)
        shifts = (words[:, :2] % np.uint64(2 * self.config.shift + 1)).astype(np.int64) - self.config.shift
        mirrored = (words[:, 2] >> np.uint64(63)).astype(bool) & self.config.mirror
        return shifts[:, 0].tolist(), shifts[:, 1].tolist(), mirrored.tolist()

    def _cut(self, pixels: np.ndarray, down: int, right: int, number: int) -> np.ndarray:
        """The central square of a picture, moved; DataError where the picture is too small for it."""
        height, width = pixels.shape[:2]
        size = self.config.size
        top, left = (height - size) // 2 + down, (width - size) // 2 + right
        if top < 0 or left < 0 or top + size > height or left + size > width:
            raise DataError(
                f"{self.records.where(number)}: a picture of {width} x {height} px, too small for a cut of {size} px"
                f" moved by up to {self.config.shift}; align it larger, or cut smaller"
            )
        return pixels[top : top + size, left : left + size]

    def _decoder(self) -> Decoder:
        """One for each thread, since it reuses its memory."""
        if not hasattr(self._threads, "decoder"):
            self._threads.decoder = Decoder()
        decoder: Decoder = self._threads.decoder
        return decoder
