"""Fixtures: servers on loopback, and inputs for them."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from tests.colors import AnyWords, suite_with
from tests.films import Film, plain
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.encoders.suite import Suite
from var_plugin.server.application import build_app
from var_plugin.server.options import ServerOptions

KEY = "open sesame"
MODEL = "colors/scene"


def any_word_suite() -> Suite:
    return suite_with(AnyWords())


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve an app on a free loopback port in a thread. Yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Index with two videos: red, green, blue and white for eight seconds each, and yellow only."""
    folder = tmp_path_factory.mktemp("footage")
    film = Film(folder / "a secret place")
    with open_index(folder / "index.db", suite=any_word_suite()) as index:
        index.add(film("north.mp4", seconds=32, fps=5, paint=scene("red", "green", "blue", "white")), camera="north")
        index.add(film("south.mp4", seconds=16, fps=5, paint=scene("yellow", "yellow")), camera="south")
        yield index


@pytest.fixture(scope="session")
def server(footage: Index) -> Iterator[str]:
    """Address of a server with an index and API keys."""
    with running(build_app(footage.suite, footage, ServerOptions(api_keys=frozenset({KEY, "another"})))) as address:
        yield address


@pytest.fixture
def serving() -> Iterator[Callable[..., str]]:
    """Return a function that starts a server without an index and returns its address. Servers stop after the test."""
    with ExitStack() as stack:
        yield lambda suite=None, **options: stack.enter_context(
            running(build_app(suite or any_word_suite(), None, ServerOptions(**options)))
        )


def png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def green_png() -> bytes:
    return png(plain(0, 255, 0))


@pytest.fixture
def blue_film(film: Film) -> Path:
    return film("blue.mp4", seconds=1, paint=lambda _: plain(0, 0, 255))
