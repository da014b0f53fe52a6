"""The page that goes with a set: what it is, how it was made, under which licence."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facewright.data.sets import CARD, SetRow, read_config, read_manifest
from facewright.errors import DataError
from facewright.synthesis.licences import Licence, narrowest_licence
from facewright.synthesis.variation import PersonVariation
from facewright.training.atomic import atomic_path

SOURCES = "sources.json"
FILTER = "filter.json"
LIMITS = (
    "A model made every picture; none is a photograph. A face may still be close to a person whose photos the generator"
    " was trained on, and the mix of ages, skin tones and poses follows those photos."
)
BEGUN = (
    "Every picture was begun from a given one, of which pose, light, hair and background remain; the face is a model's."
    " Where photographs were given, treat the set as personal data of the people on them. A face may also be close to"
    " a person whose photos the generator was trained on."
)
ADDED = (
    "A model made the sampled pictures; those added from a picture of the identity may be photographs. A face may be"
    " close to a person whose photos the generator was trained on, and the mix of ages, skin tones and poses follows"
    " those photos."
)


def write_sources(
    path: Path,
    generator_card: Mapping[str, Any],
    provenance: Mapping[str, Any],
    encoder_card: Mapping[str, Any] | None,
    variation: PersonVariation | None = None,
    *,
    begun_from: bool = False,
) -> None:
    """Keep beside a set what its card says of the inputs: licences, data, and where the contexts came from."""
    sources = {
        "generator": {key: generator_card.get(key) for key in ("data", "licence")},
        "contexts": dict(provenance),
        "encoder": None if encoder_card is None else {"licence": encoder_card.get("licence")},
        **({} if variation is None else {"variation": {"licence": variation.licence}}),
        **({"start": {"licence": None}} if begun_from else {}),
    }
    _write_sources(path, sources)


def _write_sources(path: Path, sources: Mapping[str, Any]) -> None:
    with atomic_path(path / SOURCES) as temporary:
        temporary.write_text(json.dumps(sources, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_set_card(
    path: Path, *, rows: Sequence[SetRow] | None = None, stated: Mapping[str, str] | None = None
) -> Licence:
    """Write card.md from the files of a set.

    Args:
        path: of the set.
        rows: of the manifest; None reads them, and an empty sequence says that nothing is made yet.
        stated: licence by input ("generator", "contexts", "encoder", or a further one), where the inputs do not state
            it themselves; what they do state stays in force beside it. Kept beside the set, for whatever writes its
            card again.

    Returns:
        The licence that was computed.

    Raises:
        InputError, DataError: no set there, or one of its files is damaged.
    """
    settings = read_config(path)
    sources = _read_json(path / SOURCES)
    if stated:
        sources = {**sources, "stated": {**sources.get("stated", {}), **stated}}
    licence = set_licence(sources, sources.get("stated", {}))
    text = set_card(
        settings,
        sources,
        licence=licence,
        rows=read_manifest(path) if rows is None else rows,
        limits=_read_json(path / FILTER),
    )
    if stated:
        _write_sources(path, sources)
    with atomic_path(path / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return licence


def set_licence(sources: Mapping[str, Any], stated: Mapping[str, str]) -> Licence:
    """The most restrictive licence of generator, contexts, measuring encoder, variation and pictures begun from.

    Contexts drawn evenly over the sphere owe nothing to anybody; all others carry the licence that their provenance
    states.
    """
    provenance = sources.get("contexts") or {}
    inputs: dict[str, str | None] = {"generator": (sources.get("generator") or {}).get("licence")}
    drawn = provenance.get("kind") == "uniform" or (
        provenance.get("kind") == "packed" and provenance.get("encoder_sha256") is None
    )
    inputs["contexts"] = "public domain: drawn at random" if drawn else provenance.get("licence")
    for name in ("encoder", "variation", "start"):
        if sources.get(name) is not None:
            inputs[name] = sources[name].get("licence")
    for name, text in stated.items():
        before = inputs.get(name)
        inputs[name] = text if not before else narrowest_licence({"before": before, "stated": text}).text
    return narrowest_licence(inputs)


def set_card(
    settings: Mapping[str, Any],
    sources: Mapping[str, Any],
    *,
    licence: Licence,
    rows: Sequence[SetRow] = (),
    limits: Mapping[str, Any] | None = None,
) -> str:
    """Text of card.md.

    Args:
        settings: the set's config.json.
        sources: its sources.json.
        licence: computed from those.
        rows: of its manifest; none while it is being made.
        limits: its filter.json.
    """
    size, crop = settings["image_size"], settings["crop"]
    where = "the whole picture" if size == crop else f"the central {crop} x {crop} pixels"
    aligned = f", found and warped by {settings['align']}" if settings.get("align") else ""
    provenance = sources.get("contexts") or {}
    added = any(row.steps == 0 for row in rows)
    lines = [
        "# A set of synthetic faces",
        "",
        f"- identities: {settings['identities']}, images of each: {settings['per_identity']}",
        f"- pictures: {size} x {size} PNG, RGB; the aligned crop is {where}{aligned}",
        f"- generator: {settings['generator']} (sha256 `{settings['generator_sha256']}`)",
        f"- sampler: {_sampling(settings)}",
        *_begun_from(settings),
        f"- seed: {settings['seed']}, images a batch: {settings['batch']}",
        f"- identities from: {_origin(provenance)} (sha256 `{settings['contexts_sha256']}`)",
        f"- similarity in the manifest: {_similarity(settings['encoder'], settings['encoder_sha256'])}",
        *_counts(rows, limits or {}),
        "",
        "## Data behind it",
        "",
        f"The generator was trained on: {(sources.get('generator') or {}).get('data') or 'not stated by its card'}",
        "",
        "## Licence",
        "",
        licence.text
        if licence.kind != "not stated"
        else f"Not stated by the {licence.source}; ask its maker before using the set.",
        "",
        f"It is the most restrictive of the licences of what the set was made with, that of the {licence.source}:",
        "",
        *(f"- {name}: {text}" for name, text in licence.inputs.items()),
        "",
        "## Limits",
        "",
        ADDED if added else BEGUN if "start_sha256" in settings else LIMITS,
    ]
    if provenance.get("kind") == "photos":
        lines += ["", "The identities are those of photographed people: treat the set as their personal data."]
    return "\n".join(lines) + "\n"


def _counts(rows: Sequence[SetRow], limits: Mapping[str, Any]) -> list[str]:
    """What is in the manifest beyond the plan."""
    lines = []
    if dropped := Counter(row.reason.split(":")[0] for row in rows if not row.kept):
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        lines.append(f"- kept: {sum(row.kept for row in rows)} of {len(rows)} images; not kept: {reasons}")
    if limits:
        lines.append(f"- filtered: {', '.join(f'{key} {value}' for key, value in sorted(limits.items()))}")
    if added := sum(row.steps == 0 for row in rows):
        lines.append(f"- {added} of the images are the pictures that the identities were taken from, not sampled")
    return lines


def _sampling(settings: Mapping[str, Any]) -> str:
    """Sampler, steps, guidance, and what else is not left at its default."""
    common = f"{settings['sampler']}, {settings['steps']} steps, guidance {settings['guidance']:g}"
    keys = ("spacing", "eta", "guidance_interval", "identity_from", "negative", "cone", "vary", "strength", "refine")
    further = [f"{key.replace('_', ' ')} {settings[key]}" for key in keys if settings.get(key) is not None]
    return ", ".join([common, *further])


def _begun_from(settings: Mapping[str, Any]) -> list[str]:
    if "start_sha256" not in settings:
        return []
    least = f", of people on at least {settings['start_least']}" if "start_least" in settings else ""
    match = ", matched to the identities" if settings.get("start_match") else ""
    return [
        f"- begun from given pictures (sha256 `{settings['start_sha256']}`), by {settings['start_by']}{least}{match}"
    ]


def _origin(provenance: Mapping[str, Any]) -> str:
    stated = [
        f"{key} {provenance[key]:.4g}" if isinstance(provenance[key], float) else f"{key} {provenance[key]}"
        for key in ("source", "generator", "seed", "min_angle", "encoder")
        if provenance.get(key) is not None
    ]
    kind = provenance.get("kind", "embeddings")
    return f"{kind}, {', '.join(stated)}" if stated else str(kind)


def _similarity(encoder: str | None, sha256: str | None) -> str:
    if encoder is None:
        return "not measured"
    return f"cosine of the image's embedding to its context, by {encoder} (sha256 `{sha256}`)"


def _read_json(file: Path) -> dict[str, Any]:
    """An object that a set may lack (sets of before): then empty."""
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); restore or delete the file") from error
    if not isinstance(values, dict):
        raise DataError(f"{file}: expected a JSON object, got {type(values).__name__}; restore or delete the file")
    return values
