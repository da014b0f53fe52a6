"""What a layout is: which network a project's files hold, and what may stand around its tensors."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from facewright.weights import InputConvention

WRAPPERS = (
    "module.",  # DataParallel, DistributedDataParallel
    "_module.",
    "_forward_module.",  # Lightning Lite and Fabric
    "_original_module.",
    "_orig_mod.",  # torch.compile
    "averaged_model.",  # the averages of IDiff-Face
    "eps_model.",
    "model.",  # a Lightning module's attribute; AdaFace
    "net.",  # CVLface
    "backbone.",
)
"""Prefixes that trainers put before every name, in any order and number."""

Shape = tuple[int, ...]
Signature = dict[str, tuple[Shape, torch.dtype]]


def _same(name: str) -> str:
    return name


@dataclass(frozen=True)
class Generation:
    """One form in which files of a layout exist."""

    network: str  # its name in the package
    build: Callable[[], nn.Module]  # its state dict gives every name and shape
    tensors: int  # in a file
    parameters: int
    public: Callable[[str], str] = _same  # a tensor's name in the files, by its name in the network
    added: Callable[[], dict[str, torch.Tensor]] = dict  # tensors of the network that no file holds
    architecture: Mapping[str, Any] | None = None  # what a card says, where the package builds the network from that


@dataclass(frozen=True)
class Reading:
    """What the shape of a tensor says about the picture size or the embedding width a file was made for."""

    what: str
    key: str
    value: Callable[[Shape], int | None]


@dataclass(frozen=True)
class Family:
    """What the layouts of one project's network have in common."""

    kind: str  # the role, as on a card
    source: str  # the project
    licence: str  # of the code and of published weights, as far as known
    input: InputConvention | None
    landmark: str  # a tensor that every file of the family has
    readings: tuple[Reading, ...] = ()
    prefixes: tuple[str, ...] = ()  # further ones than WRAPPERS
    beside: str | None = None  # what full checkpoints hold beside this network: a pattern for the start of names


@dataclass(frozen=True)
class Layout:
    """A project's own layout of one network."""

    name: str
    title: str  # the network in words
    family: Family
    generations: tuple[Generation, ...]  # the usual one first

    def stripped(self, key: str) -> str:
        """The name of a tensor without what wrappers put before it."""
        prefixes = (*WRAPPERS, *self.family.prefixes)
        while prefix := next((prefix for prefix in prefixes if key.startswith(prefix)), None):
            key = key[len(prefix) :]
        return key

    def is_beside(self, key: str) -> bool:
        """Whether a stripped name belongs to something that full checkpoints hold beside the network."""
        return self.family.beside is not None and re.match(self.family.beside, key) is not None


def signature(generation: Generation) -> Signature:
    """Name, shape and type of every tensor in a file."""
    return {generation.public(key): form for key, form in own_signature(generation).items()}


def own_signature(generation: Generation) -> Signature:
    """The same by the names in the network, which is built without memory."""
    return _signature(generation.build, tuple(generation.added()))


@cache
def _signature(build: Callable[[], nn.Module], without: tuple[str, ...]) -> Signature:
    with torch.device("meta"):
        network = build()
    state = network.state_dict()
    return {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in state.items() if key not in without}


def axis(number: int) -> Callable[[Shape], int | None]:
    """Read the length of an axis."""
    return lambda shape: shape[number] if len(shape) > number else None


def last_axis(*, times: int = 1, less: int = 0) -> Callable[[Shape], int | None]:
    """Read the length of the last axis, `times` as much and reduced by `less`."""
    return lambda shape: times * shape[-1] - less if shape else None


def square(number: int, *, per: int = 1, extra: int = 0, times: int = 1) -> Callable[[Shape], int | None]:
    """Read the side of a square map from an axis that counts `per` values a cell and `extra` cells.

    The side is multiplied by `times`, the reduction from the picture to the map. None where the axis is no square.
    """

    def read(shape: Shape) -> int | None:
        cells, rest = divmod(shape[number], per) if len(shape) > number else (0, 1)
        side = math.isqrt(max(cells - extra, 0))
        return side * times if not rest and side and side * side == cells - extra else None

    return read


def described(readings: tuple[Reading, ...], found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[str]:
    """Sentences about the picture sizes and widths in which a file differs from a layout."""
    said = []
    for reading in readings:
        if reading.key in found and reading.key in wanted:
            has, needs = reading.value(found[reading.key]), reading.value(wanted[reading.key])
            if has is not None and has != needs:
                said.append(f"it was made for {reading.what} {has}, the layout is for {needs}")
    return said
