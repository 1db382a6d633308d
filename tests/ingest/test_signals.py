from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from var_plugin.ingest.signals import defer_sigint


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_sigint_interrupts_at_the_end_of_the_outermost_block() -> None:
    stack = ExitStack()
    stack.enter_context(defer_sigint())
    with defer_sigint():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stack.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with defer_sigint():
        pass


def test_without_sigint_the_handler_is_restored() -> None:
    with defer_sigint():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_sigint_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), defer_sigint():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal did not interrupt")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_caller_is_kept() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with defer_sigint():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_do_not_change_the_handler() -> None:
    handlers: list[object] = []

    def work() -> None:
        with defer_sigint():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
