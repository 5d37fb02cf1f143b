"""Ctrl-C while training: the first one is kept until the model stands between two steps, the second one interrupts at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; the model stands between two steps, and its training can be taken up there."""


@contextmanager
def interruption(*, termination: bool = False) -> Iterator[threading.Event]:
    """Within, the first Ctrl-C sets the event; whoever trains looks at it between two steps and raises `Interrupted`.

    With `termination` so does SIGTERM, by which a machine says that it will soon be taken away.
    """
    asked = threading.Event()
    usual = {signal.SIGINT: signal.default_int_handler} | ({signal.SIGTERM: signal.SIG_DFL} if termination else {})
    # Elsewhere than in the main thread no signal arrives, and where another handler is set it is somebody's own wish.
    main = threading.current_thread() is threading.main_thread()
    taken = {number: handler for number, handler in usual.items() if main and signal.getsignal(number) is handler}

    def ask(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    for number in taken:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
