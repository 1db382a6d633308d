"""The connection between the sandbox and its parent: a socket for messages, and shared memory for small images.

A message is JSON, optionally followed by the bytes of one array. Nothing is pickled: a compromised decoder must not be
able to run code in the parent process. Arrays are received directly into their memory. `multiprocessing.Connection`
would copy each image three times.
"""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import select
import socket
import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct(">I")
_MAX_MESSAGE_BYTES = 1 << 20
_DTYPES = {"uint8": np.uint8, "float32": np.float32}

HALVES = 2
"""Parts of the shared memory."""
HALF_BYTES = 2 << 20
"""Bytes of one part."""


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


class SharedBuffer:
    """One process's view of shared memory, through which the sandbox hands small images to its parent.

    The memory has two halves: the child fills one while the parent reads the other. The parent copies what it reads, so
    the child cannot change an image afterwards. The size of the memory is sealed, so the child cannot shrink it under a
    reader.

    Args:
        descriptor: file descriptor of the memory that the other process created. None: create it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("var-plugin-images", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, HALVES * HALF_BYTES)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.descriptor = descriptor
        self._memory = np.frombuffer(mmap.mmap(descriptor, HALVES * HALF_BYTES), np.uint8).reshape(HALVES, HALF_BYTES)

    def write(self, half: int, start: int, image: NDArray[np.uint8]) -> None:
        """Write an image into a half, `start` bytes from the beginning of that half."""
        self._memory[half, start : start + image.nbytes] = image.reshape(-1)

    def read(self, half: int, shapes: Sequence[Sequence[int]]) -> list[NDArray[np.uint8]]:
        """Return copies of the images that lie one after the other in a half.

        Args:
            half: index of the half.
            shapes: shape of each image.

        Raises:
            ValueError: the half does not exist or cannot hold images of these shapes.
        """
        sizes = [math.prod(shape) for shape in shapes]
        if half not in range(HALVES) or any(length < 0 for shape in shapes for length in shape):
            raise ValueError("no such images in the shared buffer")
        ends = list(accumulate(sizes, initial=0))
        if ends[-1] > HALF_BYTES:
            raise ValueError("the images are larger than the shared buffer")
        content = self._memory[half, : ends[-1]].copy()
        return [
            content[start : start + size].reshape(shape)
            for start, size, shape in zip(ends[:-1], sizes, shapes, strict=True)
        ]

    def close(self) -> None:
        """Close the descriptor. The memory is freed with its last view."""
        os.close(self.descriptor)


def _is_shape(shape: object, max_items: int) -> bool:
    return (
        isinstance(shape, list)
        and all(isinstance(length, int) and length >= 0 for length in shape)
        and math.prod(shape) <= max_items
    )
