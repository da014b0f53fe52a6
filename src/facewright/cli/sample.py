"""`facewright sample`: a labelled set from a file of contexts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facewright.cli.console import progress_bar, summary, write_json

if TYPE_CHECKING:
    from facewright.synthesis import SampleSummary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    contexts: Annotated[Path, typer.Option("--contexts", metavar="FILE", help=".npz of identities to make.")],
    per_identity: Annotated[int, typer.Option("--per-identity", metavar="N", help="Images of each identity.")],
    out: Annotated[Path, typer.Option("--out", metavar="SET", help="Folder of the set.")],
    generator: Annotated[str, typer.Option("--generator", help="bundled, or a .safetensors file.")] = "bundled",
    sampler: Annotated[str, typer.Option("--sampler", help="Way through the noise levels.")] = "ddim",
    steps: Annotated[int, typer.Option("--steps", help="Network evaluations per image.")] = 25,
    guidance: Annotated[float, typer.Option("--guidance", help="1 is none; more holds closer to the identity.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives other images.")] = 0,
    batch: Annotated[int, typer.Option("--batch", help="Images made at a time.")] = 64,
    image_size: Annotated[
        int, typer.Option("--image-size", help="112 is the aligned crop; more keeps a margin around it.")
    ] = 112,
    encoder: Annotated[
        str, typer.Option("--encoder", help="Measures similarity: bundled, a .safetensors file, or none.")
    ] = "bundled",
    force: Annotated[
        bool, typer.Option("--force", help="Allow contexts of another encoder than the generator's.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file.")
    ] = None,
) -> None:
    """Make a labelled set; after an interruption the same command completes it.

    Example:

        facewright sample --contexts people.npz --per-identity 16 --steps 25 --seed 0 --out faces
    """
    from facewright import diffusion, encoders
    from facewright.data.embeddings import read_embeddings
    from facewright.synthesis import sample_set

    people = read_embeddings(contexts)
    model = diffusion.load(generator, device=device)
    measuring = None if encoder == "none" else encoders.load(encoder, device=device)
    with progress_bar("sampling") as progress:
        made = sample_set(
            model,
            people,
            per_identity=per_identity,
            out=out,
            encoder=measuring,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            seed=seed,
            batch=batch,
            image_size=image_size,
            force=force,
            progress=progress,
        )
    write_json(json_file, _figures(made))
    before = made.images - made.made
    lines = [f"{out}: {made.images:,} images of {made.identities:,} identities, {before:,} of them made before"]
    if made.made:
        lines.append(f"made {made.made:,} in {made.seconds:.0f} s, {made.images_per_s:.2f} images a second")
    if made.similarity is not None and measuring is not None:
        lines.append(f"mean cosine to the context {made.similarity:.3f}, encoder {measuring.name}")
    summary(lines)


def _figures(made: "SampleSummary") -> dict[str, object]:
    return {
        "set": str(made.out),
        "identities": made.identities,
        "images": made.images,
        "made": made.made,
        "seconds": made.seconds,
        "images_per_s": made.images_per_s,
        "mean_similarity": made.similarity,
    }
