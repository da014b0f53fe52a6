"""From a stage of a recipe to the call of its command: where it writes, what it is given, what others get of it."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from facewright.cli.configs import read_config
from facewright.cli.run_recipe import Recipe, Stage, did_you_mean, flattened
from facewright.cli.train import KINDS, WRITTEN
from facewright.errors import ConfigError, InputError

REFERENCE = re.compile(r"\{([^{}]*)\}")
PRODUCTS = ("out", "dst", "json", "plots", "faces")  # options that name what is written


@dataclass(frozen=True)
class Rule:
    """Where a command writes, and what a later stage gets of it."""

    option: str | None  # that names the output; None: the set that the command is given is changed in place
    file: str = "{name}"  # below the run's folder
    result: str = ""  # inside the output
    anew: bool = False  # refuses an output that is there: a stage that was broken off begins again


_FILE, _REPORT, _CHANGE = Rule("out", "{name}.npz"), Rule("json", "{name}.json"), Rule(None)


def _written(kind: str) -> str:
    """What a training of this kind leaves in its run's folder."""
    name = WRITTEN.get(kind, kind)
    return name if name.endswith("/") else f"{name}.safetensors"


RULES: dict[str, Rule] = {
    "align": Rule("dst", result="crops"),
    "pack": Rule("out"),
    "subjects": Rule("dst"),
    "embed": _FILE,
    "import": Rule("out", "{name}.safetensors"),
    **{f"train {kind}": Rule("out", result=_written(kind)) for kind in KINDS},
    **{
        f"contexts {kind}": _FILE
        for kind in ("uniform", "fitted", "photos", "import", "packed", "balanced", "unconditional", "filter")
    },
    "sample": Rule("out"),
    **{f"set {kind}": _CHANGE for kind in ("filter", "resample", "oversample", "card")},
    "set export": Rule("out", anew=True),
    "set check": _REPORT,
    **{
        f"evaluate {kind}": _REPORT
        for kind in ("verification", "templates", "identification", "set", "leakage", "personalised")
    },
}
"""Every command that can be a stage."""


@dataclass(frozen=True)
class Call:
    """A stage ready to run."""

    stage: Stage
    command: Any = None  # of typer; None: the result is given
    context: Any = None  # of typer, parsed
    arguments: tuple[str, ...] = ()
    config: Any = None  # of a training or a pack, read
    result: Path = Path()  # what {NAME} stands for
    output: Path = Path()  # file or folder that the command writes
    report: Path | None = None  # its figures, a JSON file
    in_place: Path | None = None  # the set that it changes
    anew: bool = False
    processes: int = 1  # that a training is started in
    uses: frozenset[str] = frozenset()  # stages it refers to
    inputs: tuple[Path, ...] = ()  # files and folders from outside the run that it reads


def calls_of(recipe: Recipe, run: Path, *, device: str | None = None, processes: int | None = None) -> tuple[Call, ...]:
    """Every stage's call, checked as far as it can be before the first one runs.

    Args:
        recipe: as read.
        run: folder of the run, absolute.
        device: for every command that knows --device, where its stage does not name one.
        processes: that trainings are started in, and workers of a command that knows --workers; a stage may take fewer.

    Raises:
        ConfigError: a command, an option or a config is wrong, or a reference names no earlier stage; the message
            names recipe and stage.
        InputError: a config file is missing.
    """
    from facewright.cli.app import build

    app = typer.main.get_command(build())
    calls: dict[str, Call] = {}
    for stage in recipe.stages:
        calls[stage.name] = _Resolving(recipe, run, stage, calls).call(app, device, processes)
    return tuple(calls.values())


def check_inputs(call: Call) -> None:
    """Refuse a stage that would fail later on because what it reads from outside the run is not there."""
    for path in call.inputs:
        if not path.exists():
            raise InputError(f"stage {call.stage.name}: {path} does not exist; put it there, or change the recipe")


class _Resolving:
    """A stage with what its texts may refer to."""

    def __init__(self, recipe: Recipe, run: Path, stage: Stage, before: Mapping[str, Call]) -> None:
        self.recipe, self.run, self.stage, self.before = recipe, run, stage, before
        self.where = f"{recipe.path}: stage {stage.name}"
        self.uses: set[str] = set()
        self.inputs: list[Path] = []

    def call(self, app: Any, device: str | None, processes: int | None) -> Call:
        stage = self.stage
        if stage.command not in RULES:
            raise ConfigError(
                f"{self.where}: {stage.command!r} is no command for a stage.{did_you_mean(stage.command, RULES)}"
                f" Known: {', '.join(RULES)}"
            )
        if stage.given is not None:
            result = self.recipe.folder / self.text(stage.given)
            return Call(stage, result=result, output=result, uses=frozenset(self.uses), inputs=(result,))
        command = app
        for word in stage.command.split():
            command = command.commands[word]
        rule, parameters = RULES[stage.command], {_key(parameter): parameter for parameter in command.params}
        values = {key: self.value(key, value) for key, value in stage.values.items()}
        if unknown := next((key for key in values if key not in parameters), None):
            raise ConfigError(
                f"{self.where}: facewright {stage.command} has no {unknown}.{did_you_mean(unknown, parameters)}"
                f" Known: {', '.join(parameters)}"
            )
        if processes is not None and stage.processes is not None:
            processes = min(processes, stage.processes)
        for key, value in {"device": device, "workers": processes}.items():
            if key in parameters and value is not None:
                values.setdefault(key, value)
        if rule.option is not None:
            values.setdefault(rule.option, str(self.run / rule.file.format(name=stage.name)))
        if "json" in parameters:
            values.setdefault("json", str(self.run / f"{stage.name}.json"))
        config = self.config(values)
        shared = processes if processes is not None and stage.command.startswith("train ") else 1
        if shared > 1 and config.recipe.schedule.parts % shared:
            raise ConfigError(
                f"{self.where}: {shared} processes cannot share a batch of {config.recipe.schedule.parts} parts; set"
                f" processes of the stage, or recipe.schedule.parts to a multiple of {shared} in its settings"
            )
        arguments = _arguments(parameters, values)
        context = self.parsed(command, arguments)
        output = self.recipe.folder / str(values[rule.option or "set"])
        result = output / rule.result if rule.result else output
        return Call(
            stage,
            command,
            context,
            tuple(arguments),
            config,
            result=result,
            output=output,
            report=Path(values["json"]) if "json" in values else None,
            in_place=output if rule.option is None else None,
            anew=rule.anew,
            processes=shared,
            uses=frozenset(self.uses),
            inputs=tuple(self.inputs),
        )

    def value(self, key: str, value: Any) -> Any:
        """A value of the recipe filled in; what only names a product is no input."""
        known = len(self.inputs)
        filled = self.filled(value)
        if key in PRODUCTS:
            del self.inputs[known:]
        return filled

    def filled(self, value: Any) -> Any:
        """A value of the recipe with its references and paths put in."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, Mapping):
            return {key: self.filled(item) for key, item in value.items()}
        return value

    def text(self, text: str) -> str:
        def known(found: re.Match[str]) -> str:
            name = found[1]
            if name == "run":
                return str(self.run)
            if name not in self.before:
                hint = did_you_mean(name, self.before, form="{{{}}}")
                raise ConfigError(f"{self.where} refers to {{{name}}}, and no stage before it has that name.{hint}")
            self.uses.add(name)
            return str(self.before[name].result)

        text = REFERENCE.sub(known, text)
        if not text.startswith(("./", "../")):
            return text
        path = (self.recipe.folder / text).resolve()
        self.inputs.append(path)
        return str(path)

    def config(self, values: dict[str, Any]) -> Any:
        """Read the config file that the command will read, whose path from the recipe is put right in `values`."""
        if "config" not in values:
            return None
        values["config"] = str((self.recipe.folder / str(values["config"])).resolve())
        values["settings"] = [f"{key}={_toml(value)}" for key, value in flattened(values.get("settings", {}))]
        try:
            config = read_config(_shape(self.stage.command), Path(values["config"]), values["settings"])
        except ConfigError as error:
            raise ConfigError(f"{self.where}: {error}") from error
        self.inputs += [path for path in _paths(config) if not path.is_relative_to(self.run)]
        return config

    def parsed(self, command: Any, arguments: Sequence[str]) -> Any:
        """The call as typer takes it, with paths from the folder of the recipe."""
        try:
            context = command.make_context(f"facewright {self.stage.command}", list(arguments))
        except TyperException as error:
            raise ConfigError(f"{self.where}: {error.format_message()}") from error
        products = {parameter.name for parameter in command.params if _key(parameter) in PRODUCTS}
        for name, value in context.params.items():
            if isinstance(value, Path):
                context.params[name] = path = (self.recipe.folder / value).resolve()
                if name not in products and not path.is_relative_to(self.run):
                    self.inputs.append(path)
        return context


def shown(call: Call) -> str:
    """The call as one would type it."""
    return shlex.join(["facewright", *call.stage.command.split(), *call.arguments])


def _shape(command: str) -> type[Any]:
    """The dataclass of a command's config file."""
    from facewright.align import PackConfig
    from facewright.cli.train_runs import RUNS

    return PackConfig if command == "pack" else RUNS[command.split()[1]][0]


def _key(parameter: Any) -> str:
    """The name of an option or an argument as a recipe has it: that of --help."""
    if parameter.param_type_name == "option":
        return str(parameter.opts[0]).lstrip("-")
    if parameter.name == "settings":
        return "settings"
    return re.sub(r"[^a-z]", "", (parameter.metavar or parameter.name).lower())


def _arguments(parameters: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """The values as words of a command line."""
    options: list[str] = []
    positional: list[str] = []
    for key, parameter in parameters.items():
        if key not in values:
            continue
        value = values[key]
        words = [_word(item) for item in (value if isinstance(value, list) else [value])]
        if parameter.param_type_name != "option":
            positional += words
        elif isinstance(value, bool):
            names = parameter.opts if value else parameter.secondary_opts
            options += names[:1]
        elif parameter.multiple:
            options += [f"{parameter.opts[0]}={word}" for word in words]
        elif parameter.nargs == 1 and len(words) == 1:
            options.append(f"{parameter.opts[0]}={words[0]}")
        else:
            options += [parameter.opts[0], *words]
    return [*options, "--", *positional] if positional else options


def _word(value: Any) -> str:
    return value if isinstance(value, str) else _toml(value)


def _toml(value: Any) -> str:
    """A value as TOML, which for texts, numbers, truths and lists is JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _paths(config: Any) -> list[Path]:
    """Every path that a config names, those of tables in it included."""
    found = []
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Path):
            found.append(value)
        elif is_dataclass(value) and not isinstance(value, type):
            found += _paths(value)
    return found
