"""Ctrl-C while a video is written: it waits until all is written and told, for half a video is none.

Nor may it come between a call to the store and its answer: gRPC would keep a lock that another thread waits for.
Only Python's own handling of the signal is put off, in the main thread, where it would raise KeyboardInterrupt between
any two steps. A second Ctrl-C does so nevertheless.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_came = threading.Event()


def hold_back() -> None:
    """Put Ctrl-C off until `let_through`."""
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remember)


def let_through() -> None:
    """Let Ctrl-C interrupt again, at once if it came meanwhile.

    Raises:
        KeyboardInterrupt: it did.
    """
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is _remember:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if _came.is_set():
            _came.clear()
            raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Put Ctrl-C off until the end of a `with` block, and no longer, also inside another one.

    Raises:
        KeyboardInterrupt: it came meanwhile.
    """
    hold_back()
    try:
        yield
    finally:
        let_through()


def _remember(number: int, frame: FrameType | None) -> None:
    if _came.is_set():
        _came.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.default_int_handler(number, frame)
    _came.set()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
