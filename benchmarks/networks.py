"""Time, memory and deviation of each network against a plain fp32 eager run.

    python benchmarks/networks.py --networks arcface_torch/r50 idiff/unet-ca --out benchmarks/results
    python benchmarks/networks.py --quick --out results

Every measurement has a process of its own, so that peak memory is its own (of the whole process, Python and torch
included). It is written down as soon as it is taken: the same command again goes on where it was stopped. Weights are
random. Forward runs in eval mode, forward and backward in training mode with a weighted sum of the output as the loss.
`difference` is the largest absolute one from the plain run, in standard deviations of what is compared: the output,
or for forward and backward the gradient of the first input, taken in eval mode once after the clock has stopped.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import facts, file_stem, in_own_process, now, peak_bytes, write_results
from torch import Tensor, nn

from facewright.checkpoints import LAYOUTS

NETWORKS = (
    "arcface_torch/r18", "arcface_torch/r50", "arcface_torch/r100", "arcface_torch/mbf", "arcface_torch/vit_t",
    "arcface_torch/vit_b", "tface/ir_50", "tface/ir_se_50", "tface/mobilefacenet", "f2d/msid", "f2d/mapping",
    "fastcomposer/postfuse", "bisenet", "idiff/unet-ca", "idiff/unet-adagn", "idiff/unet-uncond", "idiff/controlnet",
    "ldm/vq-encoder", "ldm/vq-decoder",
)  # fmt: skip
QUICK = ("fastcomposer/postfuse", "f2d/mapping", "tface/mobilefacenet")
WARM_UP = 1
FEWEST_RUNS = 2  # timed ones, however long they take
FEWEST = 64  # values of a channel from which its statistics are taken
PASSES = {False: "forward", True: "forward and backward"}


@dataclass(frozen=True)
class Way:
    """How a network is run."""

    name: str
    channels_last: bool = False
    autocast: bool = False  # bf16 where autocast allows it
    halved: bool = False  # weights and input in bf16; forward only
    compiled: bool = False


PLAIN = Way("fp32")
WAYS = (
    PLAIN,
    Way("fp32, channels last", channels_last=True),
    Way("bf16 autocast", channels_last=True, autocast=True),
    Way("bf16 weights", channels_last=True, halved=True),
    Way("fp32, compiled", channels_last=True, compiled=True),
    Way("bf16 autocast, compiled", channels_last=True, autocast=True, compiled=True),
)


@dataclass(frozen=True)
class Case:
    """One measurement."""

    layout: str
    batch: int
    backward: bool
    way: Way
    device: str
    repeats: int
    seconds: float

    @property
    def name(self) -> str:
        """Names it in the file of results; a measurement that runs longer is another one."""
        what = f"{self.layout}, {self.batch}, {PASSES[self.backward]}, {self.way.name}, {self.device}"
        return f"{what}, {self.repeats} in {self.seconds:g} s"

    @property
    def reference(self) -> str:
        """The file with what the plain run gave for this network, batch and pass."""
        return f"{self.layout}-{self.batch}-{PASSES[self.backward]}-{self.device}.pt".replace("/", "-")


def inputs_of(layout: str, batch: int) -> tuple[list[Tensor], dict[str, Any]]:
    """What the network of a layout is called with, drawn at random; the decoder takes latents as they are."""
    chance = torch.Generator().manual_seed(batch)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=chance)

    times = torch.randint(0, 1000, (batch,), generator=chance)
    kind = LAYOUTS[layout].family.kind
    if kind == "denoiser":
        return [normal(3, 32, 32), times, *([] if layout.endswith("uncond") else [normal(512)])], {}
    if kind == "controlnet":
        return [normal(3, 32, 32), times, normal(512)], {"hint": normal(3, 256, 256)}
    if kind == "postfuse":
        marked = torch.zeros(batch, 77, dtype=torch.bool)
        marked[:, 5] = True
        return [normal(77, 768), normal(1, 768)], {"marked": marked, "counts": torch.ones(batch, dtype=torch.int64)}
    if kind == "vq-decoder":  # the nearest code of a rounded latent may be another one
        return [normal(3, 32, 32)], {"quantise": False}
    shapes = {"mapper": (1536,), "parser": (3, 512, 512), "vq-encoder": (3, 128, 128)}
    return [normal(*shapes.get(kind, (3, 112, 112)))], {}


def network_of(layout: str) -> nn.Module:
    """A network whose kernels and matrices are all drawn at random, also those that begin at zero.

    One pass over two random samples sets the running statistics of its batch norms over maps. Without it the values of
    deep networks shrink into denormal numbers, which fp32 computes many times slower than real ones. Norms over vectors
    keep mean 0 and variance 1: two samples tell nothing of their spread, and what they share would be taken away, so
    that `difference` would be one from almost nothing.
    """

    def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        norm.momentum = 1.0 if inputs[0].numel() >= FEWEST * inputs[0].shape[1] else 0.0

    torch.manual_seed(0)
    network = LAYOUTS[layout].generations[0].build()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
        norms = [module for module in network.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
        hooks = [norm.register_forward_pre_hook(note) for norm in norms]
        positional, named = inputs_of(layout, 2)
        network.train()(*positional, **named)
    for norm, hook in zip(norms, hooks, strict=True):
        norm.momentum = 0.0  # the timed passes leave the statistics as they are
        hook.remove()
    return network


def first_tensor(output: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """The output that is compared: the last map of a list, the first of a tuple."""
    if isinstance(output, list):
        return output[-1]
    return output[0] if isinstance(output, tuple) else output


def measure(case: Case, reference: Path) -> dict[str, Any]:
    """Take one measurement in this process; the plain one leaves what the others are compared with in `reference`."""
    device, way = case.device, case.way
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    network = network_of(case.layout).to(device)
    if way.halved:
        network = network.to(torch.bfloat16)
    if way.channels_last:
        network = network.to(memory_format=torch.channels_last)

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.to(device, torch.bfloat16) if way.halved and value.is_floating_point() else value.to(device)
        return value.contiguous(memory_format=torch.channels_last) if way.channels_last and value.ndim == 4 else value

    positional, named = inputs_of(case.layout, case.batch)
    positional, named = [placed(value) for value in positional], {key: placed(named[key]) for key in named}
    run: Callable[..., Any] = torch.compile(network) if way.compiled else network

    def step(run: Callable[..., Any]) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=way.autocast), torch.inference_mode(not case.backward):
            output = first_tensor(run(*positional, **named))
        if case.backward:
            network.zero_grad()
            rising = torch.linspace(-1, 1, output.numel(), device=device)  # a last batch norm would undo a mean square
            (output.float().flatten() @ rising).backward()
        return output

    network.train(case.backward)
    output, seconds, begun = torch.empty(0), [], now(device)
    for number in range(WARM_UP + case.repeats):
        start = now(device)
        output = step(run)
        if number >= WARM_UP:
            seconds.append(now(device) - start)
        if len(seconds) >= min(FEWEST_RUNS, case.repeats) and now(device) - begun > case.seconds:
            break
    peak = peak_bytes(device)
    if case.backward:
        network.eval()
        positional[0].requires_grad_()
        step(network)  # not compiled: it would be compiled anew for eval mode
        output = positional[0].grad
    found = output.detach().float().cpu().contiguous()
    if way == PLAIN:
        torch.save(found, reference)
    plain = torch.load(reference, weights_only=True)
    return {
        "median_s": statistics.median(seconds),
        "spread_s": max(seconds) - min(seconds),
        "runs": len(seconds),
        "peak_mib": peak / 2**20,
        "difference": None if case.backward and way.compiled else float((found - plain).abs().max() / plain.std()),
        "load": os.getloadavg()[0],
    }


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Everything that was asked for; the plain run comes before those that are compared with it."""
    for layout in arguments.networks:
        for batch in arguments.batches:
            for backward in PASSES:
                for way in WAYS:
                    if (way.halved and backward) or (way.compiled and not arguments.compile):
                        continue
                    yield Case(layout, batch, backward, way, arguments.device, arguments.repeats, arguments.seconds)


def rows(asked: list[Case], taken: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A Markdown table of what has been measured."""
    yield "| network | batch | pass | way | median ms | spread ms | runs | against fp32 | peak MiB | difference |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for case in asked:
        figures = taken.get(case.name, {"failed": "not measured yet"})
        head = f"| {case.layout} | {case.batch} | {PASSES[case.backward]} | {case.way.name} |"
        if "failed" in figures:
            yield f"{head} {figures['failed'].replace('|', '/')} | | | | | |"
            continue
        plain = taken.get(Case(**{**vars(case), "way": PLAIN}).name, {}).get("median_s")
        gain = "" if plain is None else f"{plain / figures['median_s']:.2f}x"
        difference = "" if figures["difference"] is None else f"{figures['difference']:.1e}"
        times = f"{1000 * figures['median_s']:.1f} | {1000 * figures['spread_s']:.1f} | {figures['runs']} | {gain}"
        yield f"{head} {times} | {figures['peak_mib']:.0f} | {difference} |"


def heading(above: dict[str, Any], repeats: int) -> list[str]:
    """What stands above the table."""
    where = f"{above['hardware']}, {above['threads']} threads, torch {above['torch']}, Python {above['python']}."
    how = f"{WARM_UP} run to warm up, then at most {repeats}, fewer where they take long (column runs): median, spread."
    return ["# Networks", "", above["command"], "", where, how, "Difference in standard deviations.", ""]


def run(arguments: argparse.Namespace) -> None:
    """Take every measurement that is not in the file of results yet, writing file and table after each."""
    above = facts("networks.py", arguments.device)
    stem = file_stem("networks", above["hardware"])
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    results, references = out / f"{stem}.json", out / f"{stem}-references"
    references.mkdir(exist_ok=True)
    kept = json.loads(results.read_text(encoding="utf-8"))["measured"] if results.is_file() else {}
    taken = {name: figures for name, figures in kept.items() if "failed" not in figures}
    asked = list(cases(arguments))

    def write() -> None:
        write_results(results, above, taken, [*heading(above, arguments.repeats), *rows(asked, taken)])

    wanting = {case.reference for case in asked if case.name not in taken}
    for case in asked:
        reference = references / case.reference
        again = case.way == PLAIN and case.reference in wanting and not reference.exists()
        if case.name in taken and not again:
            continue
        taken[case.name] = in_own_process(__file__, json.dumps(asdict(case)), str(reference))
        write()
        print(list(rows([case], taken))[-1], flush=True)
    write()
    for reference in references.iterdir():
        reference.unlink()
    references.rmdir()
    print(results.with_suffix(".md"))


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(LAYOUTS), metavar="LAYOUT", help="default: nineteen")
    parser.add_argument("--batches", nargs="+", type=int, help="default: 8 32")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, help="timed runs of each measurement; default: 5")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="after these, two timed runs are enough; default: 20"
    )
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("--quick", action="store_true", help="three small networks, batch 2, one repeat, unless named")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of JSON and Markdown")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        settings = json.loads(arguments.child[0])
        print(json.dumps(measure(Case(**{**settings, "way": Way(**settings["way"])}), Path(arguments.child[1]))))
        return
    quick = arguments.quick
    arguments.networks = arguments.networks or list(QUICK if quick else NETWORKS)
    arguments.batches = arguments.batches or ([2] if quick else [8, 32])
    arguments.repeats = arguments.repeats or (1 if quick else 5)
    run(arguments)


if __name__ == "__main__":
    main()
