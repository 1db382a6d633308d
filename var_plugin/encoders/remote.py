"""Text and images in one space, encoded by a server with an OpenAI-compatible embeddings API.

The API has no standard form for images. At load, three forms are tried with small images:

| form | request | servers |
|---|---|---|
| `content` | `{"input": [{"content": [PART]}, …]}` | llama.cpp |
| `messages` | `{"messages": [{"role": "user", "content": [PART]}]}`, one input per request | vLLM |
| `uri` | `{"input": [DATA_URI, …], "modality": "image"}` | infinity, var-plugin |

PART is a content part of OpenAI's chat API. Texts are sent in the same form as images, because a server may apply a
chat template to one form only.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from threading import Event, Thread
from typing import Any, Literal, TypeVar

import httpx
import numpy as np
from PIL import Image
from pydantic import BaseModel, ValidationError

from var_plugin.config import ModelOptions, is_loopback
from var_plugin.encoders.base import ImageArray, Space, Vectors, l2_normalize
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import (
    EmbeddingServerError,
    InvalidInputError,
    InvalidSettingError,
    UnsupportedModalityError,
    field_errors,
)
from var_plugin.types import Modality

logger = logging.getLogger(__name__)

Form = Literal["content", "messages", "uri"]

_FORMS: tuple[Form, ...] = ("content", "messages", "uri")
"""`uri` is last: a server without images may embed the text of the URI."""
_BATCH: dict[Modality, int] = {"text": 32, "image": 16}
_CONCURRENT_REQUESTS = 8
_SIZE = 384
"""Height and width of the images that are sent. The model of the server resizes them."""

_CONNECT_SECONDS = 10.0
_FIRST_WAIT, _MAX_WAIT, _MAX_RETRY_AFTER = 0.5, 8.0, 120.0
"""Seconds: first and longest wait between attempts, and the longest that a server may ask for."""
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_NOT_THIS_FORM = frozenset({400, 413, 415, 422, 500, 501})
_MAX_QUOTE = 200
_NEVER = Event()

_PROBE_TEXT = "a street at night"
# Cosine distances. Different images differ by at least the minimum, and encodings of one image by a tenth of that at
# most, unless the server ignores images or embeds the text of a data URI.
_MIN_DISTANCE, _MAX_RATIO = 1e-3, 0.1


class _Embedding(BaseModel):
    index: int
    embedding: list[float]


class _Embeddings(BaseModel):
    model: str | None = None
    data: list[_Embedding]


class _ListedModel(BaseModel):
    id: str
    fingerprint: str = ""
    """Sent by var-plugin only."""


class _ListedModels(BaseModel):
    data: list[_ListedModel]


Schema = TypeVar("Schema", bound=BaseModel)


def pinned_model(name: str, options: ModelOptions) -> str:
    """Return `URL#MODEL` for `URL` or `URL#MODEL`. Without a model, the server must have exactly one.

    Raises:
        InvalidInputError: it is not the URL of a server, or the server has several models.
        EmbeddingServerError: the server does not answer, or lists no model.
    """
    url, model = _split(name)
    if not model:
        listed = [entry.id for entry in EmbeddingServer(url, options).models()]
        if not listed:
            raise EmbeddingServerError(f"{url} lists no model", fix=f"name one: remote:{url}#MODEL")
        if len(listed) > 1:
            raise InvalidInputError(
                f"{url} has {len(listed)} models",
                why=", ".join(listed)[:_MAX_QUOTE],
                fix=f"name one: remote:{url}#{listed[0]}",
            )
        (model,) = listed
    return f"{url}#{model}"


def build(name: str, options: ModelOptions) -> dict[str, SpaceEncoders]:
    """Return the space of a model on a server, `URL#MODEL`. The server is asked for a text and for images.

    Raises:
        EmbeddingServerError: the server does not answer, or its answer cannot be used.
        UnsupportedModalityError: the model takes no images.
    """
    url, model = _split(name)
    remote = RemoteModel(EmbeddingServer(url, options), model)
    space = Space("scene", remote.dim, "IP", frozenset(("text", "image", "video")), remote.fingerprint)
    return {"scene": SpaceEncoders(space, text=RemoteTexts(remote), image=RemoteImages(remote))}


class EmbeddingServer:
    """A connection to a server.

    Args:
        url: base URL of the API, such as http://localhost:8000/v1.
        options: API key, timeout and number of retries.

    Raises:
        InvalidSettingError: the API key cannot be sent.
    """

    def __init__(self, url: str, options: ModelOptions) -> None:
        self.url = url
        self._retries = options.remote_retries
        self._key = options.remote_api_key.get_secret_value().strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise InvalidSettingError(
                "the API key in VAR_PLUGIN_REMOTE_API_KEY cannot be sent",
                why="it has characters other than printable ASCII",
                fix="correct it",
            )
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(options.remote_timeout, connect=min(options.remote_timeout, _CONNECT_SECONDS)),
        )

    def models(self) -> list[_ListedModel]:
        """Return the models that the server lists. Empty if it cannot list them."""
        response = self._request("GET", "models")
        return [] if response.status_code in (404, 405) else self._parse(response, _ListedModels).data

    def embed(self, body: dict[str, Any], inputs: int, stop: Event = _NEVER) -> tuple[str | None, Vectors]:
        """Return the name of the model and L2-normalised vectors (inputs, dim) float32, in the order of the inputs.

        Args:
            body: the request.
            inputs: number of inputs in the request.
            stop: once it is set, the request is not repeated.

        Raises:
            EmbeddingServerError: the server does not answer or refuses, or a vector is missing or unusable.
        """
        return self._vectors(self._request("POST", "embeddings", body, stop), inputs)

    def try_to_embed(self, body: dict[str, Any], inputs: int) -> Vectors | str:
        """Return the vectors of `embed`, or the answer of a server that does not support a request of this form."""
        response = self._request("POST", "embeddings", body)
        return self._quote(response) if response.status_code in _NOT_THIS_FORM else self._vectors(response, inputs)[1]

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, stop: Event = _NEVER
    ) -> httpx.Response:
        """Return the response, which may be an error. Repeat the request while the server is busy or does not answer.

        Raises:
            EmbeddingServerError: there is no response.
        """
        attempt = 0
        while True:
            wait = min(_MAX_WAIT, _FIRST_WAIT * 2**attempt)
            try:
                response = self._client.request(method, path, json=body)
            except httpx.RequestError as error:
                if attempt == self._retries or stop.is_set():
                    raise EmbeddingServerError(
                        f"the embedding server {self.url} does not answer",
                        why=str(error) or type(error).__name__,
                        fix="check that it runs; VAR_PLUGIN_REMOTE_TIMEOUT sets how long to wait",
                    ) from error
            else:
                wait = _retry_after(response, wait)
                is_last = attempt == self._retries or wait > _MAX_RETRY_AFTER or stop.is_set()
                if response.status_code not in _BUSY or is_last:
                    return response
            logger.info("%s is busy or does not answer; next attempt in %.1f s", self.url, wait)
            stop.wait(wait)
            attempt += 1

    def _parse(self, response: httpx.Response, schema: type[Schema]) -> Schema:
        if not response.is_success:
            raise EmbeddingServerError(
                f"the embedding server {self.url} refused a request",
                why=self._quote(response),
                fix="see its log" if response.status_code not in (401, 403) else "set VAR_PLUGIN_REMOTE_API_KEY",
            )
        try:
            return schema.model_validate_json(response.content)
        except ValidationError as error:
            raise self._unusable(str(field_errors(error)[0])) from error

    def _vectors(self, response: httpx.Response, inputs: int) -> tuple[str | None, Vectors]:
        answer = self._parse(response, _Embeddings)
        rows = {row.index: row.embedding for row in answer.data}
        if len(answer.data) != inputs or rows.keys() != set(range(inputs)):
            indexes = sorted(row.index for row in answer.data)[: inputs + 1]
            raise self._unusable(f"it has the vectors {indexes} for {inputs} inputs")
        if len(lengths := {len(row) for row in rows.values()}) > 1:
            raise self._unusable(f"its vectors have the dimensions {sorted(lengths)}")
        vectors = np.array([rows[number] for number in range(inputs)], np.float64)
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise self._unusable("a vector holds NaN or infinity, or is zero")
        return answer.model, l2_normalize(vectors)

    def _unusable(self, why: str) -> EmbeddingServerError:
        return EmbeddingServerError(
            f"an answer of the embedding server {self.url} cannot be used",
            why=why,
            fix="check that the URL is that of an OpenAI-compatible API, such as http://HOST:8000/v1",
        )

    def _quote(self, response: httpx.Response) -> str:
        """Return the status and the beginning of the body, without the API key."""
        text = response.text.replace(self._key, "***") if self._key else response.text
        status = f"{response.status_code} {response.reason_phrase}"
        return f"{status}: {text[:_MAX_QUOTE]}" if text else status


class RemoteModel:
    """A model on a server, with the form of requests that the server supports.

    Args:
        server: the server.
        name: name of the model on the server.

    Raises:
        EmbeddingServerError: the server does not answer, or its answer cannot be used.
        UnsupportedModalityError: the model takes no images.
    """

    def __init__(self, server: EmbeddingServer, name: str) -> None:
        self._server, self._name = server, name
        listed = {entry.id: entry.fingerprint for entry in server.models()}
        if listed and name not in listed:
            # Some servers ignore the name and use the model that they have.
            raise EmbeddingServerError(
                f"{server.url} has no model '{name}'",
                why=f"it has {', '.join(listed)}"[:_MAX_QUOTE],
                fix="serve it, or name another",
            )
        # All servers take texts in this form.
        self._served, text = server.embed(self._body("uri", "text", [_PROBE_TEXT]), 1)
        self.dim = text.shape[1]
        self._form = self._find_form()
        pinned = [self._served or name, listed.get(name, ""), self.dim, self._form, _SIZE]
        self.fingerprint = hashlib.sha256(json.dumps(pinned).encode()).hexdigest()[:16]
        """Of the model's name, dimension and form, not of the URL. A server with var-plugin also states a hash."""
        self._warn = not is_loopback(httpx.URL(server.url).host)

    def encode(self, modality: Modality, items: Sequence[str]) -> Vectors:
        """Return vectors (n, dim) float32, L2-normalised, of texts or data URIs of images.

        Raises:
            EmbeddingServerError: the server does not answer, its answer cannot be used, or its model has changed.
        """
        if modality == "image" and self._warn:
            logger.warning("images are sent to %s", self._server.url)
            self._warn = False
        size = 1 if self._form == "messages" else _BATCH[modality]
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        stop = Event()
        encode = partial(self._encode, modality, stop)
        try:
            # A single request runs in this thread, where Ctrl-C ends it.
            parts = _encode_in_threads(encode, batches, stop) if len(batches) > 1 else list(map(encode, batches))
        finally:
            # After an error or Ctrl-C, do not wait for the other requests.
            stop.set()
        return np.concatenate([np.empty((0, self.dim), np.float32), *parts])

    def _encode(self, modality: Modality, stop: Event, items: Sequence[str]) -> Vectors:
        served, vectors = self._server.embed(self._body(self._form, modality, items), len(items), stop)
        if (served, vectors.shape[1]) != (self._served, self.dim):
            raise EmbeddingServerError(
                f"the model on {self._server.url} has changed",
                why=f"it was '{self._served}' with dimension {self.dim} and is '{served}' with {vectors.shape[1]}",
                fix=f"serve the former model, or build the index again: var-plugin reindex --suite remote:"
                f"{self._server.url}",
            )
        return vectors

    def _body(self, form: Form, modality: Modality, items: Sequence[str]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._name, "encoding_format": "float"}
        if form == "uri":
            return body | {"input": list(items)} | ({"modality": "image"} if modality == "image" else {})
        contents = [
            {"content": [{"type": "text", "text": item} if modality == "text" else _image_part(item)]} for item in items
        ]
        if form == "content":
            return body | {"input": contents}
        return body | {"messages": [{"role": "user", **content} for content in contents]}

    def _find_form(self) -> Form:
        """Return the first form in which the server embeds images."""
        uris = _probe_images()
        answer = ""
        for form in _FORMS:
            rows = []
            for uri in uris:
                result = self._server.try_to_embed(self._body(form, "image", [uri]), 1)
                if isinstance(result, str):
                    answer = result
                    break
                rows.append(result[0])
            else:
                image, same, other = rows
                distance = 1 - image @ other
                if distance > _MIN_DISTANCE and 1 - image @ same < _MAX_RATIO * distance:
                    return form
                answer = "its vectors do not depend on the content of an image"
        raise UnsupportedModalityError(
            f"the model '{self._name}' on {self._server.url} cannot encode footage",
            why=f"it takes no images: {answer}",
            fix="serve a model for texts and images",
        )


class RemoteTexts:
    """Encode texts into the space of the model; a `TextEncoder`."""

    def __init__(self, model: RemoteModel) -> None:
        self._model = model

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised. Raises as `RemoteModel.encode`."""
        return self._model.encode("text", texts)


class RemoteImages:
    """Encode images into the space of the model; an `ImageEncoder`."""

    size = (_SIZE, _SIZE)

    def __init__(self, model: RemoteModel) -> None:
        self._model = model

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images. Raises as `RemoteModel.encode`."""
        return self._model.encode("image", [_data_uri(image) for image in images])


def _encode_in_threads(
    encode: Callable[[Sequence[str]], Vectors], batches: Sequence[Sequence[str]], stop: Event
) -> list[Vectors]:
    """Return the vectors of the batches, in their order. Once `stop` is set, no further batch begins.

    The threads are daemons: the end of the process would wait for those of a `ThreadPoolExecutor`, and so for requests
    that the server does not answer.
    """
    results: list[Future[Vectors]] = [Future() for _ in batches]
    tasks = deque(zip(results, batches, strict=True))

    def work() -> None:
        while tasks and not stop.is_set():
            try:
                result, batch = tasks.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                result.set_result(encode(batch))
            except BaseException as error:
                result.set_exception(error)

    for _ in range(min(_CONCURRENT_REQUESTS, len(batches))):
        Thread(target=work, daemon=True).start()
    return [result.result() for result in results]


def _split(name: str) -> tuple[str, str]:
    """Return the URL, without a slash at its end, and the model, which may be empty.

    Raises:
        InvalidInputError: it is not the URL of a server.
    """
    address, _, model = name.partition("#")
    try:
        url = httpx.URL(address)
        url.host.encode("idna")  # as for the name resolution, which fails on empty and on long labels
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        raise InvalidInputError(
            "a remote suite needs the URL of a server",
            why="it begins with http:// or https:// and has no user, password or query",
            fix="write remote:http://HOST:8000/v1#MODEL; an API key belongs in VAR_PLUGIN_REMOTE_API_KEY",
        )
    return address.rstrip("/"), model


def _retry_after(response: httpx.Response, default: float) -> float:
    """Return the seconds that a response asks to wait."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (OverflowError, TypeError, ValueError):  # no date, or one without a time zone
        return default


def _data_uri(image: ImageArray, compress_level: int = 1) -> str:
    """Encode an image without loss."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=compress_level)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _image_part(uri: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri}}


def _probe_images() -> tuple[str, str, str]:
    """Return two encodings of one image, and another image."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    ones = np.ones((64, 64), np.uint8)
    sunset = np.stack([ones * 255, ones * ramp[:, None], ones * 0], axis=-1)
    checks = np.stack([ones * 0, ones * 64, (ones * ramp // 128 + ones * ramp[:, None] // 128) % 2 * 255], axis=-1)
    return _data_uri(sunset, 0), _data_uri(sunset, 9), _data_uri(checks)
