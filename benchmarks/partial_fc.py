"""Memory and time of one training step over very many classes: the dense head against Partial FC.

    python benchmarks/partial_fc.py --classes 1000000 --rate 0.1 --out benchmarks/results

Each head runs in a process of its own and takes two steps; the second is measured. "logits", "gradient" and "state" are
the sizes of what the step made or touched: the logits, the gradient of the centres, and the rows of the optimiser's
state that were read and written. "peak" is what the process held at most, every temporary copy included, beside the
centres and the state of all classes, by the operating system's count of resident pages (Linux only).
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from facewright.recognition.heads import MarginHead, PartialFC, RowOptimiser
from facewright.recognition.margins import create

OPTIMISERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, float]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
}
MIB = 2**20


def resident(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (at most) of this process; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def size(tensor: Tensor) -> int:
    """Bytes of a tensor."""
    return tensor.numel() * tensor.element_size()


def measure(
    head_name: str, optimiser_name: str, margin: str, classes: int, width: int, batch: int, rate: float
) -> dict:
    """One step of one head in this process."""
    torch.manual_seed(0)
    kind, settings = OPTIMISERS[optimiser_name]
    rows = RowOptimiser(kind, **settings)
    if head_name == "partial":
        head: PartialFC | MarginHead = PartialFC(classes, width, margin=create(margin), optimiser=rows, rate=rate)
    else:
        head = MarginHead(classes, width, margin=create(margin))
        optimiser = kind(head.parameters(), **settings)
    for step in range(2):
        labels, embeddings = torch.randint(classes, (batch,)), torch.randn(batch, width, requires_grad=True)
        if step == 1:
            for table in rows.state_dict().values():
                table.copy_(table.clone())  # resident, as after many steps
            if Path("/proc/self/clear_refs").exists():
                Path("/proc/self/clear_refs").write_text("5")  # the highest count begins anew
        before, began = resident("VmRSS"), time.perf_counter()
        scores = head.scores(embeddings, labels)
        logits = size(scores.logits)
        loss = head.losses(scores).mean()
        del scores
        loss.backward()
        if isinstance(head, PartialFC):
            sampled = sum(len(part) for part in head.sampled_rows)
            gradient = sum(size(part.grad) for part in head.sampled_rows if part.grad is not None)
            head.step()
            state = sum(size(table) // classes * sampled for table in rows.state_dict().values())
        else:
            gradient = size(head.weight.grad) if head.weight.grad is not None else 0
            optimiser.step()
            optimiser.zero_grad()
            state = sum(size(value) for value in optimiser.state[head.weight].values() if isinstance(value, Tensor))
        seconds, peak = time.perf_counter() - began, resident("VmHWM") - before
    return {"logits": logits, "gradient": gradient, "state": state, "peak": peak, "seconds": seconds}


def child(**settings: object) -> dict:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps(settings)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


def row(name: str, figures: dict, dense: dict) -> str:
    """One row of the table."""
    parts = ("logits", "gradient", "state")
    together, whole = sum(figures[part] for part in parts), sum(dense[part] for part in parts)
    sizes = " | ".join(f"{figures[part] / MIB:,.0f}" for part in parts)
    peak = f"{figures['peak'] / MIB:,.0f} | {figures['peak'] / dense['peak']:.3f}" if dense["peak"] else "|"
    return f"| {name} | {sizes} | {together / MIB:,.0f} | {together / whole:.3f} | {peak} | {figures['seconds']:.1f} |"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--margin", default="arcface")
    parser.add_argument("--optimisers", nargs="+", default=["sgd"], choices=list(OPTIMISERS))
    parser.add_argument("--out", type=Path, help="folder for partial-fc-HARDWARE-YYYY-MM.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(**json.loads(arguments.child))))
        return
    hardware = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    lines = [
        "# Partial FC",
        "",
        f"{' '.join(['python', 'benchmarks/partial_fc.py', *sys.argv[1:]])}",
        "",
        (
            f"{hardware}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python "
            f"{platform.python_version()}. {arguments.classes:,} classes, width {arguments.width}, batch "
            f"{arguments.batch}, {arguments.margin}, float32; MiB. One step after one to warm up, so seconds are rough."
        ),
        "",
        "| head | logits | gradient | state | together | against dense | peak | against dense | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in arguments.optimisers:
        settings = {"optimiser_name": name, "margin": arguments.margin, "classes": arguments.classes}
        settings |= {"width": arguments.width, "batch": arguments.batch, "rate": arguments.rate}
        dense = child(head_name="dense", **settings)
        partial = child(head_name="partial", **settings)
        lines += [row(f"dense, {name}", dense, dense), row(f"Partial FC {arguments.rate:g}, {name}", partial, dense)]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        place = hardware.lower().replace(" ", "-").replace("/", "-")
        path = arguments.out / f"partial-fc-{place}-{datetime.now(UTC):%Y-%m}.md"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
