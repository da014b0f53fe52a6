"""`facewright run`: every stage of a recipe, one after the other."""

import gc
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facewright.cli.console import note, summary, write_json
from facewright.errors import FaceError, InputError, WorkError

if TYPE_CHECKING:
    from facewright.cli.run_stages import Call
    from facewright.cli.run_state import RunState


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="TOML file of [[stage]] tables.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE.KEY=VALUE]...", help="Settings that override the file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="RUN", help="Folder of the run; default: runs/ and RECIPE's name.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Only say what is done and what is left.")] = False,
    amend: Annotated[
        bool, typer.Option("--amend", help="Take over changes of the recipe in stages that are not done.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda or cuda:N, for every stage that does not say; default cpu."),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, metavar="N", help="Train and sample in so many processes, one a device."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write stages and figures to this file.")
    ] = None,
) -> None:
    """Carry out every stage of a recipe: data, training, contexts, a set, a recogniser, benchmarks.

    Each stage is one command of facewright, with its options under the names of its --help. The run may be stopped at
    any time and in any way; the same command again goes on where it was. A stage with `given = PATH` is skipped, and
    PATH taken for its result. Paths on the command line begin with ./, ../ or /.

    Example:

        facewright run recipes/admis_casia.toml --out runs/admis --device cuda
    """
    from facewright.cli.run_recipe import did_you_mean, read_recipe
    from facewright.cli.run_stages import calls_of
    from facewright.cli.run_state import RunState

    read = read_recipe(recipe, settings or ())
    folder = (Path("runs") / recipe.stem if out is None else out).resolve()
    calls = calls_of(read, folder, device=device, processes=processes)
    names = [call.stage.name for call in calls]
    if until is not None and until not in names:
        raise InputError(f"{recipe} has no stage {until!r}.{did_you_mean(until, names)} It has {', '.join(names)}")
    state = RunState.open(folder, read.written(), amend=amend)
    overview = list(_overview(calls, state, folder))
    if not status:
        for line in overview:
            note(line)
        wanted = calls[: len(calls) if until is None else names.index(until) + 1]
        _check(wanted, state)
        state.save()
        _carry_out(wanted, state, len(calls))
    figures = [_figures(call, state) for call in calls]
    write_json(json_file, {"recipe": str(recipe), "run": str(folder), "stages": figures})
    summary([*(overview if status else _results(calls, state, folder)), *_compared(figures)])


def _check(calls: Sequence["Call"], state: "RunState") -> None:
    """Whatever can be seen to be missing is said before the first stage, not after days."""
    from facewright.cli.run_stages import check_inputs

    results = {call.stage.name: call.result for call in calls}
    for call in calls:
        if call.stage.name in state.done:
            continue
        check_inputs(call)
        for used in sorted(call.uses):
            if used in state.done and not results[used].exists():
                raise InputError(
                    f"stage {call.stage.name} needs {results[used]} of stage {used}, which is done; restore it, or"
                    " begin anew in another --out"
                )


def _carry_out(calls: Sequence["Call"], state: "RunState", count: int) -> None:
    """Run what is left, in order."""
    from facewright.cli.run_stages import shown

    worked = False
    for number, call in enumerate(calls, 1):
        stage = call.stage
        if stage.name in state.done or stage.given is not None:
            continue
        note(f"[{number}/{count}] {stage.name}: {shown(call)}")
        began = time.monotonic()
        state.begin(stage.name, in_place=call.in_place, output=call.output, anew=call.anew)
        try:
            with redirect_stdout(sys.stderr), _own_threads():
                _run_command(call)
        except BaseException as error:
            with suppress(OSError):  # the first error is the one to tell
                state.broke_off(stage.name, time.monotonic() - began)
            if not isinstance(error, FaceError):
                raise
            kind = WorkError if worked else type(error)
            raise kind(f"stage {stage.name}: {error}; finished stages are kept in {state.folder}") from error
        state.finish(stage.name, time.monotonic() - began)
        note(f"[{number}/{count}] {stage.name}: done in {_duration(state.done[stage.name])}")
        worked = True


def _run_command(call: "Call") -> None:
    """The stage's command, in this process; a training in several where so many are asked for."""
    if call.processes > 1:
        from facewright.cli.run_processes import run_in_processes

        run_in_processes(call)
    else:
        call.command.invoke(call.context)


@contextmanager
def _own_threads() -> Iterator[None]:
    """What one stage sets and holds, its threads and its memory, is no matter of the next one."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _overview(calls: Sequence["Call"], state: "RunState", folder: Path) -> Iterator[str]:
    """Each stage with where it stands."""
    stands = [_stand(call, state) for call in calls]
    left = len(calls) - stands.count("done") - stands.count("skipped")
    yield (
        f"{folder}: {len(calls)} stages, {stands.count('done')} done, {stands.count('skipped')} skipped, {left} left"
    )
    width = max(len(call.stage.name) for call in calls)
    for call, stand in zip(calls, stands, strict=True):
        stage = call.stage
        told = stage.command if stage.given is None else f"given as {call.result}"
        yield f"  {stand:8} {stage.name:{width}}  {told}"


def _stand(call: "Call", state: "RunState") -> str:
    if call.stage.given is not None:
        return "skipped"
    name = call.stage.name
    return "done" if name in state.done else "begun" if name in state.begun else "left"


def _figures(call: "Call", state: "RunState") -> dict[str, Any]:
    """What `--json` holds of a stage."""
    name = call.stage.name
    return {
        "name": name,
        "command": call.stage.command,
        "state": _stand(call, state),
        "seconds": state.done.get(name, state.begun.get(name)),
        "result": str(call.result),
        "measured": _measured(call) if name in state.done else [],
    }


def _measured(call: "Call") -> list[dict[str, Any]]:
    """The figures of a stage that others have published, each beside theirs."""
    from facewright.cli.run_recipe import flattened

    if not call.stage.published or call.report is None or not call.report.is_file():
        return []
    figures = json.loads(call.report.read_text(encoding="utf-8"))
    published: dict[str, dict[str, Any]] = {}
    for source, values in call.stage.published.items():
        for key, value in flattened(values):
            published.setdefault(key, {})[source] = value
    return [{"figure": key, "value": _at(figures, key), "published": found} for key, found in published.items()]


def _at(figures: Mapping[str, Any], key: str) -> Any:
    """The figure of a dotted name; None where there is none."""
    value: Any = figures
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _results(calls: Sequence["Call"], state: "RunState", folder: Path) -> Iterator[str]:
    """Each stage with its time and what it made."""
    yield f"the run is in {folder}"
    width = max(len(call.stage.name) for call in calls)
    for call in calls:
        name, stand = call.stage.name, _stand(call, state)
        took = _duration(state.done[name]) if stand == "done" else ""
        yield f"{stand:8} {name:{width}} {took:>9}  {call.result if stand in ('done', 'skipped') else ''}".rstrip()


def _compared(figures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for stage in figures:
        for row in stage["measured"]:
            others = ", ".join(f"{value} ({source})" for source, value in row["published"].items())
            value = row["value"]
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            yield f"{stage['name']}: {row['figure']} {shown}, published {others}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
