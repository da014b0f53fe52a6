"""`facewright sample`: a labelled set from a file of contexts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import counted, note, progress_bar, summary, write_json
from facewright.cli.contexts_file import variation_like
from facewright.errors import ConfigError, InputError

if TYPE_CHECKING:
    from facewright.data.embeddings import Embeddings
    from facewright.diffusion import SamplerConfig
    from facewright.synthesis import CropEncoder, FaceGenerator, SampleSummary, StartingPictures
    from facewright.weights import Card

Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        help="Way through the noise levels: ddim, euler, dpmpp-2m, dpmpp-3m, dpmpp-2s, unipc, ddpm,"
        " euler-ancestral, or as the public IDiff-Face code has them ddim-published, ddpm-published; lcm for a"
        " generator of a few steps. Default: how the generator's card says, or else ddim.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", help="Network evaluations per image. Default: the card's; with --sampler, or no such card, 25."
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", help="1 is none, the usual default; more holds closer to the identity."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    contexts: Annotated[Path, typer.Option("--contexts", metavar="FILE", help=".npz of identities to make.")],
    per_identity: Annotated[int, typer.Option("--per-identity", metavar="N", help="Images of each identity.")],
    out: Annotated[Path, typer.Option("--out", metavar="SET", help="Folder of the set.")],
    generator: Annotated[
        str, typer.Option("--generator", help="bundled, bundled-4steps, or a .safetensors file.")
    ] = "bundled",
    sampler: Sampler = None,
    steps: Steps = None,
    guidance: Guidance = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            "--spacing", help="Of the noise levels: stride, trailing, log-snr, karras; default: the sampler's."
        ),
    ] = None,
    eta: Annotated[
        float | None, typer.Option("--eta", help="Noise that ddim adds on the way, 0 (the default) to 1.")
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--guidance-interval", metavar="LOW HIGH", help="Shares of time (1: all noise) guided; default 0 1."
        ),
    ] = None,
    identity_from: Annotated[
        float | None,
        typer.Option(
            "--identity-from", help="Share of time where the identity takes over from the empty context; default 1."
        ),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option("--negative", help="Guide away from another identity: far, middle, close or random."),
    ] = None,
    cone: Annotated[
        float | None, typer.Option("--cone", help="Radians by which a picture's context may leave its identity's.")
    ] = None,
    vary: Annotated[
        float | None,
        typer.Option(
            "--vary", help="How far a picture's context moves, at most: standard deviations of photos of one person."
        ),
    ] = None,
    vary_like: Annotated[
        str | None,
        typer.Option(
            "--vary-like",
            help="For --vary: an .npz of embeddings named PERSON/PICTURE, or a .safetensors; default bundled.",
        ),
    ] = None,
    refine: Annotated[
        int | None,
        typer.Option(
            "--refine",
            metavar="N",
            help="Steps along the encoder's gradient towards the context, 1 to 50; 8 hold far more of the identity.",
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--start-from",
            metavar="FACES",
            help="Begin each image from one of these: a pack, a set, or a folder of crops. Default: from noise.",
        ),
    ] = None,
    start_by: Annotated[
        str | None,
        typer.Option(
            "--start-by",
            help="For --start-from: picture, any for each image (default), or person, one person's for an identity.",
        ),
    ] = None,
    start_least: Annotated[
        int | None,
        typer.Option("--start-least", metavar="N", help="For --start-by person: only people on N pictures; default 2."),
    ] = None,
    start_match: Annotated[
        bool,
        typer.Option("--start-match", help="For --start-by person: those like the identity, matched 64 at a time."),
    ] = False,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength", help="For --start-from: share of noise added and of the steps taken, below 1; default 0.25."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives other images.")] = 0,
    batch: Annotated[int, typer.Option("--batch", help="Images made at a time.")] = 64,
    image_size: Annotated[
        int, typer.Option("--image-size", help="112 is the aligned crop; more keeps a margin around it.")
    ] = 112,
    encoder: Annotated[
        str, typer.Option("--encoder", help="Measures similarity, refines: bundled, a .safetensors file, or none.")
    ] = "bundled",
    force: Annotated[
        bool, typer.Option("--force", help="Allow contexts of another encoder than the generator's.")
    ] = False,
    align: Annotated[
        str | None, typer.Option("--align", help="For a generator of unaligned faces: align by this face finder.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Processes of --threads each; default: this one.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", help="CPU threads of a process: 1 of a worker. The same number, the same bits."),
    ] = None,
    share: Annotated[
        str, typer.Option("--share", metavar="I/N", help="This machine's part, of N that write to one folder.")
    ] = "1/1",
    device: Annotated[
        str, typer.Option("--device", help="cpu, cuda (workers take turns on several) or cuda:N.")
    ] = "cpu",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file.")
    ] = None,
) -> None:
    """Make a labelled set; after an interruption the same command completes it.

    Example:

        facewright sample --contexts people.npz --per-identity 16 --steps 25 --seed 0 --out faces
    """
    from facewright import diffusion
    from facewright.align import load_detector
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import Share, sample_set, sample_with_workers

    if start_by is not None and start_from is None:
        raise ConfigError("--start-by counts only where images begin from given ones; name them by --start-from")
    if strength is not None and start_from is None:
        raise ConfigError("--strength counts only where images begin from given ones; name them by --start-from")
    if start_from is not None and refine is None:
        note("begun from given images and not refined, faces hold little of their identities; --refine 8 holds more")
    for option, given in (("least", start_least is not None), ("match", start_match)):
        if given and start_by != "person":
            raise ConfigError(f"--start-{option} counts only where images begin by person; give --start-by person")
    people, card = read_embeddings(contexts), diffusion.load_card(generator)
    check_width(card, people)
    if people.provenance.get("encoder_sha256") is None and people.provenance.get("kind") not in ("uniform", "packed"):
        note(f"{contexts} does not say which encoder its embeddings are of; they are taken for the generator's own")
    load = _Networks(generator, encoder, device)
    asked = {
        "steps": steps,
        "guidance": guidance,
        "spacing": spacing,
        "eta": eta,
        "guidance_interval": guidance_interval,
        "identity_from": identity_from,
        "strength": strength_of(strength, start_from),
    }
    way, advised = sampler_of(asdict(card), sampler, asked), sampler_of(asdict(card), None, {})
    if "sampling" in card.architecture and advised.sampler != "lcm" and replace(way, strength=1.0) != advised:
        note(f"{card.name} was distilled to {advised.steps} steps of {advised.sampler} and is meant for no others")
    options: dict[str, Any] = {
        "sampler": way,
        "per_identity": per_identity,
        "out": out,
        "negative": negative,
        "cone": cone,
        "vary": vary,
        "variation": variation_like(vary_like, wanted=vary is not None),
        "refine": refine,
        "start": start_of(start_from, start_by, start_least, start_match),
        "seed": seed,
        "batch": batch,
        "image_size": image_size,
        "force": force,
        "share": Share.parse(share),
    }
    with progress_bar("sampling") as progress:
        if workers is not None:
            made = sample_with_workers(
                load,
                people,
                workers=workers,
                threads=1 if threads is None else threads,
                align=align,
                progress=progress,
                **options,
            )
        else:
            _use_threads(threads)
            model, measuring = load(None)
            finder = None if align is None else load_detector(align)
            made = sample_set(model, people, encoder=measuring, align=finder, progress=progress, **options)
    write_json(json_file, _figures(made))
    before = made.images - made.made
    people_made = counted(made.identities, "identity", "identities")
    lines = [f"{out}: {counted(made.images, 'image')} of {people_made}, {before:,} of them made before"]
    if made.made:
        lines.append(f"made {made.made:,} in {made.seconds:.0f} s, {made.images_per_s:.2f} images a second")
    if made.similarity is not None:
        lines.append(f"mean cosine to the context {made.similarity:.3f}, encoder {encoder}")
    if not made.complete:
        lines.append("other shares have images to make; the last to finish writes the manifest")
    summary(lines)


def start_of(faces: Path | None, by: str | None, least: int | None, match: bool | None) -> "StartingPictures | None":
    """What images begin from; None for noise alone."""
    from facewright.synthesis import StartingPictures

    if faces is None:
        return None
    return StartingPictures(faces, by=by or "picture", least=2 if least is None else least, match=bool(match))


def strength_of(strength: float | None, start_from: object) -> float | None:
    """What `--strength` means where it is not given."""
    return 0.25 if strength is None and start_from is not None else strength


def sampler_of(card: Mapping[str, Any], name: str | None, asked: Mapping[str, Any]) -> "SamplerConfig":
    """How to sample: by the named sampler, or else as the generator's card says; what is asked for (not None) counts.

    Args:
        card: a generator's, as a mapping; the way of sampling is in its architecture, where it names one.
        name: of the sampler; None: the card's, or ddim.
        asked: further fields of a SamplerConfig.
    """
    from facewright.diffusion import SamplerConfig

    record = (card.get("architecture") or {}).get("sampling")
    if name is not None:
        default = SamplerConfig(name)
    else:
        default = SamplerConfig() if record is None else SamplerConfig.from_record(record)
    return replace(default, **{key: value for key, value in asked.items() if value is not None})


def check_width(card: "Card", people: "Embeddings") -> None:
    """Refuse contexts that a generator cannot take, before its networks are loaded; raises DataError, InputError."""
    from facewright.data.embeddings import check_embeddings

    denoiser = card.architecture.get("denoiser", {})
    if "context_inputs" not in denoiser:
        return  # no generator, as loading it will say
    if (width := denoiser["context_inputs"]) is None:
        raise InputError(f"the generator {card.name!r} knows no identities; give one that was trained with contexts")
    check_embeddings(people.names, people.embeddings, source=people.source or "the file of contexts", width=width)


@dataclass(frozen=True)
class _Networks:
    """Loads generator and encoder, in whatever process wants them."""

    generator: str
    encoder: str
    device: str

    def __call__(self, worker: int | None) -> "tuple[FaceGenerator, CropEncoder | None]":
        """Those of a worker, counted from 0; "cuda" is divided among the workers."""
        from facewright import diffusion, encoders

        device = self.device
        if worker is not None and device == "cuda":
            import torch

            device = f"cuda:{worker % max(1, torch.cuda.device_count())}"
        model = diffusion.load(self.generator, device=device)
        return model, None if self.encoder == "none" else encoders.load(self.encoder, device=device)


def _use_threads(threads: int | None) -> None:
    if threads is None:
        return
    import torch

    if threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    torch.set_num_threads(threads)


def _figures(made: "SampleSummary") -> dict[str, object]:
    return {
        "set": str(made.out),
        "identities": made.identities,
        "images": made.images,
        "complete": made.complete,
        "made": made.made,
        "seconds": made.seconds,
        "images_per_s": made.images_per_s,
        "mean_similarity": made.similarity,
    }
