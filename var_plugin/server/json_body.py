"""Parsing of JSON bodies, bounded before the first object is built."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from var_plugin.server.pools import Pool

MAX_VALUES = 20_000
"""Members of all objects and elements of all arrays of one body."""

MAX_DEPTH = 32
"""Objects and arrays inside each other."""

_MARK = re.compile(rb'["\[\]{},]')
# Between two marks lie a number, a word, a colon or white space.
_MAX_GAP = 4096
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LARGE_BYTES = 64 * 1024


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON document.

    Raises:
        HTTPException: 413, it holds more values than the limit; 400, it is nested too deep, not JSON, or holds text
            that is not Unicode.
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
    """Count values and depth without building anything; strings are skipped whole."""
    position = values = depth = 0
    while True:
        mark = _MARK.search(body, position, position + _MAX_GAP)
        if mark is None:
            if position + _MAX_GAP < len(body):
                raise HTTPException(400, f"the body is not JSON: no value is as long as {_MAX_GAP} bytes")
            return
        position = mark.end()
        match mark[0]:
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
                413, f"the body holds more than {MAX_VALUES} values; send texts, not token ids, and several requests"
            )
        if depth > MAX_DEPTH:
            raise HTTPException(400, f"the body is nested more than {MAX_DEPTH} levels deep")


def _end_of_string(body: bytes, start: int) -> int:
    """Return the position after the quotation mark that ends the string; the end of the body where none does."""
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
    """Raise 400 for half of a surrogate pair, as clients leave that cut an emoji in two."""
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise HTTPException(
                    400, "a text of the body is not Unicode: it holds half of a surrogate pair, such as half an emoji"
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


def bounded_route(documents: Pool) -> type[APIRoute]:
    """Return a class of routes whose JSON bodies are parsed by `parse_json`, large ones in a thread."""

    class BoundedRequest(Request):
        async def json(self) -> Any:
            if not hasattr(self, "_json"):
                body = await self.body()
                is_large = len(body) > _LARGE_BYTES
                self._json = await documents.run(parse_json, body) if is_large else parse_json(body)
            return self._json

    class BoundedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def bounded(request: Request) -> Response:
                return await handler(BoundedRequest(request.scope, request.receive))

            return bounded

    return BoundedRoute
