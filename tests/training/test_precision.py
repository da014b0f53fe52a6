"""One rule for the arithmetic of a device."""

import pytest
import torch

from facewright.errors import ConfigError
from facewright.training.precision import arithmetic, chosen_precision


@pytest.mark.parametrize(
    ("units", "expected"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx512_bf16": False}, "fp32"), ({}, "fp32")],
)
def test_auto_is_bf16_where_the_processor_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, units: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert chosen_precision("auto", "cpu") == expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_on_a_gpu_goes_by_its_generation(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert chosen_precision("auto", "cuda") == expected


def test_a_named_precision_is_taken_as_it_is_and_an_unknown_one_refused() -> None:
    assert chosen_precision("bf16", "cpu") == "bf16"
    assert chosen_precision("fp32", "cpu") == "fp32"
    with pytest.raises(ConfigError, match="precision must be auto, bf16 or fp32, got 'half'"):
        chosen_precision("half", "cpu")


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_products_are_made_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    with arithmetic(precision, "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
