from __future__ import annotations

import json
import os
import socket
import struct

import numpy as np
import pytest

from tests.films import textured
from var_plugin.media.sandbox.connection import HALF_BYTES, HALVES, Connection, SharedBuffer


@pytest.fixture
def ends() -> tuple[socket.socket, Connection]:
    """Return a raw socket, which may send anything, and a Connection at its other end."""
    raw, end = socket.socketpair()
    return raw, Connection(end, timeout=0.2)


def packed(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def test_messages_and_arrays_are_received_unchanged() -> None:
    one, two = map(Connection, socket.socketpair())
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    one.send({"values": {"time": 1.5}}, image[:, ::-1])
    one.send({"done": True})
    one.send({"values": {}}, np.zeros(0, np.float32))
    message, array = two.receive(24)
    assert message["values"] == {"time": 1.5}
    assert np.array_equal(array, image[:, ::-1])
    assert array.flags.writeable
    message, array = two.receive()
    assert (message, array.size) == ({"done": True}, 0)
    assert two.receive()[1].dtype == np.float32


@pytest.mark.parametrize(
    "content",
    [
        b"no json", b"[]", b'{"shape": [4, 4, 4]}', b'{"shape": [-1, -1]}', b'{"shape": "many"}', b'{"shape": [1.5]}',
        json.dumps({"shape": [1 << 40]}).encode(), b'{"shape": [1], "dtype": "object"}',
    ],
)  # fmt: skip
def test_malformed_messages_are_refused(ends: tuple[socket.socket, Connection], content: bytes) -> None:
    raw, connection = ends
    raw.sendall(packed(content))
    with pytest.raises(ValueError):
        connection.receive(10)


def test_too_long_message_is_refused(ends: tuple[socket.socket, Connection]) -> None:
    raw, connection = ends
    raw.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="too long"):
        connection.receive()


def test_closed_and_stalled_connections_have_different_errors(ends: tuple[socket.socket, Connection]) -> None:
    raw, connection = ends
    raw.sendall(packed(b"{}")[:-1])
    assert connection.wait(1.0)
    with pytest.raises(TimeoutError):
        connection.receive()
    raw.close()
    with pytest.raises(EOFError):
        connection.receive()


def test_wait_ends_with_a_message_or_on_timeout() -> None:
    one, two = map(Connection, socket.socketpair())
    assert not two.wait(0.01)
    one.send({})
    assert two.wait(10.0)


def test_images_written_on_one_side_are_read_on_the_other() -> None:
    parent = SharedBuffer()
    child = SharedBuffer(os.dup(parent.descriptor))
    large, small = textured(1), textured(2, 16, 8)
    for half in range(HALVES):
        child.write(half, 0, large[::-1])
        child.write(half, large.nbytes, small)
    first, second = parent.read(1, [large.shape, small.shape])
    child.write(1, 0, np.zeros_like(large))
    assert np.array_equal(first, large[::-1]), "images that were read do not change"
    assert np.array_equal(second, small)
    assert np.array_equal(parent.read(0, [large.shape])[0], large[::-1])
    assert parent.read(0, []) == []


@pytest.mark.parametrize(
    ("half", "shapes"),
    [
        (HALVES, [[1]]), (-1, [[1]]), (0.5, [[1]]), (0, [[HALF_BYTES + 1]]), (0, [[HALF_BYTES], [1]]),
        (0, [[1 << 40, 1 << 40]]), (0, [[-1, -1]]),
    ],
)  # fmt: skip
def test_invalid_halves_and_shapes_are_refused(half: int, shapes: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="shared buffer"):
        SharedBuffer().read(half, shapes)


def test_size_of_the_buffer_is_sealed() -> None:
    """Memory that shrinks while it is read crashes the reader."""
    buffer = SharedBuffer()
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.descriptor, 0)
    buffer.close()
    assert buffer.read(0, [[4]])[0].tolist() == [0, 0, 0, 0]
