import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pytest
from tests.synthesis.test_contexts import narrow
from tests.synthesis.tiny import TinyEncoder, TinyGenerator

from facewright.data.embeddings import Embeddings
from facewright.data.images import centre_crop
from facewright.errors import ConfigError, DataError, InputError
from facewright.synthesis import (
    Limits,
    balanced_contexts,
    consistent,
    filter_contexts,
    fit_groups,
    fitted_contexts,
    image_seed,
    try_identities,
    uniform_contexts,
)
from facewright.synthesis.pictures import draw_pictures
from facewright.synthesis.search import Candidates, choose_identities


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def blocks(rows: np.ndarray, size: int) -> Iterator[Candidates]:
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        yield Candidates([f"{start + place}" for place in range(len(some))], some, faceless=1)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_greedy_choice_and_why_the_others_were_left(size: int) -> None:
    rows = on_circle(0, 10, 50, 95, 180, 60, 120)
    avoid = Embeddings(("real",), on_circle(100))

    def accept(names: Sequence[str], candidates: np.ndarray) -> np.ndarray:
        return np.array([name != "2" for name in names])

    limits = Limits(math.radians(30), avoid, math.radians(8), accept)
    chosen = choose_identities(blocks(rows, size), 9, limits=limits, width=2)
    assert chosen.names == ("0", "4", "5", "6")  # 1 is near 0, 2 not accepted, 3 near the real one
    np.testing.assert_array_equal(chosen.embeddings, rows[[0, 4, 5, 6]])
    report = chosen.report
    assert (report.near_another, report.inconsistent, report.near_avoided) == (1, 1, 1)
    assert report.drawn == 7 + report.faceless == 7 + math.ceil(7 / size)
    assert not report.complete
    for said in ("4 of 9 identities found", "1 lay too near to a person", "1 proved inconsistent", "showed no face"):
        assert said in report.sentence()


def test_search_stops_once_enough_are_found() -> None:
    looked: list[int] = []

    def endless() -> Iterator[Candidates]:
        while True:
            looked.append(len(looked))
            yield Candidates(["x"], uniform_contexts(1, seed=len(looked), width=8).embeddings)

    chosen = choose_identities(endless(), 5, limits=Limits(), width=8)
    assert (len(looked), chosen.report.complete) == (5, True)


def test_identities_taken_before_count() -> None:
    chosen = choose_identities(
        blocks(on_circle(0, 90), 2), 2, limits=Limits(math.radians(30)), width=2, before=on_circle(10)
    )
    assert chosen.names == ("1",)


def test_filter_of_a_file_keeps_names_and_order() -> None:
    given = Embeddings(("b", "a", "c"), on_circle(0, 90, 95), {"encoder_sha256": "e" * 64})
    found = filter_contexts(given, limits=Limits(math.radians(30)), block=2)
    assert found.contexts.names == ("b", "a")
    assert found.contexts.provenance["encoder_sha256"] == "e" * 64
    assert found.contexts.provenance["filtered_from_sha256"] == given.sha256
    assert asdict(found.report)["near_another"] == 1
    looked: list[tuple[int, int]] = []
    first = filter_contexts(given, limits=Limits(), count=1, progress=lambda *at: looked.append(at))
    assert (first.contexts.names, first.report.drawn, looked) == (("b",), 1, [(0, 3)])
    lacking = filter_contexts(given, limits=Limits(math.radians(30)), count=3).report
    assert (lacking.wanted, lacking.found, lacking.drawn, lacking.complete) == (3, 2, 3, False)
    with pytest.raises(ConfigError, match=r"count must lie in \[1, 3\]"):
        filter_contexts(given, limits=Limits(), count=4)
    with pytest.raises(InputError, match="no context keeps to the limits"):
        filter_contexts(given, limits=Limits(avoid=given, avoid_angle=0.01))
    other = Embeddings(given.names, given.embeddings, {"encoder": "x", "encoder_sha256": "f" * 64})
    with pytest.raises(InputError, match="made by encoder x"):
        filter_contexts(given, limits=Limits(0.1, other))


def test_limits_are_checked() -> None:
    for wrong in ({"min_angle": 0.0}, {"min_angle": 1.6}, {"avoid_angle": math.nan}):
        with pytest.raises(ConfigError, match=r"must lie in \(0, pi / 2\]"):
            Limits(**wrong)
    with pytest.raises(ConfigError, match="needs a min_angle or an avoid_angle"):
        Limits(avoid=uniform_contexts(1, seed=0))


def test_trials_measure_samples_against_context_and_each_other(generator: TinyGenerator, encoder: TinyEncoder) -> None:
    people = uniform_contexts(3, seed=0, width=64)
    trials = try_identities(generator, encoder, people.names, people.embeddings, samples=4, batch=5, guidance=2.0)
    assert [len(contexts) for contexts, _ in generator.calls] == [5, 5, 2]
    assert trials.to_context.shape == trials.pairwise.shape == (3,)
    assert trials.to_context.min() > 0.8
    pictures = [  # by hand, for the first identity
        draw_pictures(generator, people.embeddings[:1], [image_seed(0, "000000", index)], guidance=2.0)[0]
        for index in range(4)
    ]
    rows = encoder.embed(centre_crop(np.stack(pictures), 112)).astype(np.float64)
    pairs = [rows[i] @ rows[j] for i in range(4) for j in range(i)]
    assert trials.pairwise[0] == pytest.approx(np.mean(pairs), abs=5e-3)  # another batch rounds otherwise
    assert trials.to_context[0] == pytest.approx((rows @ people.embeddings[0]).mean(), abs=5e-3)


def test_consistency_refuses_what_the_generator_does_not_hold(generator: TinyGenerator, encoder: TinyEncoder) -> None:
    people = uniform_contexts(4, seed=0, width=64)
    trials = try_identities(generator, encoder, people.names, people.embeddings, samples=3)
    middle = float(np.sort(trials.to_context)[1:3].mean())
    accept = consistent(generator, encoder, to_context=middle, samples=3)
    found = filter_contexts(people, limits=Limits(accept=accept))
    assert len(found.contexts) == 2
    assert found.report.inconsistent == 2
    kept = [people.names.index(name) for name in found.contexts.names]
    assert (trials.to_context[kept] >= middle).all()
    with pytest.raises(ConfigError, match="is a cosine"):
        consistent(generator, encoder, pairwise=1.5)
    with pytest.raises(ConfigError, match="at least 2 trial samples"):
        try_identities(generator, encoder, people.names, people.embeddings, samples=1)


def test_balanced_groups_keep_to_their_own_and_apart() -> None:
    first, second = fitted_contexts(40, narrow(), seed=1), fitted_contexts(12, narrow(), seed=2)
    rows = np.concatenate([first.embeddings, -second.embeddings])
    names = tuple(f"{number}" for number in range(52))
    real = Embeddings(names, rows, {"encoder": "tiny", "encoder_sha256": "e" * 64, "licence": "CC0"})
    statistics = fit_groups(real, {name: "east" if int(name) < 40 else "west" for name in names}, rank=5)
    assert {group: len(fitted.deviations) for group, fitted in statistics.items()} == {"east": 5, "west": 5}
    made = balanced_contexts(15, statistics, seed=0, limits=Limits(0.6))
    assert made.names[0] == "east/000000"
    assert made.names[15] == "west/000000"
    assert (made.embeddings[:15, 0] > 0).mean() > 0.8 > 0.2 > (made.embeddings[15:, 0] > 0).mean()
    cosines = (made.embeddings @ made.embeddings.T)[np.triu_indices(30, 1)]
    assert cosines.max() <= math.cos(0.6) + 1e-6
    assert made.provenance["licence"] == "CC0"
    np.testing.assert_array_equal(
        made.embeddings, balanced_contexts(15, statistics, seed=0, limits=Limits(0.6)).embeddings
    )
    with pytest.raises(ConfigError, match=r"group 'east': \d+ of 200 identities found .* lay too near to another"):
        balanced_contexts(200, statistics, seed=0, limits=Limits(1.5))


def test_groups_that_cannot_be_fitted() -> None:
    real = Embeddings(("a", "b", "c", "d"), on_circle(0, 10, 20, 40), {})
    with pytest.raises(InputError, match="'d' has no group"):
        fit_groups(real, {"a": "x", "b": "x", "c": "x"})
    with pytest.raises(InputError, match="'y' holds fewer than three"):
        fit_groups(real, {"a": "x", "b": "x", "c": "x", "d": "y"})
    with pytest.raises(InputError, match="of one encoder"):
        balanced_contexts(1, {}, seed=0)
    avoid = fitted_contexts(2, narrow(), seed=9)
    with pytest.raises(DataError, match="16 wide"):
        balanced_contexts(1, {"x": narrow(8)}, seed=0, limits=Limits(0.5, avoid))
