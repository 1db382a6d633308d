"""Parse JSON bodies. Their structure is checked against limits before any object is built."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from var_plugin.server.pools import ThreadPool

MAX_VALUES = 20_000
"""Maximum total number of object members and array elements in a body."""

MAX_DEPTH = 32
"""Maximum nesting depth of objects and arrays."""

_STRUCTURE = re.compile(rb'["\[\]{},]')
# Two structural characters are separated by a number, a literal, a colon or white space only.
_MAX_GAP = 4096
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_THREAD_MIN_BYTES = 64 * 1024


def parse_json(body: bytes) -> Any:
    """Parse a JSON document.

    Raises:
        HTTPException: 413, the document has too many values. 400, it is nested too deeply, is not JSON, or contains
            text that is not valid Unicode.
    """
    _check_structure(body)
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if _SURROGATE_ESCAPE.search(body):
        _check_unicode(value)
    return value


def _check_structure(body: bytes) -> None:
    """Count values and depth without building objects. Strings are skipped."""
    position = values = depth = 0
    while True:
        character = _STRUCTURE.search(body, position, position + _MAX_GAP)
        if character is None:
            if position + _MAX_GAP < len(body):
                raise HTTPException(400, f"the body is not JSON: a number or a literal is longer than {_MAX_GAP} bytes")
            return
        position = character.end()
        match character[0]:
            case b'"':
                position = _end_of_string(body, position)
                continue
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}":
                depth -= 1
                continue
        values += 1
        if values > MAX_VALUES:
            raise HTTPException(
                413, f"the body has more than {MAX_VALUES} values; send texts, not token ids, or split the request"
            )
        if depth > MAX_DEPTH:
            raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")


def _end_of_string(body: bytes, start: int) -> int:
    """Return the position after the closing quotation mark of a string, or the end of the body."""
    position = start
    while True:
        quote = body.find(b'"', position)
        if quote < 0:
            return len(body)
        before = quote
        while before > start and body[before - 1] == ord("\\"):
            before -= 1
        position = quote + 1
        if (quote - before) % 2 == 0:
            return position


def _check_unicode(value: Any) -> None:
    """Raise 400 if a string has half of a surrogate pair. Clients produce one when they cut a text inside an emoji."""
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise HTTPException(
                    400,
                    "a text in the body is not valid Unicode: half of a surrogate pair, such as half an emoji",
                ) from error
        case list():
            for element in value:
                _check_unicode(element)
        case dict():
            for name, element in value.items():
                _check_unicode(name)
                _check_unicode(element)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def bounded_route(pool: ThreadPool) -> type[APIRoute]:
    """Return a route class that parses JSON bodies with `parse_json`. Large bodies are parsed in a thread of `pool`."""

    class BoundedRequest(Request):
        async def json(self) -> Any:
            if not hasattr(self, "_json"):
                body = await self.body()
                is_large = len(body) > _THREAD_MIN_BYTES
                self._json = await pool.run(parse_json, body) if is_large else parse_json(body)
            return self._json

    class BoundedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def bounded(request: Request) -> Response:
                return await handler(BoundedRequest(request.scope, request.receive))

            return bounded

    return BoundedRoute
