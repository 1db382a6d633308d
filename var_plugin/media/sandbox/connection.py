"""How `media.sandbox.client` and its child talk: JSON messages, some followed by the bytes of one array, over a socket.

Nothing is pickled: a decoder that a hostile file has taken over must not be able to run code in the process that asked.
Arrays are received where they stay; `multiprocessing.Connection` would copy each image three times.
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
_LONGEST_MESSAGE = 1 << 20
_DTYPES = {"uint8": np.uint8, "float32": np.float32}


class Connection:
    """One end of the connection.

    Args:
        end: a connected socket.
        patience: seconds that the other end may stop in the middle of a message; None: for ever.
    """

    def __init__(self, end: socket.socket, patience: float | None = None) -> None:
        self._end = end
        self._end.settimeout(patience)

    def wait(self, seconds: float) -> bool:
        """Wait for the beginning of a message, or the end of the connection; False when neither came in time."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(math.ceil(seconds * 1000)))

    def send(self, message: dict[str, Any], array: NDArray[Any] | None = None) -> None:
        """Send a message, and an array of uint8 or float32 with it.

        Raises:
            OSError: the other end is gone.
        """
        if array is not None:
            message = message | {"shape": array.shape, "dtype": array.dtype.name}
        content = json.dumps(message).encode()
        head = memoryview(_LENGTH.pack(len(content)) + content)
        body = np.ascontiguousarray(array).data.cast("B") if array is not None and array.size else memoryview(b"")
        sent = self._end.sendmsg([head, body])  # both at once, so that the other end wakes up once
        self._end.sendall(head[sent:])
        self._end.sendall(body[max(0, sent - len(head)) :])

    def receive(self, largest: int = 0) -> tuple[dict[str, Any], NDArray[Any]]:
        """Take in a message and its array, which is empty where there is none.

        Args:
            largest: so many items may an array have.

        Raises:
            EOFError, OSError: the other end is gone; TimeoutError among them: it stopped in the middle.
            ValueError: it broke the form.
        """
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _LONGEST_MESSAGE:
            raise ValueError("a message that is too long")
        message = json.loads(self._exactly(length))
        if not isinstance(message, dict):
            raise ValueError("a message that is no object")  # noqa: TRY004
        shape, dtype = message.get("shape", [0]), _DTYPES.get(message.get("dtype", "uint8"))
        if not _is_shape(shape, largest) or dtype is None:
            raise ValueError("an array of another kind or size")
        array = np.empty(shape, dtype)
        if array.size:
            self._fill(array.data.cast("B"))
        return message, array

    def close(self) -> None:
        """End the connection."""
        self._end.close()

    def _exactly(self, count: int) -> bytes:
        content = bytearray(count)
        self._fill(memoryview(content))
        return bytes(content)

    def _fill(self, rest: memoryview) -> None:
        while rest:
            received = self._end.recv_into(rest)
            if not received:
                raise EOFError
            rest = rest[received:]


def _is_shape(shape: object, largest: int) -> bool:
    return (
        isinstance(shape, list)
        and all(isinstance(length, int) and length >= 0 for length in shape)
        and math.prod(shape) <= largest
    )
