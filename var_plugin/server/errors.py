"""How failures look to a client: one table from error classes to HTTP status, and OpenAI's error body."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from var_plugin import errors
from var_plugin.errors import VarPluginError, field_errors
from var_plugin.types import Value

logger = logging.getLogger(__name__)

STATUS: Mapping[type[VarPluginError], int] = {
    errors.InvalidInputError: 400,
    errors.UnsupportedModalityError: 400,
    errors.EmptyMediaError: 400,
    errors.UnreadableMediaError: 400,
    errors.TruncatedMediaError: 400,
    errors.NoVideoStreamError: 400,
    errors.NoAudioStreamError: 400,
    errors.NoVideosFoundError: 400,
    errors.BrokenTimestampsError: 400,
    errors.PlaylistError: 400,
    errors.DecodingTimeoutError: 400,
    errors.DecodingMemoryError: 400,
    errors.DecoderCrashedError: 400,
    errors.TooManyPixelsError: 413,
    errors.TooManyFramesError: 413,
    errors.TooLongMediaError: 413,
    errors.TooManyStreamsError: 413,
    errors.UnknownSuiteError: 404,
    errors.UnknownVideoError: 404,
    errors.MediaNotFoundError: 404,
    errors.ChangedMediaError: 404,
    errors.IndexUnavailableError: 503,
    errors.StoreError: 503,
    errors.EngineError: 503,
    errors.MissingWeightsError: 503,
    errors.MissingDependencyError: 503,
    errors.FingerprintMismatchError: 503,
    errors.AssistantError: 503,
    errors.InvalidVectorError: 500,
    errors.BrokenInstallationError: 500,
}
"""The status of each error of the package; 500 for one that is not listed."""

_LONGEST_MESSAGE = 1000
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class RequestTooLargeError(errors.InvalidInputError):
    """A request holds more than the limits of the server."""


_TOO_LARGE = frozenset({"too_long", "string_too_long", "bytes_too_long"})
"""Kinds of pydantic's errors that stand for a limit."""


class ErrorDetail(Value):
    """What went wrong, in the shape that OpenAI's clients read."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Value):
    """The body of every answer that is no success."""

    error: ErrorDetail


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error as OpenAI's clients expect it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    body = ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code))
    return JSONResponse(body.model_dump(), status, headers)


def render_error(status: int, reason: str) -> tuple[str, bytes]:
    """Format a refusal of the middleware as an `ErrorBody`."""
    return "application/json", bytes(error_response(status, reason).body)


def add_handlers(app: FastAPI) -> None:
    """Let the app answer every failure with an `ErrorBody`."""
    app.add_exception_handler(VarPluginError, _own_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected_error)


async def _own_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, VarPluginError):  # the handler is registered for nothing else
        raise TypeError(type(error))
    status = 413 if isinstance(error, RequestTooLargeError) else STATUS.get(type(error), 500)
    if status >= 500:
        return _internal(request, error, status)
    # Where this server put a file for decoding is nobody's business.
    message = str(error).replace(f"{request.app.state.workspace}/", "")
    return error_response(status, _cut(message), code=_code(error))


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError(type(error))
    # A place begins with the part of the request: body, query, path.
    first = field_errors(error, inside=1)[0]
    status = 413 if error.errors()[0]["type"] in _TOO_LARGE else 400
    return error_response(status, _cut(str(first)), param=_cut(first.place) or None)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError(type(error))
    return error_response(error.status_code, _cut(error.detail), headers=error.headers)


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    return _internal(request, error, 500)


def _internal(request: Request, error: Exception, status: int) -> JSONResponse:
    """Tell the log everything and the client only where in the log it is: causes hold paths and addresses."""
    reference = uuid4().hex[:12]
    # ascii: a path may hold line breaks and other control characters.
    logger.error("%s %s failed (%s)", request.method, ascii(request.url.path), reference, exc_info=error)
    message = f"the server could not answer; its log says why under {reference}"
    return error_response(status, message, code=_code(error))


def _cut(text: str) -> str:
    """Return a text without control characters and of a bounded length: it may quote what a client sent."""
    printable = "".join(character if character.isprintable() else "?" for character in text[: _LONGEST_MESSAGE + 1])
    return printable if len(printable) <= _LONGEST_MESSAGE else printable[:_LONGEST_MESSAGE] + "…"


def _code(error: Exception) -> str:
    """From StoreError to store_error."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
