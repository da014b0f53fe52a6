"""Load a public checkpoint: find or check its layout, then read its tensors into the network."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facewright.checkpoints.layouts import Layout, own_signature
from facewright.checkpoints.matching import Match, fitting, match, nearest, whole
from facewright.checkpoints.source import Checkpoint, open_checkpoint
from facewright.checkpoints.table import LAYOUTS
from facewright.errors import DataError, InputError

WHOLE = "give the whole state dict of one network, as its project saves it"


def load(
    source: Path | str | Mapping[str, Any], *, layout: str | None = None, device: str | torch.device = "cpu"
) -> nn.Module:
    """Load a network from a public project's own checkpoint.

    Args:
        source: a file (.pt, .pth, .ckpt, .bin, .safetensors, .npz) or a mapping of names to tensors or arrays. The
            wrappers of DDP, Lightning, torch.compile and averaging are taken off; pickles are read without running
            anything in them.
        layout: a name of `LAYOUTS`, such as "arcface_torch/r50"; None finds it from the names and shapes, and takes the
            whole where parts of it have layouts of their own.
        device: where the network goes.

    Returns:
        The network in eval mode, float32, taking what the layout's `family.input` says.

    Raises:
        InputError: no such file, no such layout, or several layouts have these very tensors.
        DataError: the file is damaged or holds code; or a tensor is missing, left over, or of another shape or type.
    """
    checkpoint = open_checkpoint(source)
    held = find(checkpoint, layout)
    with torch.device("meta"):
        network = held.generation.build()
    network.load_state_dict(tensors(checkpoint, held), assign=True)
    return network.to(device).eval()


def identify(source: Path | str | Mapping[str, Any]) -> list[str]:
    """Names of all layouts that a checkpoint fits entirely; empty where there is none."""
    return [held.layout.name for held in fitting(open_checkpoint(source), LAYOUTS.values())]


def find(checkpoint: Checkpoint, layout: str | None) -> Match:
    """The layout of a checkpoint, with every tensor accounted for; raises as `load` does."""
    name = checkpoint.layout if layout is None else layout
    if name is not None:
        return _checked(checkpoint, known(name))
    found = whole(fitting(checkpoint, LAYOUTS.values()))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(held.layout.name for held in found)
        raise InputError(
            f"{checkpoint.name} fits {len(found)} layouts with the same tensors: {names}; name one of them as layout"
        )
    near = nearest(checkpoint, LAYOUTS.values())
    if near is None or near.faults > len(near.keys):
        first = next(iter(checkpoint.entries))
        raise DataError(
            f"{checkpoint.name}: no known layout has tensors like {first!r}; `facewright layouts` lists what is known"
        )
    raise DataError(
        f"{checkpoint.name} fits no known layout; the nearest is {near.layout.name}: {near.sentence()}; {WHOLE}"
    )


def known(name: str) -> Layout:
    """The layout of a name."""
    if not isinstance(name, str):
        raise InputError(f"a layout is named by its text, such as 'arcface_torch/r50', got {name!r}")
    if name not in LAYOUTS:
        close = get_close_matches(name, LAYOUTS, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown layout {name!r}; {meant}`facewright layouts` lists all {len(LAYOUTS)}")
    return LAYOUTS[name]


def tensors(checkpoint: Checkpoint, held: Match) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint under the network's names: floats as float32, each in memory of its own.

    Raises:
        DataError: a tensor cannot be read or has no values.
    """
    read, generation = held.generation.added(), held.generation
    for key, (_, dtype) in own_signature(generation).items():
        name = held.keys[generation.public(key)]
        tensor = checkpoint.entries[name].read()
        if tensor.is_meta:
            raise DataError(
                f"{checkpoint.name}: tensor {name} has a shape but no values (device meta); read its values first"
            )
        read[key] = tensor.to("cpu", dtype, copy=True).contiguous()
    return read


def _checked(checkpoint: Checkpoint, layout: Layout) -> Match:
    held = match(checkpoint, layout)
    if held.fits:
        return held
    others = [other.layout.name for other in fitting(checkpoint, LAYOUTS.values())]
    cure = f"it fits {' and '.join(others)}" if others else f"no known layout fits; {WHOLE}"
    raise DataError(f"{checkpoint.name} does not fit {layout.name}: {held.sentence()}; {cure}")
