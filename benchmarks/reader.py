"""Read, decode, crop and mirror 112 px JPEGs: this project's stream against Pillow in a plain DataLoader.

    taskset -c 0 python benchmarks/reader.py --images 2000 --repeats 7

Faces are drawn, with noise so that a JPEG is as large as one of a photograph, and written as RecordIO, TFRecord,
WebDataset and Parquet. Both sides read the same records through the same reader in a shuffled order, in this process
(no workers), and cut 104 of 112 px at random and mirror half. `plain` decodes with Pillow, crops and mirrors there, and
lets torch's DataLoader collate uint8; `plain, float` also makes each picture float in [-1, 1] with channels first, as
public trainers do, and is compared with the stream followed by the same for a whole batch. Repetitions of all
contestants take turns, so that other load on the machine meets each alike; `against plain` is the median of the gains
of the single repetitions. The figure is images per second of CPU time of this process, which other processes touch less
than the clock.
"""

import argparse
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from facewright.data.formats import ExportConfig, Records, export_records, open_records
from facewright.data.images import to_tensor
from facewright.data.stream import FaceStream, StreamConfig

BATCH, SIDE, CUT = 128, 112, 104
GRAIN = 1.5  # grey levels; gives JPEGs of about 4.8 kB, as aligned crops of photographs have at quality 95
FORMATS = ("recordio", "tfrecord", "webdataset", "parquet")


class PlainFaces(Dataset[tuple[Tensor, int]]):
    """What a plain data set does for one picture."""

    def __init__(self, records: Records, *, floats: bool) -> None:
        self.records = records
        self.floats = floats
        self.chance = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        record = self.records.read(number)
        picture = Image.open(io.BytesIO(record.image)).convert("RGB")
        left, top = self.chance.integers(0, SIDE - CUT + 1, 2).tolist()
        picture = picture.crop((left, top, left + CUT, top + CUT))
        if self.chance.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = torch.from_numpy(np.array(picture))
        if self.floats:
            image = image.permute(2, 0, 1).contiguous().float().div_(127.5).sub_(1.0)
        return image, record.label


def draw_faces(folder: Path, count: int, people: int = 20) -> None:
    """Ellipses with eyes and mouth, lit from a side, with the grain of a photograph; JPEG quality 95."""
    chance = np.random.default_rng(0)
    for number in range(count):
        low = chance.integers(40, 220, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(low, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        skin = tuple(chance.integers(90, 230, 3).tolist())
        cv2.ellipse(image, (56, 60), (36, 46), 0, 0, 360, skin, -1, cv2.LINE_AA)
        for x in (40, 72):
            cv2.circle(image, (x, 52), 5, (30, 30, 40), -1, cv2.LINE_AA)
        cv2.ellipse(image, (56, 84), (16, 6), 0, 0, 180, (60, 40, 150), 2, cv2.LINE_AA)
        lit = image * np.linspace(0.8, 1.2, SIDE)[None, :, None] + chance.normal(0, GRAIN, image.shape)
        path = folder / f"{number % people:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.clip(lit, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])


def contestants(records: Records) -> dict[str, Callable[[], int]]:
    """What is measured: functions that go through one epoch and give the number of pictures."""
    stream = FaceStream(records, StreamConfig(batch=BATCH, size=CUT, shift=(SIDE - CUT) // 2), seed=0)

    def plain(floats: bool) -> int:
        loader = DataLoader(PlainFaces(records, floats=floats), batch_size=BATCH, shuffle=True)
        return sum(len(images) for images, _ in loader)

    return {
        "plain": lambda: plain(floats=False),
        "stream": lambda: sum(len(batch.images) for batch in stream.batches()),
        "plain, float": lambda: plain(floats=True),
        "stream, float": lambda: sum(len(to_tensor(batch.images)) for batch in stream.batches()),
    }


def measure(runs: dict[str, Callable[[], int]], repeats: int) -> dict[str, list[float]]:
    """Images per second of CPU time, one figure a repetition; the contestants take turns after one unmeasured round."""
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(-1, repeats):
        for name, run in runs.items():
            start = time.process_time()
            count = run()
            if repeat >= 0:
                speeds[name].append(count / (time.process_time() - start))
    return speeds


def main() -> None:
    """Draw, write, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--out", type=Path, help="folder for reader-HARDWARE-YYYY-MM.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    lines = ["| format | way | median images/s | spread | against plain |", "| --- | --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as scratch:
        draw_faces(Path(scratch) / "drawn", arguments.images)
        drawn = open_records(Path(scratch) / "drawn")
        size = statistics.mean(len(record.image) for record in drawn)
        for to in arguments.formats:
            export_records(drawn, Path(scratch) / to, ExportConfig(to=to))
            speeds = measure(contestants(open_records(Path(scratch) / to)), arguments.repeats)
            for name, values in speeds.items():
                gains = [
                    own / plain for own, plain in zip(values, speeds[name.replace("stream", "plain")], strict=True)
                ]
                middle, spread = statistics.median(values), max(values) - min(values)
                lines.append(f"| {to} | {name} | {middle:,.0f} | {spread:,.0f} | {statistics.median(gains):.2f}x |")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    facts = [
        "# Reader",
        "",
        " ".join(["python", "benchmarks/reader.py", *sys.argv[1:]]),
        "",
        (
            f"{platform.machine()}, one thread, load average {load:.1f}, torch {torch.__version__}, Python"
            f" {platform.python_version()}. {arguments.images} drawn JPEGs of {SIDE} px, {size:,.0f} bytes on average;"
            f" batch {BATCH}, cut {CUT} px; one round to warm up, {arguments.repeats} repetitions in turns."
        ),
        "",
    ]
    print("\n".join([*facts, *lines]))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        path = arguments.out / f"reader-{platform.machine()}-{datetime.now(UTC):%Y-%m}.md"
        path.write_text("\n".join([*facts, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
