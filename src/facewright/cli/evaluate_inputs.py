"""What the commands of `facewright evaluate` share: faces with the names of their people, pictures of plots."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import note, progress_bar
from facewright.errors import DataError, InputError

if TYPE_CHECKING:
    import numpy as np

    from facewright.align import Detector
    from facewright.data.embeddings import Embeddings
    from facewright.data.sets import FaceSet
    from facewright.encoders import Encoder

CHUNK = 512  # crops held at once

EncoderName = Annotated[str, typer.Option("--encoder", help="bundled, or a .safetensors file.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")]


@dataclass(frozen=True, eq=False)
class LabelledFaces:
    """Embeddings of faces and whose they are."""

    embeddings: "np.ndarray"  # (N, D)
    people: tuple[str, ...]  # of each row
    missing: tuple[str, ...] = ()  # people of pictures in which no face was found


def read_labelled(
    source: Path, network: "Encoder", *, detector: "Detector | None" = None, mirror: bool = False
) -> LabelledFaces:
    """Faces of an .npz of embeddings, of a set, or of a folder or tar of pictures.

    The person is the label in a set. Elsewhere it is the folder that the picture lies in, by its path or its name in
    the .npz; a name without a folder is a person by itself.

    Args:
        source: where the faces are.
        network: embeds pictures, and must have made the .npz.
        detector: finds the faces of photos; None takes aligned crops.
        mirror: embed each crop and its mirror image together.
    """
    if source.suffix == ".npz":
        read = read_same_encoder(source, network)
        return LabelledFaces(read.embeddings, tuple(map(person_of, read.names)))
    if (source / "manifest.parquet").is_file():
        import numpy as np

        from facewright.data.sets import read_set

        faces = read_set(source)
        kept = np.flatnonzero(faces.kept)
        people = tuple(str(faces.rows[row].identity) for row in kept)
        return LabelledFaces(embed_set(faces, kept, network, mirror=mirror), people)
    from facewright.synthesis import embed_photos

    with progress_bar(f"embedding {source.name}") as progress:
        found = embed_photos(source, network, detector=detector, mirror=mirror, progress=progress)
    missing = tuple(person_of(name) for name, _ in found.refused)
    if missing:
        note(f"{source}: no face in {len(missing)} pictures, the first is {found.refused[0][0]}")
    return LabelledFaces(found.embeddings.embeddings, tuple(map(person_of, found.embeddings.names)), missing)


def person_of(name: str) -> str:
    """The folder part of a path, or the whole name where there is none."""
    folder, slash, _ = name.rpartition("/")
    return folder if slash else name


def numbered(*groups: tuple[str, ...]) -> "list[np.ndarray]":
    """One integer a person, the same in every group."""
    import numpy as np

    known = {person: number for number, person in enumerate(sorted({name for group in groups for name in group}))}
    return [np.array([known[name] for name in group], np.int64) for group in groups]


def embed_set(faces: "FaceSet", numbers: "np.ndarray", network: "Encoder", *, mirror: bool = False) -> "np.ndarray":
    """Embeddings of the given rows of a set, read and embedded `CHUNK` at a time."""
    import numpy as np

    if not len(numbers):
        raise DataError(f"{faces.path}: no image of the set is kept; filter less or sample more")
    parts = []
    with progress_bar("embedding") as progress:
        for start in range(0, len(numbers), CHUNK):
            chunk = numbers[start : start + CHUNK]
            parts.append(network.embed(faces.crops([int(number) for number in chunk]), mirror=mirror))
            progress(start + len(chunk), len(numbers))
    return np.concatenate(parts)


def read_same_encoder(path: Path, network: "Encoder") -> "Embeddings":
    """Embeddings that may be compared with those of `network`; DataError when another encoder made them."""
    from facewright.data.embeddings import read_embeddings

    read = read_embeddings(path, width=network.width)
    made_by = read.provenance.get("encoder_sha256")
    if made_by not in (None, network.sha256):
        raise DataError(
            f"{path}: made with encoder {read.provenance.get('encoder')} {str(made_by)[:12]}, not with {network.name}"
            f" {network.sha256[:12]}; embed its source again, or give --encoder as it was then"
        )
    return read


def write_plots(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write NAME.svg of each picture, whole or not at all."""
    from facewright.training.atomic import atomic_path

    for name, picture in pictures.items():
        with atomic_path(folder / f"{name}.svg") as temporary:
            temporary.write_bytes(picture)


def numbers_of(text: str, option: str) -> tuple[float, ...]:
    """Numbers parted by commas."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} takes numbers parted by commas, got {text!r}") from error


def described(network: "Encoder") -> dict[str, str]:
    """An encoder as a JSON file names it."""
    return {"name": network.name, "sha256": network.sha256}
