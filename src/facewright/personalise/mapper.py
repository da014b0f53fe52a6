"""A trained mapper: the network that makes a person's words, and where these go."""

from collections.abc import Mapping as Dictionary
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facewright.errors import ConfigError, DataError
from facewright.personalise.injection import MODES
from facewright.personalise.mapping import Mapping, MappingConfig
from facewright.personalise.postfuse import PostFuse
from facewright.weights import Card, load_weights, read_card, save_weights

KIND = "mapper"
WORDS = 2  # of a person
BASE = "base_sha256"
"""Entry of a card's architecture: the base model that the words are for."""
PUBLIC_LAYOUT = "f2d/mapping"
"""Cards of imported Face2Diffusion mappings name this layout and no sizes; the sizes are `MappingConfig`'s own."""
PUBLIC_ENCODER = "f2d/msid"


@dataclass(frozen=True)
class MapperCard:
    """What a mapper fits, read before any network is made."""

    config: MappingConfig
    mode: str  # replace or fuse
    encoder_sha256: str | None  # of the encoder whose embeddings it maps; None: not said
    encoder_layout: str | None  # of a public encoder it maps; None: not said
    base_sha256: str | None = None  # of the base model it was trained for, as that one's card says; None: not said


@dataclass(frozen=True)
class Mapper:
    """Makes words of identities; its networks are in eval mode."""

    mapping: Mapping
    fuse: PostFuse | None = None
    """None: words stand in place of the name's tokens, before the text encoder; else the fusion after it."""
    sha256: str = ""

    @property
    def mode(self) -> str:
        """Where the words go: "replace" or "fuse"."""
        return "replace" if self.fuse is None else "fuse"

    @torch.inference_mode()
    def words(self, identity: Tensor) -> Tensor:
        """The words of one person, (2, D).

        Args:
            identity: mean embedding of the person's photos, (identity_width,).
        """
        weight = self.mapping.null_exp
        first, last = self.mapping(identity.to(weight)[None])
        return torch.cat([first, last])


def read_mapper_card(source: Path | str) -> MapperCard:
    """What the mapper of a weights file fits; only the file's header is read.

    Raises:
        InputError: no such file, or a model of another kind.
        DataError: the file is damaged, or its card does not say how the mapper is built.
    """
    return _fits(_card(source), source)


def load_mapper(source: Path | str = "bundled", *, device: str = "cpu") -> Mapper:
    """Load a mapper written by `save_mapper`, or a Face2Diffusion mapping from `facewright import`.

    Args:
        source: a .safetensors file, or "bundled".
        device: where its networks go.

    Raises:
        InputError, DataError: as `read_mapper_card`, or the tensors do not fit the card.
    """
    state, card = load_weights(source, kind=KIND)
    fits = _fits(card, source)
    mapping = Mapping(fits.config)
    fuse = PostFuse(fits.config.word_width) if fits.mode == "fuse" else None
    try:
        mapping.load_state_dict(_below("mapping.", state) if fuse else state)
        if fuse is not None:
            fuse.load_state_dict(_below("postfuse.", state))
    except RuntimeError as error:
        raise DataError(f"{source}: its tensors do not fit a mapper of mode {fits.mode} ({error})") from error
    return Mapper(mapping.eval().to(device), fuse.eval().to(device) if fuse else None, card.sha256)


def save_mapper(
    path: Path | str,
    mapper: Mapper,
    *,
    name: str,
    data: str,
    licence: str,
    recipe: str,
    encoder_sha256: str,
    base_sha256: str | None = None,
    **card: Any,
) -> Card:
    """Write a mapper with a card that says what it fits.

    Args:
        path: .safetensors file.
        mapper: what to write.
        name, data, licence, recipe, encoder_sha256: as in `Card`.
        base_sha256: of the base model it was trained for (`BaseFacts.sha256`); None where that one has no card.
        card: further entries of the card, such as `measured`.
    """
    state = mapper.mapping.state_dict()
    if mapper.fuse is not None:
        state = {
            **{f"mapping.{key}": tensor for key, tensor in state.items()},
            **{f"postfuse.{key}": tensor for key, tensor in mapper.fuse.state_dict().items()},
        }
    built = {"network": "mapping", "mode": mapper.mode, **asdict(mapper.mapping.config)}
    if base_sha256 is not None:
        built[BASE] = base_sha256
    written = Card(
        name=name,
        kind=KIND,
        architecture=built,
        data=data,
        licence=licence,
        recipe=recipe,
        input=None,
        encoder_sha256=encoder_sha256,
        **card,
    )
    return save_weights(path, state, written)


def _card(source: Path | str) -> Card:
    if str(source) == "bundled":
        return load_weights(source, kind=KIND)[1]
    card = read_card(source)
    if card.kind != KIND:
        raise DataError(f"{source} holds a model of kind {card.kind!r}, expected {KIND!r}; name a mapper's file")
    return card


def _fits(card: Card, source: Path | str) -> MapperCard:
    built = dict(card.architecture)
    if built.get("layout") == PUBLIC_LAYOUT:
        return MapperCard(MappingConfig(), "replace", card.encoder_sha256, PUBLIC_ENCODER)
    mode, network, base = (built.pop(entry, None) for entry in ("mode", "network", BASE))
    if network != "mapping" or mode not in MODES:
        raise DataError(
            f"{source}: its card names the network {network!r} with mode {mode!r}, expected 'mapping' with "
            f"{' or '.join(MODES)}; name a mapper's file"
        )
    try:
        return MapperCard(MappingConfig(**built), mode, card.encoder_sha256, None, base)
    except (TypeError, ConfigError) as error:
        raise DataError(f"{source}: its card does not describe a mapping ({error}); get the file again") from error


def _below(prefix: str, state: Dictionary[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
