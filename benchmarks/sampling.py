"""Pictures a second of the full-size IDiff-Face generator, against the published way of sampling it.

    python benchmarks/sampling.py --out benchmarks/results
    python benchmarks/sampling.py --quick --out results

The published way (sample.py of IDiff-Face and its descendants): float32, DDIM of 50 steps, batches that share one
identity, the VQ-f4 decoder. Then this package's own `Generator.sample` on batches of as many identities as pictures, in
the arithmetic that it chooses for the device: 16 steps with the same decoder and with the small one that
`train decoder` distils, and 4 steps with the small one. Weights are random: time does not depend on them, pictures do.
Each measurement has a process of its own, after one run of few pictures to warm up.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import facts, file_stem, in_own_process, now, peak_bytes, write_results
from torch import Tensor

from facewright.diffusion.fast_decoder import FastDecoder, FastDecoderConfig
from facewright.diffusion.generator import DiffusionConfig, Generator
from facewright.diffusion.samplers_config import run_sampler, sampler_config
from facewright.diffusion.unet import ConditionalUNet, UNetConfig, published_config
from facewright.diffusion.vq import VQConfig
from facewright.diffusion.vq_autoencoder import VQAutoencoder
from facewright.training.precision import chosen_precision
from facewright.weights import Card

WARM_UP = 2  # pictures


@dataclass(frozen=True)
class Way:
    """How pictures are made."""

    name: str
    sampler: str
    steps: int
    published: bool = False  # one identity a batch, float32
    small_decoder: bool = False


WAYS = (
    Way("published: fp32, DDIM 50, one identity a batch", "ddim-published", 50, published=True),
    Way("facewright: UniPC 16", "unipc", 16),
    Way("facewright: UniPC 16, small decoder", "unipc", 16, small_decoder=True),
    Way("facewright: few-step 4, small decoder", "lcm", 4, small_decoder=True),
)


def generator_of(way: Way, *, quick: bool) -> Generator:
    """A full-size generator with random weights; a tiny one where only the script is to be tried."""
    torch.manual_seed(0)
    sizes = UNetConfig(channels=3, width=32, multipliers=(1, 1), attention=(False, True), context_inputs=512)
    decoder = FastDecoder(FastDecoderConfig(channels=3, factor=4)) if way.small_decoder else None
    card = Card(
        name="random",
        kind="generator",
        architecture={},
        data="none",
        licence="none",
        recipe="random weights",
        input=None,
    )
    generator = Generator(
        VQAutoencoder(VQConfig(width=32) if quick else VQConfig()),
        ConditionalUNet(sizes if quick else published_config()),
        DiffusionConfig(target="noise"),
        card,
        decoder=decoder,
    ).eval()
    return generator if way.published else generator.to(memory_format=torch.channels_last)


def published(generator: Generator, way: Way, contexts: Tensor, noise: Tensor) -> Tensor:
    """One identity for the whole batch, plain calls of the network in float32."""
    device = generator.device
    same = contexts[:1].expand(len(noise), -1).to(device)

    def predict(x: Tensor, time: int) -> Tensor:
        return generator.denoiser(x, torch.full((len(x),), time, device=device), same)

    latents = run_sampler(sampler_config(way.sampler, steps=way.steps), predict, noise.to(device), generator.betas)
    return generator.autoencoder.decode(latents).cpu()


def ours(generator: Generator, way: Way, contexts: Tensor, noise: Tensor) -> Tensor:
    """The package's own way."""

    def step_noise(number: int) -> Tensor:
        return torch.randn(noise.shape, generator=torch.Generator().manual_seed(number))

    return generator.sample(contexts, noise, sampler=way.sampler, steps=way.steps, step_noise=step_noise)


@torch.inference_mode()
def measure(way: Way, *, batch: int, device: str, quick: bool) -> dict[str, Any]:
    """Take one measurement in this process."""
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    generator = generator_of(way, quick=quick).to(device)
    chance = torch.Generator().manual_seed(1)
    contexts = F.normalize(torch.randn(batch, 512, generator=chance), dim=1)
    noise = torch.randn(batch, *generator.latent_shape, generator=chance)
    draw: Callable[..., Tensor] = published if way.published else ours
    draw(generator, way, contexts[:WARM_UP], noise[:WARM_UP])
    start = now(device)
    pictures = draw(generator, way, contexts, noise)
    seconds = now(device) - start
    precision = "fp32" if way.published else chosen_precision("auto", device)
    return {
        "seconds": seconds,
        "pictures_per_s": len(pictures) / seconds,
        "peak_mib": peak_bytes(device) / 2**20,
        "precision": precision,
    }


def table(taken: dict[str, dict[str, Any]], batch: int) -> list[str]:
    """Markdown rows."""
    base = taken[WAYS[0].name].get("pictures_per_s")
    rows = [
        f"Batches of {batch}, one timed run.",
        "",
        "| way | precision | seconds | pictures/s | against published | peak MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, figures in taken.items():
        if "failed" in figures:
            rows.append(f"| {name} | {figures['failed'].replace('|', '/')} | | | | |")
            continue
        gain = "" if base is None else f"{figures['pictures_per_s'] / base:.1f}x"
        speed = f"{figures['seconds']:.1f} | {figures['pictures_per_s']:.3f} | {gain} | {figures['peak_mib']:.0f}"
        rows.append(f"| {name} | {figures['precision']} | {speed} |")
    return rows


def run(arguments: argparse.Namespace) -> None:
    """Take every measurement, and write file and table."""
    above = facts("sampling.py", arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / f"{file_stem('sampling', above['hardware'])}.json"
    taken = {}
    for way in WAYS:
        settings = {"batch": arguments.batch, "device": arguments.device, "quick": arguments.quick}
        taken[way.name] = in_own_process(__file__, json.dumps([asdict(way), settings]))
        print(way.name, taken[way.name], flush=True)
    where = f"{above['hardware']}, {above['threads']} threads, torch {above['torch']}, Python {above['python']}."
    lines = ["# Sampling", "", above["command"], "", where, *table(taken, arguments.batch)]
    write_results(results, above, taken, lines)
    print(results.with_suffix(".md"))


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, help="pictures at a time; default: 50, as published")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="tiny networks, batch 2")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of JSON and Markdown")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        way, settings = json.loads(arguments.child)
        print(json.dumps(measure(Way(**way), **settings)))
        return
    arguments.batch = arguments.batch or (2 if arguments.quick else 50)
    run(arguments)


if __name__ == "__main__":
    main()
