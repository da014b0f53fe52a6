"""The page that goes with a set: what it is, how it was made, under which licence."""

from collections.abc import Mapping
from typing import Any

LIMITS = (
    "A model made every picture; none is a photograph. A face may still be close to a person whose photos the generator"
    " was trained on, and the mix of ages, skin tones and poses follows those photos."
)


def set_card(settings: Mapping[str, Any], generator_card: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Text of card.md.

    Args:
        settings: the set's config.json.
        generator_card: of the generator; `data` and `licence` are quoted.
        provenance: of the contexts.
    """
    size, crop = settings["image_size"], settings["crop"]
    where = "the whole picture" if size == crop else f"the central {crop} x {crop} pixels"
    encoder = settings["encoder"]
    lines = [
        "# A set of synthetic faces",
        "",
        f"- identities: {settings['identities']}, images of each: {settings['per_identity']}",
        f"- pictures: {size} x {size} PNG, RGB; the aligned crop is {where}",
        f"- generator: {settings['generator']} (sha256 `{settings['generator_sha256']}`)",
        f"- sampler: {settings['sampler']}, {settings['steps']} steps, guidance {settings['guidance']:g}",
        f"- seed: {settings['seed']}, images a batch: {settings['batch']}",
        f"- identities from: {_origin(provenance)} (sha256 `{settings['contexts_sha256']}`)",
        f"- similarity in the manifest: {_similarity(encoder, settings['encoder_sha256'])}",
        "",
        "## Data behind it",
        "",
        f"The generator was trained on: {generator_card.get('data') or 'not stated by its card'}",
        "",
        "## Licence",
        "",
        str(generator_card.get("licence") or "Not stated by the generator's card; ask its maker before using the set."),
        "",
        "## Limits",
        "",
        LIMITS,
    ]
    if provenance.get("kind") == "photos":
        lines += ["", "The identities are those of photographed people: treat the set as their personal data."]
    return "\n".join(lines) + "\n"


def _origin(provenance: Mapping[str, Any]) -> str:
    stated = [
        f"{key} {provenance[key]}"
        for key in ("source", "seed", "min_angle", "encoder")
        if provenance.get(key) is not None
    ]
    kind = provenance.get("kind", "embeddings")
    return f"{kind}, {', '.join(stated)}" if stated else str(kind)


def _similarity(encoder: str | None, sha256: str | None) -> str:
    if encoder is None:
        return "not measured"
    return f"cosine of the image's embedding to its context, by {encoder} (sha256 `{sha256}`)"
