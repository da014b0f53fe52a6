"""The learning rate against the tables and formulas of the public trainers, and lengths that follow the data."""

import math
from dataclasses import replace

import pytest

from facewright.errors import ConfigError
from facewright.training.schedule import Schedule


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    schedule = Schedule(images=1000, batch=10, learning_rate=0.4, warmup_images=200)
    assert schedule.rate_at(0) == pytest.approx(0.4 * 10 / 210)
    assert schedule.rate_at(100) == pytest.approx(0.4 * 110 / 210)
    assert schedule.rate_at(200) == pytest.approx(0.4)
    assert schedule.rate_at(600) == pytest.approx(0.2)
    assert schedule.rate_at(1000) == pytest.approx(0.0)
    rates = [schedule.rate_at(images) for images in range(200, 1000, 10)]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) > 0


def test_steps_are_those_of_tface() -> None:
    epoch = 490_623
    schedule = Schedule(
        images=40 * epoch, batch=512, learning_rate=0.1, fall="steps", milestones=(22 * epoch, 28 * epoch, 32 * epoch)
    )
    expected = {0: 0.1, 21: 0.1, 22: 0.01, 27: 0.01, 28: 1e-3, 31: 1e-3, 32: 1e-4, 39: 1e-4}
    for number, rate in expected.items():
        assert schedule.rate_at(number * epoch) == pytest.approx(rate)
        assert schedule.rate_at((number + 1) * epoch - 1) == pytest.approx(rate)


def test_the_polynomial_ends_at_zero_after_a_warm_up() -> None:
    schedule = Schedule(images=1000, batch=10, learning_rate=0.1, fall="polynomial", warmup_images=100)
    assert schedule.rate_at(100) == pytest.approx(0.1)
    assert schedule.rate_at(550) == pytest.approx(0.05)
    assert schedule.rate_at(1000) == 0.0
    assert replace(schedule, power=2.0).rate_at(550) == pytest.approx(0.025)


def test_a_constant_rate_only_warms_up() -> None:
    schedule = Schedule(images=1000, batch=10, learning_rate=0.1, fall="constant", warmup_images=100)
    assert schedule.rate_at(50) == pytest.approx(0.1 * 60 / 110)
    assert schedule.rate_at(100) == schedule.rate_at(1000) == 0.1


def test_cycles_are_those_of_cosine_annealing_with_warm_restarts() -> None:
    # IDiff-Face: T_0 = 10,000 steps, T_mult = 2, stopped after 150,000, where the fourth cycle ends
    schedule = Schedule(images=150_000, batch=1, learning_rate=1e-4, cycle_images=10_000, cycle_growth=2)
    ends = [10_000, 30_000, 70_000, 150_000]
    assert [schedule.cycle_at(end - 1)[1] for end in ends] == ends
    for step in (0, 4_000, 9_999, 10_000, 25_000, 30_000, 69_000, 149_999):
        start, length = 0, 10_000
        while step >= start + length:
            start, length = start + length, 2 * length
        expected = 1e-4 * 0.5 * (1 + math.cos(math.pi * (step - start) / length))
        assert schedule.rate_at(step) == pytest.approx(expected)
    assert schedule.rate_at(150_000) == pytest.approx(0.0)


def test_a_run_must_end_with_a_cycle() -> None:
    with pytest.raises(ConfigError, match=r"where a cycle ends, such as 70,000 or 150,000, got 100,000"):
        Schedule(images=100_000, cycle_images=10_000, cycle_growth=2)
    with pytest.raises(ConfigError, match="such as 10,000, got 9,000"):
        Schedule(images=9_000, cycle_images=10_000)


def test_lengths_follow_the_data_in_whole_batches() -> None:
    schedule = Schedule(
        images=40_000,
        batch=64,
        fall="steps",
        warmup_images=1000,
        milestones=(22_000, 28_000),
        epoch=1000,
        save_every=500,
    )
    same = schedule.for_samples(1000)
    assert (same.images, same.warmup_images, same.milestones) == (40_000, 1024, (22_016, 28_032))
    assert same.for_samples(1000) == same
    other = schedule.for_samples(2500)
    assert other.epoch == 2500
    assert other.images == 64 * round(100_000 / 64)
    assert other.warmup_images == 64 * round(2500 / 64)
    assert other.milestones == (64 * round(55_000 / 64), 64 * round(70_000 / 64))
    assert other.save_every == 500
    plain = replace(schedule, epoch=None)
    assert plain.for_samples(2500) is plain


def test_cycles_that_follow_the_data_still_end_the_run() -> None:
    schedule = Schedule(images=7_500, batch=50, warmup_images=500, cycle_images=1000, cycle_growth=2, epoch=1000)
    other = schedule.for_samples(777)
    assert other.images == other.warmup_images + 7 * (other.cycle_images or 0)
    assert other.images == pytest.approx(7_500 * 0.777, rel=0.1)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"images": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"parts": 3}, "parts must divide the batch of 128 evenly, got 3"),
        ({"parts": 0}, "parts must divide"),
        ({"save_every": 0}, "save_every must be at least 1"),
        ({"optimiser": "lion"}, "adamw, muon or sgd, got 'lion'"),
        ({"precision": "fp16"}, "bf16 or fp32"),
        ({"decayed": "none"}, "decayed must be weights or all"),
        ({"fall": "exponential"}, "fall must be cosine, steps, polynomial or constant"),
        ({"learning_rate": 0.0}, r"\(0, 10\)"),
        ({"warmup_images": 11}, r"warmup_images must be in \[0, 10\]"),
        ({"milestones": (5,)}, "milestones need fall = 'steps'"),
        ({"milestones": (7, 5), "fall": "steps"}, "must rise"),
        ({"epoch": 0}, "epoch must be at least 1"),
        ({"ema_more": (0.5,), "ema_maximum": None}, "needs an ema_maximum"),
        ({"cycle_images": 5, "fall": "steps"}, "needs fall = 'cosine'"),
    ],
)
def test_a_schedule_refuses_what_is_out_of_range(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Schedule(**{"images": 10, **setting})  # type: ignore[arg-type]
