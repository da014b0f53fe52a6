"""Which arithmetic a device is fast at: one rule for embedding, sampling and training."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from facewright.errors import ConfigError

PRECISIONS = ("auto", "bf16", "fp32")
BF16_UNITS = ("amx_bf16", "avx512_bf16")  # of an x86-64 processor; without either, bf16 is the slower of the two


def chosen_precision(precision: str, device: torch.device | str) -> str:
    """What a precision means on a device: "bf16" or "fp32".

    Args:
        precision: "bf16" or "fp32", taken as it is; or "auto", bf16 where the device has units for it: a CPU with AMX
            or AVX-512 bf16, a CUDA device from compute capability 8.0 on.
        device: where the work will be done.

    Raises:
        ConfigError: another precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {precision!r}")
    if precision != "auto":
        return precision
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bf16" if any(known.get(unit) for unit in BF16_UNITS) else "fp32"


def arithmetic(precision: str, device: torch.device | str) -> AbstractContextManager[Any]:
    """A context in which networks calculate in the precision (see `chosen_precision`)."""
    if chosen_precision(precision, device) == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
