from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from var_plugin.errors import InvalidInputError
from var_plugin.web.limits import (
    BodyLimits,
    ClientDisconnectedError,
    check_key,
    check_listen_address,
    parse_keys,
    read_body,
    replay_body,
)
from var_plugin.web.same_origin import Headers, Message, Receive, RefusedRequestError, Scope

LIMITS = BodyLimits(max_bytes=100, grace_seconds=0.2, min_rate=100.0, max_seconds=1.0)


def sending(parts: Iterable[bytes], *, every: float = 0.0, leaves: bool = False) -> Receive:
    """Sends the parts, and then either nothing more or that it has left."""
    rest = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    rest.append({"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b"", "more_body": False})
    messages = iter(rest)

    async def receive() -> Message:
        await asyncio.sleep(every)
        return next(messages)

    return receive


def request(*headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "headers": [*headers]}


async def refusal(receive: Receive, *headers: tuple[bytes, bytes]) -> int:
    with pytest.raises(RefusedRequestError) as refused:
        await read_body(request(*headers), receive, LIMITS)
    return refused.value.status


async def test_a_body_within_the_limits_is_read() -> None:
    assert await read_body(request(), sending([b"ab", b"", b"c"]), LIMITS) == b"abc"


async def test_large_bodies_are_refused_declared_or_not() -> None:
    async def never() -> Message:
        raise AssertionError("nothing of it is read")

    for length in (b"101", b"9" * 5000, b"-1", b"abc"):
        assert await refusal(never, (b"content-length", length)) == 413
    assert await refusal(sending([bytes(60), bytes(60)])) == 413
    assert await refusal(sending([bytes(60), bytes(60)]), (b"content-length", b"10")) == 413


async def test_compressed_bodies_are_refused() -> None:
    assert await refusal(sending([]), (b"content-encoding", b"gzip")) == 415
    assert await refusal(sending([]), (b"content-encoding", b"identity"), (b"content-encoding", b"br")) == 415
    assert await read_body(request((b"content-encoding", b"Identity")), sending([]), LIMITS) == b""


async def test_slow_bodies_are_refused() -> None:
    assert await refusal(sending([b"a"] * 100, every=0.05)) == 408
    assert await refusal(sending([bytes(20)] * 4, every=0.5)) == 408


async def test_a_client_that_leaves_is_no_answer() -> None:
    with pytest.raises(ClientDisconnectedError):
        await read_body(request(), sending([b"a"], leaves=True), LIMITS)


async def test_each_part_is_reserved_before_it_is_kept() -> None:
    reserved: list[int] = []
    await read_body(request(), sending([b"ab", b"c"]), LIMITS, reserved.append)
    assert reserved == [2, 1, 0]

    def refuse(size: int) -> None:
        raise RefusedRequestError(429, "full")

    with pytest.raises(RefusedRequestError, match="full"):
        await read_body(request(), sending([b"ab"]), LIMITS, refuse)


async def test_the_application_reads_the_body_once_and_then_what_the_client_does() -> None:
    receive = replay_body(b"abc", sending([], leaves=True))
    assert await receive() == {"type": "http.request", "body": b"abc", "more_body": False}
    assert await receive() == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer k\xe9y")],
        [(b"authorization", b"Basic one")],
        [(b"authorization", b"Bearer one two")],
        [(b"authorization", b"Bearer one"), (b"authorization", b"Bearer one")],
    ],
)
def test_a_request_needs_a_key(headers: Headers) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        check_key(headers, {"one", "two"})
    assert refused.value.status == 401
    check_key(headers, ())


def test_any_key_opens() -> None:
    for value in (b"Bearer one", b"bearer  two "):
        check_key([(b"authorization", value)], {"one", "two"})


def test_keys_are_separated_by_commas() -> None:
    assert parse_keys(" one ,,two, ") == {"one", "two"}
    assert parse_keys("") == frozenset()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_no_server_listens_beyond_this_machine_without_a_key(host: str) -> None:
    with pytest.raises(InvalidInputError, match="no API key is set"):
        check_listen_address(host, ())
    check_listen_address(host, {"key"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    check_listen_address(host, ())
