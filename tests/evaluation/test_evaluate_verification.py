"""`facewright evaluate verification`, with an encoder that measures colours."""

import csv
import io
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from tests.evaluation.drawn import ColourEncoder, call, picture

from facewright.data.embeddings import write_embeddings
from facewright.errors import DataError, FaceError, InputError


def test_verification_names_protocol_and_figures(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    shown = call(app, "evaluate", "verification", pairs, "--images", images, "--json", tmp_path / "out.json").output
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["accuracy"] == pytest.approx(np.mean(figures["fold_accuracy"]))
    assert figures["accuracy"] > 0.9
    assert (figures["genuine"], figures["impostor"]) == (12, 12)
    assert figures["encoder"] == {"name": "colours", "sha256": ColourEncoder.sha256}
    assert figures["protocol"].startswith(
        "2 contiguous folds; feature = embedding of the image + embedding of its mirror"
    )
    assert f"{figures['accuracy']:.2%}" in shown
    assert "over 2 folds, threshold from the other folds" in shown
    assert "FMR100" in shown


def test_verification_refuses_a_missing_image(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    (images / "P3" / "P3_0002.png").unlink()
    with pytest.raises(DataError, match="image 2 of P3"):
        call(app, "evaluate", "verification", pairs, "--images", images, "--json", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def figures_of(app: typer.Typer, tmp_path: Path, *arguments: object) -> dict:
    call(app, "evaluate", "verification", *arguments, "--resamples", 20, "--json", tmp_path / "out.json")
    return json.loads((tmp_path / "out.json").read_text())


def test_everything_is_reported_with_its_definition(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    figures = figures_of(app, tmp_path, pairs, "--images", images, "--plots", tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["det.svg", "histograms.svg", "roc.svg"]
    assert figures["people_in_several_folds"] == 2  # P0 and P6, by the impostor pairs
    assert figures["intervals"]["accuracy"]["over"] == "people"
    assert figures["intervals"]["eer"]["low"] <= figures["scores"]["eer"] <= figures["intervals"]["eer"]["high"]
    assert figures["pyeer"].keys() >= {"eer", "fmr100", "fmr1000"}
    assert figures["missing"] == 0
    assert figures["definitions"].keys() >= {"val", "scores", "pyeer", "intervals", "groups"}


def test_options_change_the_protocol_and_are_named(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    plain = figures_of(app, tmp_path, pairs, "--images", images)
    options = ["--no-mirror", "--folds", 3, "--metric", "angle", "--subtract-mean"]
    figures = figures_of(app, tmp_path, pairs, "--images", images, *options)
    assert figures["protocol"].startswith("3 contiguous folds; feature = embedding of the image, unit length")
    assert "angle over pi" in figures["protocol"]
    assert figures["protocol"].endswith("features centred on the other folds")
    assert len(figures["fold_accuracy"]) == 3
    assert figures["scores"]["genuine_mean"] != plain["scores"]["genuine_mean"]
    few = figures_of(app, tmp_path, pairs, "--images", images, "--components", 2)
    assert few["protocol"].endswith("2 principal components of the other folds")
    with pytest.raises(DataError, match="join their people into 1 groups"):
        figures_of(app, tmp_path, pairs, "--images", images, "--folds", "disjoint")


def test_embeddings_take_the_place_of_crops(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    names = [f"P{person}/P{person}_{number:04d}.png" for person in range(12) for number in (1, 2)]
    crops = np.stack([picture(person, number, size=112) for person in range(12) for number in (1, 2)])
    rows = ColourEncoder().embed(crops, mirror=True)
    made = {"encoder": "colours", "encoder_sha256": ColourEncoder.sha256, "mirror": True}
    write_embeddings(tmp_path / "all.npz", names, rows, provenance=made)
    from_crops = figures_of(app, tmp_path, pairs, "--images", images)
    from_file = figures_of(app, tmp_path, pairs, "--embeddings", tmp_path / "all.npz")
    assert from_file["protocol"] == from_crops["protocol"]
    assert from_file["scores"] == from_crops["scores"]
    write_embeddings(tmp_path / "few.npz", names[1:], rows[1:], provenance=made)
    with pytest.raises(DataError, match=r"few.npz: lacks 1 of 24 images, the first is P0_0001"):
        figures_of(app, tmp_path, pairs, "--embeddings", tmp_path / "few.npz")
    rejected = figures_of(app, tmp_path, pairs, "--embeddings", tmp_path / "few.npz", "--missing", "reject")
    assert rejected["missing"] == 2  # P0 with itself, and with P1
    assert 0 in rejected["rejected_genuine"]
    assert rejected["accuracy"] < from_file["accuracy"]


def test_several_lists_are_averaged(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    (images / "pairs.txt").write_text(pairs.read_text())
    encoded = [path.read_bytes() for person in range(12) for path in sorted((images / f"P{person}").iterdir())]
    ours = [encoded[2 * person : 2 * person + 2] for person in range(12)]
    theirs = [[ours[person][0], ours[(person + 1) % 12][1]] for person in range(12)]
    images_of_pairs = [image for both in zip(ours, theirs, strict=True) for pair in both for image in pair]
    (tmp_path / "own.bin").write_bytes(pickle.dumps((images_of_pairs, [True, False] * 12)))
    figures = figures_of(app, tmp_path, images, tmp_path / "own.bin", "--folds", 2)
    both = figures["benchmarks"]
    assert list(both) == [str(images), str(tmp_path / "own.bin")]
    assert figures["average_accuracy"] == pytest.approx(np.mean([each["accuracy"] for each in both.values()]))
    assert both[str(tmp_path / "own.bin")]["people_in_several_folds"] is None


def test_groups(app: typer.Typer, lfw: tuple[Path, Path], tmp_path: Path) -> None:
    pairs, images = lfw
    groups = tmp_path / "groups.csv"
    with groups.open("w", newline="") as opened:
        csv.writer(opened).writerows(
            [["identity", "group"], *([f"P{person}", "odd" if person < 3 else "even"] for person in range(12))]
        )
    figures = figures_of(app, tmp_path, pairs, "--images", images, "--groups", groups)["groups"]
    assert (figures["groups"]["odd"]["genuine"], figures["groups"]["even"]["genuine"]) == (3, 9)
    assert figures["mixed"] == 2
    groups.write_text("identity,group\nP0,odd\n")
    with pytest.raises(DataError, match="no group is given for P1"):
        figures_of(app, tmp_path, pairs, "--images", images, "--groups", groups)
    groups.write_text("who,group\nP0,odd\n")
    with pytest.raises(DataError, match=r"groups.csv, line 1"):
        figures_of(app, tmp_path, pairs, "--images", images, "--groups", groups)


def test_a_benchmark_by_name_needs_its_folder(app: typer.Typer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="say with --root"):
        figures_of(app, tmp_path, "agedb_30")
    with pytest.raises(InputError, match=r"holds neither agedb_30.bin nor a folder agedb_30"):
        figures_of(app, tmp_path, "agedb_30", "--root", tmp_path)
    (tmp_path / "pairs.txt").write_text("1 1\nA 1 2\nA 1 B 1\n")
    with pytest.raises(InputError, match="give the crops that the list names with --images"):
        figures_of(app, tmp_path, tmp_path / "pairs.txt")


@pytest.mark.parametrize(
    ("given", "hint"), [("lfww", " Did you mean lfw?"), ("AgeDB-30", " Did you mean agedb_30?"), ("zzz", "")]
)
def test_a_mistyped_benchmark_is_told_from_a_list(app: typer.Typer, tmp_path: Path, given: str, hint: str) -> None:
    message = re.escape(
        f"{given}: no such list, .bin file or folder, nor a benchmark's name.{hint} Known: lfw, cfp_ff,"
    )
    with pytest.raises(InputError, match=message):
        figures_of(app, tmp_path, given, "--root", tmp_path)


def pictures_bin(path: Path, issame: list[bool], *, broken: int | None = None) -> Path:
    encoded = []
    for number in range(2 * len(issame)):
        memory = io.BytesIO()
        Image.fromarray(picture(number // 2, number % 2, size=112)).save(memory, format="PNG")
        encoded.append(b"no picture" if number == broken else memory.getvalue())
    path.write_bytes(pickle.dumps((encoded, issame)))
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "many"], "--folds takes list, disjoint or a number from 2, got 'many'"),
        (["--folds", 1], "a number from 2, got '1'"),
        (["--folds", 25], r"own.bin: 24 pairs cannot be judged in 25 folds"),
        (["--folds", "disjoint"], r"own.bin: its list names nobody"),
        (["--folds", 24], r"own.bin: fold 1 of 24 has no pair of two people.*ask for fewer folds"),
        (["--far", 2], "--far is a rate from 0 to 1, such as 0.001, got 2"),
        (["--far", "nan"], "--far is a rate from 0 to 1"),
        (["--components", 0], "--components keeps at least 1, got 0"),
        (["--components", 17, "--folds", 2], r"own.bin: --components keeps at most 16 here"),
        (["--subtract-mean"], "--subtract-mean changes no squared distance; add --metric angle"),
        (["--metric", "cosine"], "--metric takes squared or angle, got 'cosine'"),
    ],
)
def test_options_are_checked_before_anything_is_embedded(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[object], message: str
) -> None:
    def embed(self: ColourEncoder, crops: np.ndarray, **_: object) -> np.ndarray:
        raise AssertionError("embedded before the options were checked")

    monkeypatch.setattr(ColourEncoder, "embed", embed)
    with pytest.raises(FaceError, match=message):
        figures_of(app, tmp_path, pictures_bin(tmp_path / "own.bin", [True, False] * 12), *options)


def test_a_list_that_cannot_be_judged_is_named(app: typer.Typer, tmp_path: Path) -> None:
    own = pictures_bin(tmp_path / "own.bin", [True] * 10 + [False] * 10)
    with pytest.raises(DataError, match=r"own\.bin: fold 1 of 10 has no pair of two people"):
        figures_of(app, tmp_path, own)
    with pytest.raises(
        DataError, match=r"own\.bin: picture 3 \(pair 1\): not a readable picture \(its kind is not known\)"
    ):
        figures_of(app, tmp_path, pictures_bin(own, [True, False] * 10, broken=3))
