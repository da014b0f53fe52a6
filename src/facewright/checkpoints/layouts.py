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
    """One form in which files of a layout exist; most layouts have one."""

    network: str  # its name in the package
    build: Callable[[], nn.Module]  # its state dict gives every name and shape
    tensors: int  # in a file
    parameters: int
    public: Callable[[str], str] = _same  # a tensor's name in the files, by its name in the network
    added: Callable[[], dict[str, torch.Tensor]] = dict  # tensors of the network that no file holds
    architecture: Mapping[str, Any] | None = None  # what a card says, where the package builds the network from that
    form: str = ""  # what tells it from the layout's other generations


@dataclass(frozen=True)
class Reading:
    """What the shapes of some tensors say about the picture size or the embedding width a file was made for."""

    what: str
    keys: tuple[str, ...]
    value: Callable[..., int | str | None]  # takes the shapes of `keys`; None: they say nothing


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


def last_axis(*, less: int = 0) -> Callable[[Shape], int | None]:
    """Read the length of the last axis, reduced by `less`."""
    return lambda shape: shape[-1] - less if shape else None


def map_of(number: int, *, channels: int, cell: int) -> Callable[[Shape], str | None]:
    """Read the picture's size from an axis that counts `channels` values a cell, each of `cell` pixels a side.

    A number of cells that is no square may be that of any rectangle; the one nearest to a square is given.
    """

    def read(shape: Shape) -> str | None:
        cells, rest = divmod(shape[number], channels) if len(shape) > number else (0, 1)
        if rest or not cells:
            return None
        low = next(side for side in range(math.isqrt(cells), 0, -1) if cells % side == 0)
        size = f"{low * cell} x {cells // low * cell} px"
        return size if low * low == cells else f"{cells} cells of {cell} x {cell} px, such as {size}"

    return read


def kernel_of(*, cell: int) -> Callable[[Shape], str | None]:
    """Read the picture's size from a kernel as large as its map, of cells of `cell` pixels a side."""
    return lambda shape: f"{shape[-2] * cell} x {shape[-1] * cell} px" if len(shape) > 1 else None


def patches_of(*, extra: int = 0) -> Callable[[Shape, Shape], str | None]:
    """Read the sizes that fit from a position table (1, patches + `extra`, D) and a patch kernel (D, 3, P, P).

    Pixels beyond the last whole patch are not seen, so several sizes do.
    """

    def read(table: Shape, kernel: Shape) -> str | None:
        if len(table) < 2 or len(kernel) < 4 or table[1] <= extra or kernel[-1] < 1:
            return None
        count, patch = table[1] - extra, kernel[-1]
        side = math.isqrt(count)
        if side * side != count:
            return f"{count} patches of {patch} px"
        return f"{side * patch} to {side * patch + patch - 1} px a side ({side} x {side} patches of {patch} px)"

    return read


def described(readings: tuple[Reading, ...], found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[str]:
    """Sentences about the picture sizes and widths in which a file differs from a layout."""
    said = []
    for reading in readings:
        if all(key in found and key in wanted for key in reading.keys):
            has = reading.value(*(found[key] for key in reading.keys))
            needs = reading.value(*(wanted[key] for key in reading.keys))
            if has is not None and has != needs:
                said.append(f"it was made for {reading.what} {has}, the layout is for {needs}")
    return said
