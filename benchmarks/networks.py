"""Time, memory and deviation of each network against a plain fp32 eager run.

    python benchmarks/networks.py --networks arcface_torch/r50 idiff/unet-ca --batches 8 32 --out benchmarks/results

Every measurement has a process of its own, so that peak memory is its own. Weights are random. `difference` is the
largest absolute one from the plain run, in standard deviations of its output; it is measured on the forward pass in
eval mode. Forward and backward run in training mode with the mean square of the output as the loss.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from facewright.checkpoints import LAYOUTS

NETWORKS = (
    "arcface_torch/r18", "arcface_torch/r50", "arcface_torch/r100", "arcface_torch/mbf", "arcface_torch/vit_t",
    "arcface_torch/vit_b", "tface/ir_50", "tface/ir_se_50", "tface/mobilefacenet", "f2d/msid", "f2d/mapping",
    "fastcomposer/postfuse", "bisenet", "idiff/unet-ca", "idiff/unet-adagn", "idiff/unet-uncond", "idiff/controlnet",
    "ldm/vq-encoder", "ldm/vq-decoder",
)  # fmt: skip
WARM_UP = 2


@dataclass(frozen=True)
class Way:
    """How a network is run."""

    name: str
    channels_last: bool = False
    autocast: bool = False  # bf16 where autocast allows it
    halved: bool = False  # weights and input in bf16; forward only
    compiled: bool = False


WAYS = (
    Way("fp32"),
    Way("fp32, channels last", channels_last=True),
    Way("bf16 autocast", channels_last=True, autocast=True),
    Way("bf16 weights", channels_last=True, halved=True),
    Way("fp32, compiled", channels_last=True, compiled=True),
    Way("bf16 autocast, compiled", channels_last=True, autocast=True, compiled=True),
)


def inputs_of(layout: str, batch: int) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """What the network of a layout is called with, drawn at random."""
    chance = torch.Generator().manual_seed(batch)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=chance)

    times = torch.randint(0, 1000, (batch,), generator=chance)
    kind = LAYOUTS[layout].family.kind
    if kind == "denoiser":
        context = () if layout.endswith("uncond") else (normal(512),)
        return (normal(3, 32, 32), times, *context), {}
    if kind == "controlnet":
        return (normal(3, 32, 32), times, normal(512)), {"hint": normal(3, 256, 256)}
    if kind == "postfuse":
        marked = torch.zeros(batch, 77, dtype=torch.bool)
        marked[:, 5] = True
        return (normal(77, 768), normal(1, 768)), {"marked": marked, "counts": torch.ones(batch, dtype=torch.int64)}
    shapes = {"mapper": (1536,), "parser": (3, 512, 512), "vq-encoder": (3, 128, 128), "vq-decoder": (3, 32, 32)}
    return (normal(*shapes.get(kind, (3, 112, 112))),), {}


def network_of(layout: str) -> nn.Module:
    """A network whose kernels and matrices are all drawn at random, also those that begin at zero.

    One pass over two random samples sets the running statistics of its batch norms. Without it the values of deep
    networks shrink into denormal numbers, which fp32 computes many times slower than real ones.
    """
    torch.manual_seed(0)
    network = LAYOUTS[layout].generations[0].build()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.momentum = 1.0
        positional, named = inputs_of(layout, 2)
        network.train()(*positional, **named)
    return network


def first_tensor(output: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """The output that is compared: the last map of a list, the first of a tuple."""
    if isinstance(output, list):
        return output[-1]
    return output[0] if isinstance(output, tuple) else output


def measure(layout: str, batch: int, way: Way, device: str, repeats: int, backward: bool, reference: Path) -> dict:
    """Run one way in this process and return its figures; the plain forward run leaves its output in `reference`."""
    network = network_of(layout).to(device).train(backward)
    positional, named = inputs_of(layout, batch)

    def placed(tensor: Tensor) -> Tensor:
        tensor = tensor.to(device, torch.bfloat16) if way.halved and tensor.is_floating_point() else tensor.to(device)
        last = way.channels_last and tensor.ndim == 4
        return tensor.contiguous(memory_format=torch.channels_last) if last else tensor

    positional, named = tuple(map(placed, positional)), {key: placed(value) for key, value in named.items()}
    if way.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if way.halved:
        network = network.to(torch.bfloat16)
    run: Callable[..., object] = torch.compile(network) if way.compiled else network

    def step() -> Tensor:
        cast: AbstractContextManager = torch.autocast(device, torch.bfloat16) if way.autocast else nullcontext()
        with cast, nullcontext() if backward else torch.inference_mode():
            output = first_tensor(run(*positional, **named))
        if backward:
            network.zero_grad()
            output.float().square().mean().backward()
        return output

    def finish() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    output, seconds = torch.empty(0), []
    for number in range(WARM_UP + repeats):
        start = finish()
        output = step()
        if number >= WARM_UP:
            seconds.append(finish() - start)
    difference = None
    if not backward:
        found = output.float().cpu()
        if way == WAYS[0]:
            torch.save(found, reference)
        plain = torch.load(reference, weights_only=True)
        difference = float((found - plain).abs().max() / plain.std())
    peak = (
        torch.cuda.max_memory_allocated()
        if device != "cpu"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {
        "median_s": statistics.median(seconds),
        "spread_s": max(seconds) - min(seconds),
        "peak_mib": peak / 2**20,
        "difference": difference,
    }


def child(settings: dict) -> dict | None:
    """`measure` in a process of its own; None where it failed, its reason on stderr."""
    command = [sys.executable, __file__, "--child", json.dumps(settings)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {settings['layout']} {settings['way']['name']}: {last}", file=sys.stderr)
        return None
    return json.loads(ended.stdout.splitlines()[-1])


def table(arguments: argparse.Namespace) -> list[str]:
    """Measure everything asked for; rows of a Markdown table."""
    lines = [
        "| network | batch | pass | way | median ms | spread ms | against fp32 | peak MiB | difference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for layout in arguments.networks:
            for batch in arguments.batches:
                for backward in (False, True):
                    plain = None
                    for way in WAYS:
                        if (way.halved and backward) or (way.compiled and not arguments.compile):
                            continue
                        settings = {"layout": layout, "batch": batch, "way": asdict(way), "device": arguments.device}
                        settings |= {"repeats": arguments.repeats, "backward": backward}
                        figures = child({**settings, "reference": f"{folder}/reference.pt"})
                        if figures is None:
                            continue
                        plain = plain or figures["median_s"]
                        lines.append(_row(layout, batch, backward, way, figures, plain / figures["median_s"]))
                        print(lines[-1], flush=True)
    return lines


def _row(layout: str, batch: int, backward: bool, way: Way, figures: dict, gain: float) -> str:
    difference = "" if figures["difference"] is None else f"{figures['difference']:.1e}"
    named = "forward and backward" if backward else "forward"
    times = f"{1000 * figures['median_s']:.1f} | {1000 * figures['spread_s']:.1f} | {gain:.2f}x"
    return f"| {layout} | {batch} | {named} | {way.name} | {times} | {figures['peak_mib']:.0f} | {difference} |"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(LAYOUTS), metavar="LAYOUT")
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("--out", type=Path, help="folder for networks-HARDWARE-YYYY-MM.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        settings = json.loads(arguments.child)
        settings |= {"way": Way(**settings["way"]), "reference": Path(settings["reference"])}
        print(json.dumps(measure(**settings)))
        return
    on_gpu = arguments.device == "cuda"
    hardware = (
        torch.cuda.get_device_name() if on_gpu else f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )
    facts = [
        "# Networks",
        "",
        f"{' '.join(['python', 'benchmarks/networks.py', *sys.argv[1:]])}",
        "",
        (
            f"{hardware}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
            f"Python {platform.python_version()}."
        ),
        f"{WARM_UP} runs to warm up, median and spread of {arguments.repeats}; difference in standard deviations.",
        "",
    ]
    lines = table(arguments)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        place = hardware.lower().replace(" ", "-").replace("/", "-")
        path = arguments.out / f"networks-{place}-{datetime.now(UTC):%Y-%m}.md"
        path.write_text("\n".join([*facts, *lines]) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
