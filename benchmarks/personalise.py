"""Time and memory of a personalised picture against the plain pipeline of diffusers, at Stable Diffusion 1.5's shapes.

    python benchmarks/personalise.py --precision bfloat16 --steps 30 --out benchmarks/results
    python benchmarks/personalise.py --quick --out results

All weights are random but those of the face finder; the tokenizer has 49,408 entries, of which few are words. The
photos, one a person, are faces of people who do not exist, drawn by the bundled generator and laid on a canvas. Each
row has processes of its own, of whose figures the medians are told; each draws a picture of one step to warm up, then
the measured one, by the same calls as `facewright personalise`. The plain row imports diffusers and
nothing of facewright.

Columns, in seconds for all people of the picture together: `align` reads the photos, finds the faces and warps them;
`encode` is the multi-scale identity encoder in float32; `map` makes words; `inject` encodes the prompt with the words,
as often as a picture needs it (with regions once more a person). Each is the median of three after one to warm up.
`picture` is everything from the photo to the pixels; `share` what the four take of it. `at 50` is that share computed
for 50 steps, from the median time of a step. `peak` is that of the whole process, Python and torch included (on a GPU
what torch held there), `spread` how far the peaks of a row's processes lie apart, `against plain` the ratio to the
plain row. As the command does, encoder and mapper make everybody's words before the base model is loaded and are freed
then, the face finder stays; `kept` is the row where all of them stay.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measuring import facts, file_stem, in_own_process, now, peak_bytes
from personalise_models import NAMES, PROMPTS, make_pipeline, prepare

PRECISIONS = ("float32", "bfloat16", "autocast")
REPEATS = 3  # of what takes little time
LONG = 50  # steps that shares are computed for


@dataclass(frozen=True)
class Case:
    """One measurement."""

    people: int  # 0: the plain pipeline
    precision: str  # of the base model: weights, or autocast over float32 ones
    size: int  # pixels
    steps: int
    guidance: float
    device: str
    regions: bool = False
    kept: bool = False
    quick: bool = False

    @property
    def what(self) -> str:
        """In the table."""
        if not self.people:
            return "plain diffusers"
        person = "one person" if self.people == 1 else f"{self.people} people"
        return person + ", regions" * self.regions + ", kept" * self.kept

    @property
    def name(self) -> str:
        """Names it in the file of results."""
        how = f"{self.precision}, {self.size} px, {self.steps} steps, guidance {self.guidance:g}, {self.device}"
        return f"{self.what}, {how}{', quick' if self.quick else ''}"


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Take one measurement in this process."""
    drawing = PeopleDrawing(case, folder) if case.people else PlainDrawing(case)
    seconds = drawing.identify()
    drawing.pipe = make_pipeline(folder, precision=case.precision, device=case.device)
    with torch.autocast(case.device, torch.bfloat16, enabled=case.precision == "autocast"):
        injected = drawing.inject()
        drawing.draw(1, lambda: None)
        times: list[float] = []
        began = now(case.device)
        drawing.draw(case.steps, lambda: times.append(now(case.device)))
        drawn = now(case.device) - began  # the prompt is encoded in it
    between = [late - early for early, late in pairwise(times)]
    step = statistics.median(between) if between else None
    picture, side = sum(seconds.values()) + drawn, sum(seconds.values()) + injected
    return {
        **{f"{part}_s": value for part, value in seconds.items()},
        "inject_s": injected,
        "side_s": side,
        "picture_s": picture,
        "step_s": step,
        "share": side / picture,
        "share_at_50": None if step is None else side / (picture + (LONG - case.steps) * step),
        "peak_mib": peak_bytes(case.device) / 2**20,
        "load": os.getloadavg()[0],
    }


class PlainDrawing:
    """A picture by diffusers alone; nobody is identified."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.pipe: Any = None

    def identify(self) -> dict[str, float]:
        """Seconds of align, encode and map."""
        return {}

    def inject(self) -> float:
        """Seconds that encoding the prompt takes on top."""
        return 0.0

    def draw(self, steps: int, after: Callable[[], None]) -> None:
        """A picture of so many steps; `after` is called after each."""

        def step_end(pipe: Any, call: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
            after()
            return {}

        self.pipe(
            prompt=PROMPTS[0],
            num_inference_steps=steps,
            guidance_scale=self.case.guidance,
            height=self.case.size,
            width=self.case.size,
            generator=torch.Generator("cpu").manual_seed(0),
            output_type="np",
            callback_on_step_end=step_end,
        )


class PeopleDrawing(PlainDrawing):
    """A picture with people, by the calls of `facewright personalise`."""

    def __init__(self, case: Case, folder: Path) -> None:
        from facewright.align import load_detector
        from facewright.encoders.msid import MSID, TAPS
        from facewright.personalise import Mapper, Mapping, MultiScaleEncoder

        super().__init__(case)
        self.photos = {name: folder / f"{name}.png" for name in NAMES[: case.people]}
        self.prompt = PROMPTS[case.people]
        self.finder: Any = load_detector()
        self.encoder: Any = MultiScaleEncoder(MSID(TAPS).to(case.device))
        self.mapper: Any = Mapper(Mapping().eval().to(case.device))
        self.subjects: list[Any] = []

    def identify(self) -> dict[str, float]:
        """Seconds of align, encode and map; a new reader each time, which has nothing cached."""
        from facewright.personalise import IdentityReader, PhotoOf, Subject

        def align() -> list[Any]:
            reader = IdentityReader(self.finder)
            return [reader.crops(name, [PhotoOf(photo)]) for name, photo in self.photos.items()]

        def encode() -> list[Any]:
            reader = IdentityReader(self.finder)
            return [torch.from_numpy(reader.identity(person, self.encoder)) for person in people]

        people, align_s = timed(align, self.case.device)
        identities, encode_s = timed(encode, self.case.device)
        words, map_s = timed(lambda: [self.mapper.words(own) for own in identities], self.case.device)
        self.subjects = [Subject(name, own) for name, own in zip(self.photos, words, strict=True)]
        if not self.case.kept:
            self.encoder = self.mapper = None
        return {"align": align_s, "encode": encode_s, "map": map_s}

    def inject(self) -> float:
        """Seconds of every encoding of the prompt with words that the picture needs."""
        from facewright.personalise import encode_people

        nouns = {subject.name: subject.noun for subject in self.subjects}
        alone = [[subject] for subject in self.subjects] if self.case.regions else []

        def encode() -> None:
            for those in [self.subjects, *alone]:
                words = {subject.name: subject.words for subject in those}
                encode_people(self.pipe, self.prompt, nouns=nouns, words=words)

        return timed(encode, self.case.device)[1]

    def draw(self, steps: int, after: Callable[[], None]) -> None:
        """As `PlainDrawing.draw`."""
        from facewright.personalise import PictureConfig, draw_pictures

        config = PictureConfig(steps=steps, guidance=self.case.guidance, width=self.case.size, height=self.case.size)
        regions = "columns" if self.case.regions else None

        def progress(done: int, total: int) -> None:  # noqa: ARG001 - the shape of progress functions
            after()

        draw_pictures(self.pipe, self.prompt, self.subjects, config, regions=regions, progress=progress)


def timed(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """What it gives, and the median of its seconds."""
    result, seconds = work(), []
    for _ in range(REPEATS):
        began = now(device)
        result = work()
        seconds.append(now(device) - began)
    return result, statistics.median(seconds)


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """The plain picture first, which the others are compared with."""
    given = ("precision", "size", "steps", "guidance", "device", "quick")
    plain = Case(people=0, **{name: getattr(arguments, name) for name in given})
    one, two = replace(plain, people=1), replace(plain, people=2)
    yield from (plain, one, replace(one, kept=True), two, replace(two, regions=True))


def combined(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of several processes, and how far their peaks lie apart; a failure if there is one."""
    if failed := next((figures for figures in found if "failed" in figures), None):
        return failed
    peaks = [figures["peak_mib"] for figures in found]
    medians = {
        key: None if found[0][key] is None else statistics.median(figures[key] for figures in found) for key in found[0]
    }
    return {**medians, "peak_spread_mib": max(peaks) - min(peaks), "processes": len(found)}


def rows(asked: list[Case], taken: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A Markdown table of what has been measured."""
    parts = ("align", "encode", "map", "inject")
    columns = ("picture of", *parts, "together", "step", "picture", "share", "at 50", "peak MiB", "spread")
    yield f"| {' | '.join(columns)} | against plain |"
    yield "| --- " * 13 + "|"
    for case in asked:
        figures = taken.get(case.name, {"failed": "not measured yet"})
        if "failed" in figures:
            yield f"| {case.what} | {figures['failed'].replace('|', '/')} |" + " |" * 11
            continue
        plain = taken.get(replace(case, people=0, regions=False, kept=False).name, {})
        ratio = f"{figures['peak_mib'] / plain['peak_mib']:.3f}" if "peak_mib" in plain else ""
        side = " | ".join(f"{figures[f'{part}_s']:.3f}" if case.people else "" for part in parts)
        step = "" if figures["step_s"] is None else f"{figures['step_s']:.2f}"
        at_50 = "" if figures["share_at_50"] is None or not case.people else f"{figures['share_at_50']:.2%}"
        shares = f"{figures['share']:.2%} | {at_50}" if case.people else " | "
        together = f"{figures['side_s']:.3f}" if case.people else ""
        yield (
            f"| {case.what} | {side} | {together} | {step} | {figures['picture_s']:.1f} | {shares} | "
            f"{figures['peak_mib']:,.0f} | {figures['peak_spread_mib']:,.0f} | {ratio} |"
        )


def heading(above: dict[str, Any], case: Case) -> list[str]:
    """What stands above the table."""
    where = f"{above['hardware']}, {above['threads']} threads, torch {above['torch']}, Python {above['python']}."
    shapes = "Small shapes, to try the script" if case.quick else "Shapes of Stable Diffusion 1.5, random weights"
    how = f"{shapes}; {case.precision}, {case.size} px, {case.steps} steps, guidance {case.guidance:g}; seconds."
    computed = f"What the columns mean stands in the script; those at {LONG} steps are computed" * (case.steps != LONG)
    return ["# Personalised pictures", "", above["command"], "", where, "", f"{how} {computed}".strip() + ".", ""]


def run(arguments: argparse.Namespace) -> None:
    """Take every measurement that is not in the file of results yet, writing file and table after each."""
    from facewright.training.atomic import atomic_path

    above = facts("personalise.py", arguments.device)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    results = out / f"{file_stem('personalise', above['hardware'])}.json"
    kept = json.loads(results.read_text(encoding="utf-8"))["measured"] if results.is_file() else {}
    taken = {name: figures for name, figures in kept.items() if "failed" not in figures}
    asked = list(cases(arguments))

    def write() -> None:
        with atomic_path(results) as temporary:
            temporary.write_text(json.dumps({**above, "measured": taken}, indent=1) + "\n", encoding="utf-8")
        with atomic_path(results.with_suffix(".md")) as temporary:
            temporary.write_text("\n".join([*heading(above, asked[0]), *rows(asked, taken)]) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch), quick=arguments.quick)
        for case in asked:
            if case.name not in taken:
                call = json.dumps(asdict(case))
                taken[case.name] = combined([in_own_process(__file__, call, scratch) for _ in range(arguments.repeats)])
                write()
                print(list(rows([case], taken))[-1], flush=True)
    write()
    print(results.with_suffix(".md"))


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="bfloat16", choices=PRECISIONS, help="default: bfloat16 weights")
    parser.add_argument("--size", type=int, help="pixels; default: 512")
    parser.add_argument("--steps", type=int, help="default: 30")
    parser.add_argument("--guidance", type=float, default=7.0)
    parser.add_argument("--repeats", type=int, default=2, help="processes of a row; default: 2")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="a small base model, 64 px and 2 steps unless told")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of JSON and Markdown")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(Case(**json.loads(arguments.child[0])), Path(arguments.child[1]))))
        return
    arguments.size = arguments.size or (64 if arguments.quick else 512)
    arguments.steps = arguments.steps or (2 if arguments.quick else 30)
    run(arguments)


if __name__ == "__main__":
    main()
