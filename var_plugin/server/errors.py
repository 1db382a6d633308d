"""Error responses: the HTTP status of each error class, and OpenAI's error body."""

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
    errors.InvalidSettingError: 503,
    errors.MissingDependencyError: 503,
    errors.FingerprintMismatchError: 503,
    errors.AssistantError: 503,
    errors.EmbeddingServerError: 503,
    errors.InvalidVectorError: 500,
    errors.BrokenInstallationError: 500,
}
"""HTTP status of each error class of the package. Other errors: 500."""

_MAX_MESSAGE_LENGTH = 1000
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class RequestTooLargeError(errors.InvalidInputError):
    """A request exceeds a limit of the server."""


_TOO_LARGE = frozenset({"too_long", "string_too_long", "bytes_too_long"})
"""Types of pydantic errors that are answered with 413."""


class ErrorDetail(Value):
    """An error in the format of OpenAI's clients."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Value):
    """Body of every error response."""

    error: ErrorDetail


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a response with an `ErrorBody`.

    Args:
        status: HTTP status.
        message: one line for the client.
        param: the field that is wrong.
        code: name of the error class in snake case.
        headers: additional headers.
    """
    error_type = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    body = ErrorBody(error=ErrorDetail(message=message, type=error_type, param=param, code=code))
    return JSONResponse(body.model_dump(), status, headers)


def render_error(status: int, reason: str) -> tuple[str, bytes]:
    """Format a refusal of a middleware as an `ErrorBody`."""
    return "application/json", bytes(error_response(status, reason).body)


def add_handlers(app: FastAPI) -> None:
    """Add exception handlers, so that every error response has an `ErrorBody`."""
    app.add_exception_handler(VarPluginError, _handle_package_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(Exception, _handle_unexpected_error)


async def _handle_package_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, VarPluginError):  # narrows the type; the handler is registered for this class only
        raise TypeError(type(error))
    status = 413 if isinstance(error, RequestTooLargeError) else STATUS.get(type(error), 500)
    if status >= 500:
        return _internal_error(request, error, status)
    # Do not reveal the path of the workspace.
    message = str(error).replace(f"{request.app.state.workspace}/", "")
    return error_response(status, _shorten(message), code=_code(error))


async def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError(type(error))
    # The location begins with the part of the request: body, query or path.
    first = field_errors(error, inside=1)[0]
    status = 413 if error.errors()[0]["type"] in _TOO_LARGE else 400
    return error_response(status, _shorten(str(first)), param=_shorten(first.place) or None)


async def _handle_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError(type(error))
    return error_response(error.status_code, _shorten(error.detail), headers=error.headers)


async def _handle_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    return _internal_error(request, error, 500)


def _internal_error(request: Request, error: Exception, status: int) -> JSONResponse:
    """Log the error with its traceback. The client gets only a reference: messages can contain paths and addresses."""
    reference = uuid4().hex[:12]
    # ascii escapes line breaks and other control characters in the path.
    logger.error("%s %s failed (%s)", request.method, ascii(request.url.path), reference, exc_info=error)
    message = f"internal error; the server log has the details under {reference}"
    return error_response(status, message, code=_code(error))


def _shorten(text: str) -> str:
    """Replace control characters and limit the length of a message, which may quote the client's input."""
    head = text[: _MAX_MESSAGE_LENGTH + 1]
    printable = "".join(character if character.isprintable() else "?" for character in head)
    return printable if len(printable) <= _MAX_MESSAGE_LENGTH else printable[:_MAX_MESSAGE_LENGTH] + "…"


def _code(error: Exception) -> str:
    """Return the class name of an error in snake case: `StoreError` gives `store_error`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
