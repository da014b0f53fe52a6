"""What the benchmarks share: a process of its own for each measurement, clock and peak memory, hardware, versions."""

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from facewright.training.atomic import atomic_path


def in_own_process(script: str, *arguments: str) -> dict[str, Any]:
    """What `script --child ARGUMENTS` prints as JSON in its last line; `failed` with its last error if there is one."""
    ended = subprocess.run([sys.executable, script, "--child", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        return {"failed": (ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1]}
    return json.loads(ended.stdout.splitlines()[-1])


def now(device: str) -> float:
    """Seconds, once the device has done all it was given."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_bytes(device: str) -> int:
    """The most memory held so far: on a CPU the whole process's, Python and torch included; else torch's on the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def hardware(device: str) -> str:
    """What was measured on."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    known = torch.cpu.get_capabilities()
    units = [name for name in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if known.get(name)]
    return " ".join([str(known.get("cpu_name", platform.machine())), *units[:1]])


def file_stem(what: str, place: str) -> str:
    """Of the files of results: what was measured, on which hardware, in which month."""
    return f"{what}-{place.lower().replace(' ', '-').replace('/', '-')}-{datetime.now(UTC):%Y-%m}"


def facts(script: str, device: str) -> dict[str, Any]:
    """What stands above every table."""
    return {
        "command": " ".join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write_results(path: Path, above: Mapping[str, Any], taken: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Write the figures to a JSON file and the table beside it, whole or not at all."""
    texts = {path: json.dumps({**above, "measured": taken}, indent=1), path.with_suffix(".md"): "\n".join(lines)}
    for file, text in texts.items():
        with atomic_path(file) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")
