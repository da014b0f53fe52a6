"""A training stage of a recipe in several processes of this machine, as torchrun starts them."""

import ctypes
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from facewright.errors import WorkError

if TYPE_CHECKING:
    from facewright.cli.run_stages import Call

PR_SET_PDEATHSIG = 1  # of Linux's prctl

PATIENCE = 120.0
"""Seconds that the processes are given to save after an interrupt."""


def run_in_processes(call: "Call") -> None:
    """Run a training in as many processes as the call says and wait for them; they end when this process does.

    Raises:
        WorkError: a process failed; what it said is on stderr.
    """
    words = [*call.stage.command.split(), *call.arguments]
    start = ["-m", __name__, "--standalone", f"--nproc-per-node={call.processes}", "-m", "facewright.cli.app"]
    process = subprocess.Popen([sys.executable, *start, *words], stdout=sys.stderr)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)  # Ctrl-C has reached it already, a SIGTERM of ours has not
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    if code:
        raise WorkError(f"{call.stage.command} in {call.processes} processes ended with exit code {code}; see above")


def main() -> None:
    """What torchrun does; but should the process that started this one be killed, this one ends too (on Linux)."""
    from torch.distributed.run import main as torchrun

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    torchrun(sys.argv[1:])


if __name__ == "__main__":
    main()
