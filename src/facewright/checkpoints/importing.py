"""Turn a public checkpoint into a safetensors file with a card."""

import hashlib
from pathlib import Path

from facewright.checkpoints.loading import find, tensors
from facewright.checkpoints.source import open_checkpoint
from facewright.errors import InputError
from facewright.weights import Card, save_weights


def import_checkpoint(source: Path | str, out: Path | str, *, layout: str | None = None) -> Card:
    """Read a checkpoint file strictly and write it as safetensors, its names unchanged but for wrappers.

    Args:
        source: as in `load`, a file.
        out: .safetensors file to write; a readable card goes beside it.
        layout: as in `load`.

    Returns:
        The card: layout, network, sha256 of the source file, licence as far as known, input convention.

    Raises:
        InputError, DataError: as `load`; also when `out` is the source or a tensor holds NaN.
    """
    path, target = Path(source), Path(out)
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: an import is written as .safetensors; change the name")
    if path.is_file() and target.exists() and target.samefile(path):
        raise InputError(f"{target} is the checkpoint itself; name another file to write")
    checkpoint = open_checkpoint(path)
    held = find(checkpoint, layout)
    family = held.layout.family
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    card = Card(
        name=held.layout.name,
        kind=family.kind,
        architecture={"network": held.generation.network, "layout": held.layout.name, "source_sha256": digest},
        data="Not said in the checkpoint; its publisher knows.",
        licence=family.licence,
        recipe=f"Weights of {family.source}, imported from {path.name} (sha256 {digest}).",
        input=family.input,
    )
    return save_weights(target, tensors(checkpoint, held), card)
