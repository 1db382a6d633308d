"""Deferred SIGINT: Ctrl-C does not interrupt the write of a video, so that no partial video is stored.

A KeyboardInterrupt during a call to the store could also leave a gRPC lock held, and block other threads.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def defer_sigint() -> Iterator[None]:
    """Defer SIGINT (Ctrl-C) to the end of a `with` block. A second SIGINT interrupts at once.

    The block has no effect in threads other than the main thread, inside another such block, and where SIGINT has a
    handler other than Python's own.

    Raises:
        KeyboardInterrupt: SIGINT arrived during the block.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    is_pending = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal is_pending
        if is_pending:
            is_pending = False
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.default_int_handler(number, frame)
        is_pending = True

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if is_pending:
            raise KeyboardInterrupt
