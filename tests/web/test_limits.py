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


def sending(parts: Iterable[bytes], *, every: float = 0.0, disconnects: bool = False) -> Receive:
    """Return a `receive` function that returns the parts, then the end of the body or a disconnect."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append(
        {"type": "http.disconnect"} if disconnects else {"type": "http.request", "body": b"", "more_body": False}
    )
    iterator = iter(messages)

    async def receive() -> Message:
        await asyncio.sleep(every)
        return next(iterator)

    return receive


def request(*headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "headers": [*headers]}


async def refusal_status(receive: Receive, *headers: tuple[bytes, bytes]) -> int:
    with pytest.raises(RefusedRequestError) as raised:
        await read_body(request(*headers), receive, LIMITS)
    return raised.value.status


async def test_body_within_limits_is_read() -> None:
    assert await read_body(request(), sending([b"ab", b"", b"c"]), LIMITS) == b"abc"


async def test_large_bodies_with_or_without_declared_length_get_413() -> None:
    async def never() -> Message:
        raise AssertionError("the body must not be read")

    for length in (b"101", b"9" * 5000, b"-1", b"abc"):
        assert await refusal_status(never, (b"content-length", length)) == 413
    assert await refusal_status(sending([bytes(60), bytes(60)])) == 413
    assert await refusal_status(sending([bytes(60), bytes(60)]), (b"content-length", b"10")) == 413


async def test_compressed_bodies_get_415() -> None:
    assert await refusal_status(sending([]), (b"content-encoding", b"gzip")) == 415
    assert await refusal_status(sending([]), (b"content-encoding", b"identity"), (b"content-encoding", b"br")) == 415
    assert await read_body(request((b"content-encoding", b"Identity")), sending([]), LIMITS) == b""


async def test_slow_bodies_get_408() -> None:
    assert await refusal_status(sending([b"a"] * 100, every=0.05)) == 408
    assert await refusal_status(sending([bytes(20)] * 4, every=0.5)) == 408


async def test_client_disconnect_while_reading_raises() -> None:
    with pytest.raises(ClientDisconnectedError):
        await read_body(request(), sending([b"a"], disconnects=True), LIMITS)


async def test_each_part_is_reserved_before_it_is_stored() -> None:
    reserved: list[int] = []
    await read_body(request(), sending([b"ab", b"c"]), LIMITS, reserved.append)
    assert reserved == [2, 1, 0]

    def refuse(size: int) -> None:
        raise RefusedRequestError(429, "full")

    with pytest.raises(RefusedRequestError, match="full"):
        await read_body(request(), sending([b"ab"]), LIMITS, refuse)


async def test_replayed_body_is_followed_by_messages_of_the_client() -> None:
    receive = replay_body(b"abc", sending([], disconnects=True))
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
def test_request_without_valid_key_gets_401(headers: Headers) -> None:
    with pytest.raises(RefusedRequestError) as raised:
        check_key(headers, {"one", "two"})
    assert raised.value.status == 401
    check_key(headers, ())


def test_each_configured_key_is_accepted() -> None:
    for value in (b"Bearer one", b"bearer  two "):
        check_key([(b"authorization", value)], {"one", "two"})


def test_keys_are_parsed_from_a_comma_separated_list() -> None:
    assert parse_keys(" one ,,two, ") == {"one", "two"}
    assert parse_keys("") == frozenset()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_listening_beyond_loopback_needs_a_key(host: str) -> None:
    with pytest.raises(InvalidInputError, match="no API key is set"):
        check_listen_address(host, ())
    check_listen_address(host, {"key"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_listening_on_loopback_needs_no_key(host: str) -> None:
    check_listen_address(host, ())
