from itertools import combinations

import numpy as np
import pytest

from facewright.errors import DataError, InputError
from facewright.evaluation.personalised import PersonalisedPicture, PersonPhotos, measure_personalised

NONE = np.empty((0, 112, 112, 3), np.uint8)
PEOPLE = {"ann": 0, "bob": 1, "cleo": 2}


def face(person: int, *, towards: int = 3, share: float = 0.0) -> np.ndarray:
    """A crop that `Colours` embeds as mostly one axis, partly another."""
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[0, person] = 200
    crop[0, towards] = round(200 * share)
    return crop


class Colours:
    """Embeds a crop by its first four pixels; unit length."""

    def embed(self, crops: np.ndarray) -> np.ndarray:
        rows = crops[:, 0, :4, 0].astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def photos(*, others: bool = False) -> dict[str, PersonPhotos]:
    return {
        name: PersonPhotos(face(axis)[None], face(axis, share=1.0)[None] if others else NONE)
        for name, axis in PEOPLE.items()
    }


def single(name: str, crop: np.ndarray | None, **more: object) -> PersonalisedPicture:
    crops = NONE if crop is None else crop[None]
    return PersonalisedPicture((name,), crops, **more)  # type: ignore[arg-type]


def test_one_person_a_picture() -> None:
    pictures = [
        single("ann", face(0), prompt="p", category="plain", prompt_scores={"judge": 0.5}),
        single("ann", face(0, share=1.0), category="odd", prompt_scores={"judge": None}),
        single("bob", None, category="plain", prompt_scores={"judge": 0.1}),
        single("bob", face(0), category="plain", prompt_scores={"judge": 0.3}),
    ]
    done = list[tuple[int, int]]()
    found = measure_personalised(
        pictures,
        photos(others=True),
        {"colours": Colours()},
        distance=lambda first, second: float((first != second).any()),
        resamples=200,
        progress=lambda *counts: done.append(counts),
    )
    own, half = found.encoders["colours"], np.sqrt(0.5)
    assert own.identity.value == pytest.approx((1 + half + 0 + 0) / 4)
    assert own.identity_of_found is not None
    assert own.identity_of_found.value == pytest.approx((1 + half + 0) / 3)
    assert own.to_other_photos is not None
    assert own.to_other_photos.value == pytest.approx((half + 1 + 0) / 3)
    assert own.copy_paste is not None
    assert own.copy_paste.value == pytest.approx((1 - 1 + 0) / 3, abs=1e-6)
    assert own.swapped is own.right is None
    assert found.complete.value == 0.75
    assert (found.prompts["judge"].value, found.prompts["judge"].count) == (pytest.approx(0.3), 3)
    identity = own.identity.value
    assert found.harmonic["colours"]["judge"].value == pytest.approx(2 * identity * 0.3 / (identity + 0.3))
    assert found.diversity is not None
    assert (found.diversity.value, found.diversity.count) == (1, 1)
    assert found.categories["plain"].pictures == 3
    assert found.categories["plain"].identity["colours"] == pytest.approx(1 / 3)
    assert found.categories["odd"].prompt == {}
    assert own.identity.interval is not None
    assert own.identity.interval[0] == pytest.approx(0)
    assert own.identity.interval[1] == pytest.approx((1 + half) / 2)
    assert done[-1] == (4, 4)


def test_two_people_a_picture() -> None:
    crops = {
        "straight": [face(0), face(1)],
        "crossed": [face(1), face(0)],
        "blended": [face(0, towards=1, share=0.6), face(0, towards=1, share=0.5)],
        "alone": [face(0)],
    }
    pictures = [PersonalisedPicture(("ann", "bob"), np.stack(faces)) for faces in crops.values()]
    found = measure_personalised(pictures, photos(), {"colours": Colours()}, resamples=0)
    own = found.encoders["colours"]
    scores = [row.score for row in found.scores["colours"]]
    assert scores[:2] == [pytest.approx(1), pytest.approx(1)]
    assert scores[2] == pytest.approx(0.6 / np.hypot(1, 0.6))
    assert scores[3] == 0
    assert own.swapped is not None
    assert own.right is not None
    assert (own.swapped.value, own.swapped.count) == (pytest.approx(2 / 3), 3)
    assert own.right.value == 0.25
    assert found.complete.value == 0.75
    assert found.diversity is None
    assert own.copy_paste is None
    assert own.identity.interval is None


def test_several_encoders_have_figures_of_their_own() -> None:
    class Sign(Colours):
        def embed(self, crops: np.ndarray) -> np.ndarray:
            return np.sign(super().embed(crops))

    pictures = [single(name, face(axis, share=0.2)) for name, axis in PEOPLE.items()]
    found = measure_personalised(pictures, photos(), {"colours": Colours(), "sign": Sign()})
    assert found.encoders["colours"].identity.value > 0.9
    assert found.encoders["sign"].identity.value == pytest.approx(np.sqrt(0.5))
    assert set(found.figures()["encoders"]) == {"colours", "sign"}


def test_many_pairs_in_chunks() -> None:
    pairs = list(combinations(PEOPLE, 2)) * 50
    pictures = [PersonalisedPicture(names, np.stack([face(PEOPLE[name]) for name in names])) for names in pairs]
    found = measure_personalised(pictures, photos(), {"colours": Colours()})
    assert found.encoders["colours"].identity.value == pytest.approx(1)
    assert found.encoders["colours"].right is not None
    assert found.encoders["colours"].right.interval == (1, 1)


def test_what_cannot_be_measured_is_refused() -> None:
    picture, encoders = single("ann", face(0)), {"colours": Colours()}
    with pytest.raises(InputError, match="no picture to measure"):
        measure_personalised([], photos(), encoders)
    with pytest.raises(InputError, match="1 to 3 encoders, got 0"):
        measure_personalised([picture], photos(), {})
    with pytest.raises(InputError, match="show 1 and 2 people"):
        measure_personalised([picture, PersonalisedPicture(("ann", "bob"), NONE)], photos(), encoders)
    with pytest.raises(InputError, match="'dan', of whom no photo"):
        measure_personalised([single("dan", None)], photos(), encoders)
    with pytest.raises(DataError, match="ann has no photo"):
        measure_personalised([picture], {"ann": PersonPhotos(NONE, NONE)}, encoders)
