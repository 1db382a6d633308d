from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from var_plugin.ingest.signals import hold_back, let_through


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_and_then_comes() -> None:
    hold_back()
    hold_back()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        let_through()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    let_through()


def test_nothing_came() -> None:
    hold_back()
    let_through()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_does_not_wait() -> None:
    hold_back()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    let_through()


def test_what_others_do_with_it_stays() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hold_back()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_leave_it_alone() -> None:
    thread = threading.Thread(target=hold_back)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
