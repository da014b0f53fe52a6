"""`facewright`: gather the commands, run one, and end with one sentence and an exit code."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from facewright import __version__
from facewright.cli.console import note
from facewright.cli.options import guard
from facewright.errors import FaceError

# In the order of the help page. A command's module imports what it needs inside its function, so that help is quick.
COMMANDS = (
    "demo",
    "doctor",
    "align",
    "embed",
    "contexts",
    "sample",
    "personalise",
    "set_check",
    "evaluate",
    "pack",
    "subjects",
    "world",
    "train",
    "curves",
    "run",
    "plan",
    "layouts",
    "import_weights",
)

_WRITE_FAILED = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_PATH = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP}


def build() -> typer.Typer:
    """Gather every command below `facewright`."""
    app = typer.Typer(
        name="facewright",
        help="Make labelled synthetic face sets from given identities, and measure them.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def top(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
        if version:
            print(f"facewright {__version__}")
            raise typer.Exit

    for name in COMMANDS:
        import_module(f"facewright.cli.{name}").register(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    0 done; 1 the work failed and what was made is kept; 2 the call, the config or the input is wrong; 130 interrupted.
    """
    try:
        command = typer.main.get_command(build())
        guard(command)
        with _terminable():
            code = command.main(list(arguments), prog_name="facewright", standalone_mode=False) or 0
    except TyperException as error:  # how typer reports a wrong call
        note(f"facewright: {_usage_sentence(error)}")
        return error.exit_code
    except FaceError as error:
        note(f"facewright: {error}")
        return error.exit_code
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _closed_pipe()
        what = os.strerror(error.errno or 0)
        where = f"{error.filename}: {what}" if error.filename else what
        if error.errno in _WRITE_FAILED:
            note(f"facewright: {where}; make room or allow writing there, then run the same command again.")
            return 1
        if error.errno in _WRONG_PATH and error.filename:
            note(f"facewright: {where}; name another path.")
            return 2
        raise
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        note("facewright: stopped; the same command again continues.")
    return int(code)


def main() -> NoReturn:
    """The `facewright` command."""
    sys.exit(run(sys.argv[1:]))


def _usage_sentence(error: TyperException) -> str:
    """What is wrong with the call and which help page tells more."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "facewright"
    sentence = error.format_message().strip().removesuffix(".")
    return f"{sentence or 'nothing to do'}; see `{command} --help`."


def _closed_pipe() -> int:
    """The reader of stdout went away (`facewright ... | head`): point stdout nowhere, so that exit stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


@contextmanager
def _terminable() -> Iterator[None]:
    """While the block runs, SIGTERM ends it as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":  # torchrun ... -m facewright.cli.app train ...
    main()
