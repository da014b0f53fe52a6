"""Devices whose training throughput somebody measured, and what that says of another run on them."""

import difflib
import math
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from facewright.errors import InputError

HEAD_WIDTH = 512  # of the measured runs


@dataclass(frozen=True)
class Measured:
    """One measured run."""

    network: str
    precision: str  # half or fp32
    batch: int  # of all devices together
    classes: int
    images_per_s: float
    flops_per_s: float  # that the run sustained, all devices together


@dataclass(frozen=True)
class Device:
    """Devices that train together, and what was measured on them."""

    name: str
    what: str
    count: int
    gib: float  # memory of each
    source: str
    measured: tuple[Measured, ...]


@dataclass(frozen=True)
class Speed:
    """How fast a run is expected to be, and by which measured run."""

    images_per_s: float
    measured: Measured
    same_network: bool


def known_devices() -> dict[str, Device]:
    """The table that comes with the package, by name."""
    table = tomllib.loads(files("facewright.training").joinpath("devices.toml").read_text(encoding="utf-8"))
    return {entry["name"]: _device(entry, table["training_flops"]) for entry in table["device"]}


def find_device(name: str) -> Device:
    """A device by its name.

    Raises:
        InputError: no such device; the message lists those that are known.
    """
    known = known_devices()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InputError(
            f"unknown device {name!r}.{hint} Known: {', '.join(known)}; or measure this one with --measure"
        )
    return known[name]


def expected_speed(device: Device, *, network: str, training_flops: float, precision: str, batch: int) -> Speed:
    """Images a second of a run, from the measured run that is most like it: its precision, network, batch.

    The measured run's sustained operations a second are divided by the operations of an image.

    Args:
        device: where.
        network: its name; another network's figures are used where it was not measured.
        training_flops: of an image, network and head.
        precision: bf16 or fp32.
        batch: of all devices together.

    Raises:
        InputError: nothing was measured on the device in this precision.
    """
    wanted = "half" if precision == "bf16" else precision
    rows = [row for row in device.measured if row.precision == wanted]
    if not rows:
        raise InputError(f"nothing was measured on {device.name} in {precision}; choose another device or precision")
    nearest = min(rows, key=lambda row: (row.network != network, abs(math.log(row.batch / batch)), -row.images_per_s))
    return Speed(nearest.flops_per_s / training_flops, nearest, nearest.network == network)


def _device(entry: dict[str, Any], flops: dict[str, float]) -> Device:
    rows = tuple(
        Measured(**row, flops_per_s=row["images_per_s"] * (flops[row["network"]] + 6 * HEAD_WIDTH * row["classes"]))
        for row in entry["measured"]
    )
    return Device(**{**entry, "measured": rows})
