"""The `fouriscale` command. Light to import: what takes seconds is imported where an interrupt is expected."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MissingPackageError
from .errors import INTERRUPTED


def main() -> None:
    """Run the command line. Exit code 2 and one line for what the user can mend, 130 after an interrupt."""
    try:
        with _ending_at_once():
            from .app import run
    except ImportError as error:
        if (error.name or "").startswith(__package__.partition(".")[0]):
            raise  # a fault of our own
        missing = error if isinstance(error, MissingPackageError) else MissingPackageError(error.name or str(error))
        print(f"error: {missing}", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """An interrupt ends the process in silence: there is nothing to clean up while modules are being imported."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # who started the command has other plans, such as to ignore interrupts
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
