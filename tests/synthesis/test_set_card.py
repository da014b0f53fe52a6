import json
from pathlib import Path

import pytest
from tests.synthesis.tiny import TinyEncoder, TinyGenerator

from facewright.data.embeddings import Embeddings
from facewright.errors import DataError, InputError
from facewright.synthesis import narrowest_licence, sample_set, uniform_contexts, write_set_card

CONTEXTS = uniform_contexts(2, seed=0, width=64)


@pytest.mark.parametrize(
    ("texts", "source"),
    [
        ({"a": "Apache-2.0", "b": "CC BY-NC-SA 4.0"}, "b"),
        ({"a": "CC BY-NC 4.0", "b": "for non-commercial research only"}, "b"),
        ({"a": "MIT", "b": "CC0", "c": "CC BY-SA 4.0"}, "c"),
        ({"a": "CC BY-ND 4.0", "b": "CC BY-SA 4.0"}, "a"),
        ({"a": "CC BY-NC 4.0", "b": "CC BY-ND 4.0"}, "a"),
        ({"a": "for research only", "b": "ask Anna"}, "b"),
        ({"a": "ask Anna", "b": None}, "b"),
        ({"a": "CC0", "b": "BSD-3-Clause"}, "b"),
    ],
)
def test_the_most_restrictive_licence_wins(texts: dict[str, str | None], source: str) -> None:
    licence = narrowest_licence(texts)
    assert licence.source == source
    assert licence.text == (texts[source] or "not stated")
    assert set(licence.inputs) == set(texts)


def made(path: Path, provenance: dict[str, object], generator: TinyGenerator | None = None) -> str:
    contexts = Embeddings(CONTEXTS.names, CONTEXTS.embeddings, provenance)
    sample_set(generator or TinyGenerator(), contexts, per_identity=1, out=path, encoder=TinyEncoder(), steps=2)
    return (path / "card.md").read_text()


def test_card_states_the_licence_of_its_narrowest_input(tmp_path: Path) -> None:
    card = made(tmp_path / "a", {"kind": "uniform"})
    assert (
        "Apache-2.0\n\nIt is the most restrictive of the licences of what the set was made with, that of the generator"
        in card
    )
    assert "- contexts: public domain: drawn at random" in card
    card = made(tmp_path / "b", {"kind": "fitted", "licence": "CC BY-NC 4.0"})
    assert "\nCC BY-NC 4.0\n\nIt is the most restrictive of the licences" in card
    assert "that of the contexts" in card
    card = made(tmp_path / "c", {"kind": "photos"})
    assert "Not stated by the contexts; ask its maker" in card
    silent = TinyGenerator()
    silent.card = {}
    card = made(tmp_path / "d", {"kind": "uniform"}, silent)
    assert "Not stated by the generator" in card
    assert "not stated by its card" in card


def test_card_is_written_anew_with_stated_licences(tmp_path: Path) -> None:
    out = tmp_path / "set"
    made(out, {"kind": "photos"})
    licence = write_set_card(out, stated={"contexts": "CC BY 4.0"})
    assert (licence.source, licence.text) in (("generator", "Apache-2.0"), ("contexts", "CC BY 4.0"))
    assert "- contexts: CC BY 4.0" in (out / "card.md").read_text()
    assert write_set_card(out) == licence, "it is kept for the next call"
    # What an input states itself cannot be talked away.
    licence = write_set_card(out, stated={"generator": "CC0", "contexts": "CC0"})
    assert licence.text == "Apache-2.0"
    assert write_set_card(out, stated={"contexts": "CC0", "pose photos": "CC BY-NC 4.0"}).source == "pose photos"


def test_sets_of_before_and_damaged_ones(tmp_path: Path) -> None:
    out = tmp_path / "set"
    made(out, {"kind": "uniform"})
    (out / "sources.json").unlink()
    assert write_set_card(out).kind == "not stated"
    for text in ("{", json.dumps([1])):
        (out / "sources.json").write_text(text)
        with pytest.raises(DataError, match=r"sources\.json"):
            write_set_card(out)
    with pytest.raises(DataError, match="config"):
        write_set_card(tmp_path)
    (out / "sources.json").unlink()
    (out / "manifest.parquet").unlink()
    with pytest.raises(InputError, match="not a set"):
        write_set_card(out)
