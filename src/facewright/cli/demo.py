"""`facewright demo`: the whole loop on the bundled models, small enough for two CPU cores."""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from facewright import __version__
from facewright.cli.console import Progress, progress_bar, summary, write_json
from facewright.cli.demo_pairs import Lfw, PairCrops, find_lfw, held_out_pairs, lfw_pairs
from facewright.cli.demo_personalised import Personalise, bundled_personalise, first_faces
from facewright.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from facewright.align import Detector
    from facewright.cli.report import Loop, PairTest, Person, Step
    from facewright.data.embeddings import Embeddings
    from facewright.data.sets import FaceSet
    from facewright.synthesis import CropEncoder, FaceGenerator

FOLDS = 10


@dataclass(frozen=True)
class DemoConfig:
    """How much the demo does."""

    identities: int = 24  # new people, shown and trained on
    held_out: int = 8  # further new people that the recogniser is measured on where there is no LFW
    per_identity: int = 8  # images
    steps: int | None = None  # of the sampler; None: as the generator's card says
    first_steps: int = 12  # of the sampler that draws the faces of nobody
    min_angle: float = 1.2  # radians between two identities
    recogniser_images: int = 6_000  # seen in training
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("identities", 2), ("held_out", 2), ("per_identity", 2), ("first_steps", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Models:
    """What the loop works with."""

    encoder: "CropEncoder"
    generator: "FaceGenerator"
    detector: "Detector"
    train: Callable[["DemoConfig", Path, Path, Progress], "CropEncoder"]  # config, set, run folder, progress
    draw: Callable[["DemoConfig", Path, Progress], "Embeddings"]  # config, folder, progress; all new people
    personalise: Personalise | None = None  # None: this install has no base model


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives other people.")] = 0,
    lfw: Annotated[
        Path | None,
        typer.Option("--lfw", metavar="DIR", help="Folder with lfw_pairs.txt and lfw_pairs_112.tar; measures on LFW."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here as well as to metrics.json.")
    ] = None,
) -> None:
    """Run the whole loop on the bundled models: faces in, one page out.

    Makes new people, checks that their identities hold, draws some of them as prompts say, trains a small recogniser
    on them and measures it. Writes report.html, metrics.json, grid.png, the set and the pictures. The same command
    again takes up where it stopped.

    Example:

        facewright demo --out demo --seed 0
    """
    from facewright.cli.report import loop_figures

    found = None if lfw is None else find_lfw(lfw)
    shown = quote(out.name if out.is_absolute() else str(out))  # a page that is passed on names no machine
    command = f"facewright demo --out {shown} --seed {seed}" + ("" if lfw is None else " --lfw DIR")
    loop = run_loop(load_models(device), DemoConfig(seed=seed), out=out, lfw=found, command=command)
    write_json(json_file, loop_figures(loop))
    scores = loop.measures.scores
    summary(
        [
            f"{loop.measures.identities} new people, {loop.measures.images} pictures in {out / 'faces'}",
            f"EER of the set {scores.eer:.1%}, faces found in {loop.faces_found} of {loop.measures.images}",
            f"recogniser trained on them: {loop.own.result.accuracy:.1%} on {loop.pairs}",
            f"look at {out / 'report.html'}; figures in {out / 'metrics.json'}, everyone in {out / 'grid.png'}",
        ]
    )


def load_models(device: str) -> Models:
    """The bundled models."""
    from facewright import diffusion, encoders
    from facewright.align import load_detector

    encoder, detector = encoders.load("bundled", device=device), load_detector()
    of_nobody = diffusion.load("bundled", device=device)  # one distilled to few steps only draws people
    return Models(
        encoder=encoder,
        generator=diffusion.load("bundled-4steps", device=device),
        detector=detector,
        train=lambda config, data, out, progress: train_recogniser(config, data, out, progress, device=device),
        draw=lambda config, faces, progress: draw_people(config, of_nobody, encoder, faces, progress),
        personalise=bundled_personalise(encoder, detector, device=device),
    )


def draw_people(
    config: DemoConfig, generator: "FaceGenerator", encoder: "CropEncoder", faces: Path, progress: Progress
) -> "Embeddings":
    """New people: faces that the generator draws of nobody, kept in the folder `faces`, embedded."""
    from facewright.synthesis import Limits, generated_contexts

    found = generated_contexts(
        config.identities + config.held_out,
        generator,
        encoder,
        seed=config.seed,
        faces=faces,
        limits=Limits(config.min_angle),
        steps=config.first_steps,
        progress=progress,
    )
    if not found.report.complete:
        raise ConfigError(f"{found.report.sentence()}; lower min_angle")
    return found.contexts


def train_recogniser(config: DemoConfig, data: Path, out: Path, progress: Progress, *, device: str) -> "CropEncoder":
    """A small recogniser trained from scratch on the set in `data`, for a short time."""
    from facewright.recognition import RecogniserRecipe, light_augmentation, train
    from facewright.training.trainer import Schedule

    schedule = Schedule(
        images=config.recogniser_images, batch=64, optimiser="muon", learning_rate=2e-3, seed=config.seed
    )
    recipe = RecogniserRecipe(data, schedule, augmentation=light_augmentation())
    return train(recipe, out=out, device=device, progress=progress).encoder


def run_loop(
    models: Models, config: DemoConfig, *, out: Path, lfw: Lfw | None = None, command: str = "facewright demo"
) -> "Loop":
    """Run every step, each resuming what an earlier call left in `out`, and write the three results."""
    import numpy as np

    from facewright.align import find_faces
    from facewright.cli.report import Loop
    from facewright.data.sets import read_set
    from facewright.evaluation import measure_set

    clock = Clock()
    with clock.step("Faces of nobody", "each will be a person") as bar:
        contexts = models.draw(config, out / "nobody", bar)
    shown = slice(0, config.identities)
    with clock.step("New people", f"{config.identities} × {config.per_identity} pictures") as bar:
        _sample(models, _rows(contexts, shown), config, out / "faces", bar)
    faces = read_set(out / "faces")
    crops = faces.crops()
    with clock.step("Embedding", f"{len(crops)} faces, {models.encoder.name}") as bar:
        embeddings = models.encoder.embed(crops, progress=bar)
    measures = measure_set(
        embeddings, faces.identities, contexts=contexts.embeddings[faces.identities], seed=config.seed
    )
    with clock.step("Finding faces", f"in {len(faces)} pictures, {models.detector.name}") as bar:
        pictures = np.stack([faces.image(number) for number in range(len(faces))])
        faces_found = int(find_faces(pictures, detector=models.detector, progress=bar).sum())
    personalised = None
    if models.personalise is not None:
        with clock.step("Personalised pictures", "alone and together, as prompts say") as bar:
            personalised = models.personalise(first_faces(faces), out / "personalised", config.seed, bar)
    trained_on = f"{len(faces)} generated pictures of {config.identities} people"
    with clock.step("Training a recogniser", f"from scratch on {trained_on}") as bar:
        recogniser = models.train(config, out / "faces", out / "recogniser", bar)
    if lfw is None:
        held_out = _rows(contexts, slice(config.identities, None))
        with clock.step("Further people", f"{config.held_out} × {config.per_identity}, to measure on") as bar:
            _sample(models, held_out, config, out / "held-out", bar)
        pairs = held_out_pairs(read_set(out / "held-out"), seed=config.seed)
        words = f"{config.held_out} further new people"
    else:
        with clock.step("Reading LFW", "aligned images of the 6,000 pairs") as bar:
            pairs = lfw_pairs(lfw, bar)
        words = "LFW"
    with clock.step("Measuring the recogniser", f"{len(pairs.issame)} pairs of {words}") as bar:
        own = _test(recogniser, "this demo's recogniser", trained_on, pairs, bar)
    with clock.step("Measuring the encoder", "the bundled one, on the same pairs") as bar:
        bundled = _test(models.encoder, "bundled encoder", "real faces", pairs, bar)
    loop = Loop(
        people=_people(faces, np.asarray(embeddings), contexts),
        measures=measures,
        faces_found=faces_found,
        detector=models.detector.name,
        pairs=words,
        own=own,
        bundled=bundled,
        steps=tuple(clock.steps),
        versions=_versions(models),
        settings={**asdict(config), "lfw": lfw is not None},
        notes=_notes(lfw),
        command=command,
        personalised=personalised,
    )
    write_results(loop, out)
    return loop


def write_results(loop: "Loop", out: Path) -> None:
    """Write report.html, metrics.json and grid.png, each whole or not at all."""
    from PIL import Image

    from facewright.cli.report import contact_sheet, loop_figures, loop_report, render
    from facewright.training.atomic import atomic_path

    with atomic_path(out / "grid.png") as temporary:
        Image.fromarray(contact_sheet(loop.people)).save(temporary, format="PNG")
    write_json(out / "metrics.json", loop_figures(loop))
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(render(loop_report(loop)), encoding="utf-8")


class Clock:
    """Draws a bar for each step and keeps how long it took."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def step(self, title: str, detail: str) -> Iterator[Progress]:
        """Time one step; gives its progress function."""
        from facewright.cli.report import Step

        started = time.monotonic()
        with progress_bar(title) as bar:
            yield bar
        self.steps.append(Step(title, detail, time.monotonic() - started))


def _rows(contexts: "Embeddings", part: slice) -> "Embeddings":
    from facewright.data.embeddings import Embeddings

    return Embeddings(contexts.names[part], contexts.embeddings[part], contexts.provenance)


def _sample(models: Models, contexts: "Embeddings", config: DemoConfig, out: Path, progress: Progress) -> None:
    from facewright.cli.sample import sampler_of
    from facewright.synthesis import sample_set

    sample_set(
        models.generator,
        contexts,
        per_identity=config.per_identity,
        out=out,
        encoder=models.encoder,
        sampler=sampler_of(models.generator.card, None, {"steps": config.steps}),
        seed=config.seed,
        batch=16,
        image_size=models.generator.image_size,
        progress=progress,
    )


def _test(
    encoder: "CropEncoder",
    name: str,
    trained_on: str,
    pairs: PairCrops,
    progress: Progress,
) -> "PairTest":
    from facewright.cli.report import PairTest
    from facewright.evaluation import verify

    embeddings = encoder.embed(pairs.crops, mirror=True, progress=progress)
    result = verify(embeddings[pairs.rows], None, pairs.issame, folds=FOLDS)
    return PairTest(name, trained_on, result, pairs.issame)


def _people(faces: "FaceSet", embeddings: "np.ndarray", contexts: "Embeddings") -> "tuple[Person, ...]":
    """The pictures of each identity in order, with their cosines to what they were made from."""
    import numpy as np

    from facewright.cli.report import Person

    labels = faces.identities
    people = []
    for identity in np.unique(labels):
        rows = np.flatnonzero(labels == identity)
        people.append(
            Person(
                name=f"Person {identity + 1}",
                faces=np.stack([faces.image(int(row)) for row in rows]),
                similarity=embeddings[rows] @ contexts.embeddings[identity],
            )
        )
    return tuple(people)


def _versions(models: Models) -> dict[str, str]:
    import numpy as np
    import torch

    return {
        "facewright": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "encoder": f"{models.encoder.name} {models.encoder.sha256[:12]}",
        "generator": f"{models.generator.name} {models.generator.sha256[:12]}",
        "detector": models.detector.name,
        "threads": str(torch.get_num_threads()),
    }


def _notes(lfw: Lfw | None) -> tuple[str, ...]:
    about_set = (
        "The set is judged by the encoder whose embeddings the generator was trained with, which flatters it. "
        "docs/RESULTS.md has the figures by an encoder that took no part."
    )
    about_size = (
        "The recogniser saw a few pictures for a minute or two: it shows that the loop closes, not what a recogniser "
        "trained on generated faces can do."
    )
    if lfw is not None:
        return about_set, about_size
    about_pairs = (
        "No LFW files were given (--lfw DIR), so the recogniser is measured on further people made by the same "
        "generator, whose pairs share a few identities. That number says nothing about real faces."
    )
    return about_set, about_size, about_pairs
