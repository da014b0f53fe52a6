from fractions import Fraction

import pytest

from facewright.errors import ConfigError
from facewright.personalise.delay import published_text_only, text_only_calls, text_only_steps


@pytest.mark.parametrize("steps", [1, 7, 20, 30, 50, 100])
@pytest.mark.parametrize("tenths", range(11))
def test_steps_are_exact(steps: int, tenths: int) -> None:
    exact = (1 - Fraction(tenths, 10)) * steps
    wanted = int(exact + Fraction(1, 2))  # halves up
    assert text_only_steps(steps, tenths / 10) == wanted
    assert text_only_steps(steps, tenths / 10, rounding="up") == -(-exact.numerator // exact.denominator)


def test_the_published_rule_is_a_step_late() -> None:
    assert published_text_only(50, 0.7) == list(range(16))
    assert published_text_only(50, 0.0) == list(range(50))


@pytest.mark.parametrize(
    ("calls", "order", "wanted"),
    [
        (10, 1, 3),  # one call a step
        (11, 1, 4),  # PNDM repeats the first
        (19, 2, 6),  # Heun: two a step, one in the last
    ],
)
def test_calls_never_split_a_step(calls: int, order: int, wanted: int) -> None:
    assert text_only_calls(10, 0.7, calls=calls, order=order) == wanted
    assert text_only_calls(10, 1.0, calls=calls, order=order) == 0
    assert text_only_calls(10, 0.0, calls=calls, order=order) == calls


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"from 0 to 1; got 1\.1"):
        text_only_steps(10, 1.1)
    with pytest.raises(ConfigError, match="steps must be at least 1, got 0"):
        text_only_steps(0, 0.5)
    with pytest.raises(ConfigError, match="nearest or up, got 'down'"):
        text_only_steps(10, 0.5, rounding="down")
