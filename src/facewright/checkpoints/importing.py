"""Turn a public checkpoint into a safetensors file with a card."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from facewright.checkpoints.loading import find, tensors
from facewright.checkpoints.matching import Match
from facewright.checkpoints.source import Checkpoint, joined, open_checkpoint
from facewright.errors import DataError, FaceError, InputError
from facewright.weights import Card, read_card, save_weights


def import_checkpoint(
    source: Path | str,
    out: Path | str,
    *,
    layout: str | None = None,
    decoder: Path | str | None = None,
    force: bool = False,
) -> Card:
    """Read a checkpoint file strictly and write it as safetensors, its names unchanged but for wrappers.

    A whole autoencoder is written under the package's own names, as `facewright train autoencoder` writes one, and is
    what trainings of generators take.

    Args:
        source: as in `load`, a file.
        out: .safetensors file to write; a readable card goes beside it.
        layout: as in `load`.
        decoder: the file of the other half, where `source` holds the encoder of an autoencoder.
        force: replace `out` and its card where they hold something else than this very import.

    Returns:
        The card: layout, network, sha256 of the source file, licence as far as known, input convention.

    Raises:
        InputError, DataError: as `load`; also when `out` is the source, or is there and holds something else, or when a
            tensor holds NaN or infinity.
    """
    path, target = Path(source), Path(out)
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: an import is written as .safetensors; change the name")
    paths = [path] if decoder is None else [path, Path(decoder)]
    for each in paths:
        if each.is_file() and target.exists() and target.samefile(each):
            raise InputError(f"{target} is the checkpoint itself; name another file to write")
    checkpoint = open_checkpoint(path) if decoder is None else joined(open_checkpoint(path), open_checkpoint(decoder))
    held = find(checkpoint, layout)
    family, generation = held.layout.family, held.generation
    digests = [_digest(each) for each in paths]
    named = {"network": generation.network, "layout": held.layout.name, "source_sha256": digests[0]}
    sources = " and ".join(f"{each.name} (sha256 {digest})" for each, digest in zip(paths, digests, strict=True))
    card = Card(
        name=held.layout.name,
        kind=family.kind,
        architecture=named if generation.architecture is None else generation.architecture,
        data="Not said in the checkpoint; its publisher knows.",
        licence=family.licence,
        recipe=f"Weights of {family.source}, imported from {sources}.",
        input=family.input,
    )
    if not force:
        _check_free(target, card)
    state = tensors(checkpoint, held)
    _check_finite(state, checkpoint, held)
    return save_weights(target, state, card)


def _check_free(target: Path, card: Card) -> None:
    """Refuse to write over another file than an earlier run of the same import."""
    text = target.with_suffix(".md")
    try:
        there = read_card(target)
        same = replace(there, sha256="", stored=card.stored, created="").to_json() == card.to_json()
        written = replace(card, sha256=there.sha256, stored=there.stored, created=there.created).to_markdown()
        own_text = same and (not text.exists() or text.read_bytes() == written.encode())
    except (FaceError, OSError):
        same, own_text = not target.exists(), not text.exists()
    if not (same and own_text):
        taken = text if same else target
        raise InputError(f"{taken} holds something else, which would be lost; name another --out, or --force")


def _check_finite(state: Mapping[str, Tensor], checkpoint: Checkpoint, held: Match) -> None:
    """Refuse NaN and infinity by the name that a tensor has in the source."""
    for key, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            name = held.keys.get(held.generation.public(key), key)
            raise DataError(
                f"{checkpoint.name}: tensor {name!r} holds NaN or infinity as float32, so nothing was written; get the "
                "file again, or an earlier one of its training"
            )


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
