"""An interrupt that waits until the step is done, so that what is saved is a whole step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether the user or the machine asked the run to stop."""

    asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; a second one stops at once, and nothing is saved."""
        del number, frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def held_interrupts() -> Iterator[Interrupt]:
    """While the block runs, SIGINT (Ctrl-C) and SIGTERM only set `asked`; the handlers of before are put back.

    Signals reach the main thread alone, so in another thread nothing is changed.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
