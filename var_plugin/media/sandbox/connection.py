"""Messages between the sandbox and its parent: JSON, optionally followed by the bytes of one array, over a socket.

Nothing is pickled: a compromised decoder must not be able to run code in the parent process. Arrays are received
directly into their memory. `multiprocessing.Connection` would copy each image three times.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct(">I")
_MAX_MESSAGE_BYTES = 1 << 20
_DTYPES = {"uint8": np.uint8, "float32": np.float32}


class Connection:
    """One end of a connection.

    Args:
        end: a connected socket.
        timeout: seconds that the other end may pause in the middle of a message. None: no limit.
    """

    def __init__(self, end: socket.socket, timeout: float | None = None) -> None:
        self._end = end
        self._end.settimeout(timeout)

    def wait(self, seconds: float) -> bool:
        """Wait for a message or for the end of the connection. Return False on timeout."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(math.ceil(seconds * 1000)))

    def send(self, message: dict[str, Any], array: NDArray[Any] | None = None) -> None:
        """Send a message and optionally an array of uint8 or float32.

        Raises:
            OSError: the connection is closed.
        """
        if array is not None:
            message = message | {"shape": array.shape, "dtype": array.dtype.name}
        content = json.dumps(message).encode()
        head = memoryview(_LENGTH.pack(len(content)) + content)
        body = np.ascontiguousarray(array).data.cast("B") if array is not None and array.size else memoryview(b"")
        sent = self._end.sendmsg([head, body])  # one call, so that the other end wakes up once
        self._end.sendall(head[sent:])
        self._end.sendall(body[max(0, sent - len(head)) :])

    def receive(self, max_items: int = 0) -> tuple[dict[str, Any], NDArray[Any]]:
        """Receive a message and its array, which is empty if the message has none.

        Args:
            max_items: largest allowed number of array items.

        Raises:
            EOFError, OSError: the connection is closed.
            TimeoutError: the other end paused in the middle of a message.
            ValueError: the message is malformed.
        """
        (length,) = _LENGTH.unpack(self._receive_bytes(_LENGTH.size))
        if length > _MAX_MESSAGE_BYTES:
            raise ValueError("the message is too long")
        message = json.loads(self._receive_bytes(length))
        if not isinstance(message, dict):
            raise ValueError("the message is not a JSON object")  # noqa: TRY004
        shape, dtype = message.get("shape", [0]), _DTYPES.get(message.get("dtype", "uint8"))
        if not _is_shape(shape, max_items) or dtype is None:
            raise ValueError("the array has an invalid shape, size or dtype")
        array = np.empty(shape, dtype)
        if array.size:
            self._receive_into(array.data.cast("B"))
        return message, array

    def close(self) -> None:
        """Close the connection."""
        self._end.close()

    def _receive_bytes(self, count: int) -> bytes:
        content = bytearray(count)
        self._receive_into(memoryview(content))
        return bytes(content)

    def _receive_into(self, rest: memoryview) -> None:
        while rest:
            count = self._end.recv_into(rest)
            if not count:
                raise EOFError
            rest = rest[count:]


def _is_shape(shape: object, max_items: int) -> bool:
    return (
        isinstance(shape, list)
        and all(isinstance(length, int) and length >= 0 for length in shape)
        and math.prod(shape) <= max_items
    )
