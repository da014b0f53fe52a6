"""The sample files of every format, with the bytes, labels and orders that they are known to hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.golden import bridge

HERE = Path(bridge.__file__).resolve().parent / "data" / "formats"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))


def _known(name: str) -> list[dict[str, Any]]:
    rows = [row for row in EXPECTED[name] if row.get("kind", "image") == "image"]
    return [{"label": row["label"], "sha256": row["sha256"]} for row in rows]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("recordio_grouped", "recordio_grouped"),
        ("recordio_grouped/train.rec", "recordio_grouped"),
        ("recordio_plain", "recordio_plain"),
        ("recordio_plain/train.idx", "recordio_plain"),
        ("recordio_array_label", "recordio_array_label"),
        ("recordio_magic_inside", "recordio_magic_inside"),
        ("tfrecord_four_column", "tfrecord_four_column"),
        ("tfrecord_four_column/TFR-Toy/TFR-Toy.txt", "tfrecord_four_column"),
        ("tfrecord_three_column", "tfrecord_three_column"),
        ("tfrecord_three_column/TFR-Toy/TFR-Toy.index", "tfrecord_three_column"),
        ("tfrecord_with_label", "tfrecord_with_label"),
        ("tfrecord_latent", "tfrecord_latent"),
        ("image_folder", "image_folder"),
        ("image_folder/images", "image_folder"),
        ("image_folder/img_list.txt", "image_folder"),
    ],
)
def test_records_are_the_known_ones(path: str, name: str) -> None:
    assert bridge.read(HERE / path) == _known(name)


@pytest.mark.parametrize("name", EXPECTED["verification_bin"]["files"])
def test_pairs_are_the_known_ones(name: str) -> None:
    known = EXPECTED["verification_bin"]
    labels = [int(same) for same in known["issame"] for _ in range(2)]
    rows = [{"label": label, "sha256": sha} for label, sha in zip(labels, known["images"], strict=True)]
    assert bridge.read(HERE / "verification_bin" / name) == rows


def test_the_casia_layout_is_a_folder_of_identities() -> None:
    names = sorted({row["label_directory"] for row in EXPECTED["casia_file"]})
    rows = [{"label": names.index(row["label_directory"]), "sha256": row["sha256"]} for row in EXPECTED["casia_file"]]
    assert bridge.read(HERE / "casia_file") == rows


def test_the_copies_are_those_beside_the_checkout(shared: Path) -> None:
    beside = shared / "golden" / "formats"
    for path in HERE.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (beside / path.relative_to(HERE)).read_bytes(), path.name
