"""The suite `remote`: against `var-plugin serve` in another process, and against a server that fails on request."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from tests.colors import AnyWords, MeanColor
from tests.films import Film, plain, textured
from tests.ingest.test_add import scene
from var_plugin.api import open_index
from var_plugin.config import ModelOptions, settings
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    EmbeddingServerError,
    FingerprintMismatchError,
    InvalidInputError,
    InvalidSettingError,
    UnsupportedModalityError,
)
from var_plugin.types import Span

KEY = "a secret key"
MODEL = "colors-clip"
QUICK = ModelOptions(remote_retries=1, remote_timeout=30)


@dataclass
class Answer:
    """An answer instead of that of the model. A body that is a function gets the right answer and returns another."""

    status: int = 200
    body: str | Callable[[dict[str, Any]], object] = "{}"
    headers: dict[str, str] = field(default_factory=dict)


class ColorServer(ThreadingHTTPServer):
    """A server of the colour encoders that takes images in one form. It can fail."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.form = "content"
        self.models: list[str] | None = [MODEL]
        self.served = MODEL
        self.scale = 1.0
        self.key = ""
        self.answer: Callable[[dict[str, Any]], Answer | None] = lambda body: None
        """Returns what the server answers to a request for embeddings. None: the vectors."""
        self.bodies: list[dict[str, Any]] = []
        self.in_progress = self.most_in_progress = 0
        self.lock = Lock()
        self.released = Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that do not wait for the answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def wait(self) -> None:
        """Do not answer before the test ends."""
        self.released.wait(60)

    def embeddings(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer, or None if the request has the wrong form."""
        if "messages" in body:
            items = [message["content"] for message in body["messages"]] if self.form == "messages" else None
        elif all(isinstance(item, dict) for item in body["input"]):
            items = [item["content"] for item in body["input"]] if self.form == "content" else None
        elif body.get("modality") == "image" and self.form in ("content", "messages"):
            items = None
        else:
            kind = body.get("modality", "text") if self.form == "uri" else "text"
            items = [[{"type": kind, kind: text}] for text in body["input"]]
        if items is None:
            return None
        vectors = np.stack([self.vector(part) for (part,) in items]) * self.scale
        data = [{"object": "embedding", "index": i, "embedding": row.tolist()} for i, row in enumerate(vectors)]
        return {"object": "list", "model": self.served, "data": data[::-1]}

    def vector(self, part: dict[str, Any]) -> np.ndarray:
        if part["type"] == "text":
            if self.form == "text only":
                seed = list(hashlib.sha256(part["text"].encode()).digest())
                return np.random.default_rng(seed).normal(size=3) * 0.1 + 1
            return AnyWords().encode([part["text"]])[0]
        uri = part["image"] if "image" in part else part["image_url"]["url"]
        image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
        return MeanColor().encode([np.asarray(image)])[0]


class Handler(BaseHTTPRequestHandler):
    server: ColorServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self.refused():
            models = self.server.models
            listed = json.dumps({"data": [{"id": model} for model in models or ()]})
            self.reply(Answer(404) if models is None else Answer(body=listed))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.in_progress += 1
            self.server.most_in_progress = max(self.server.most_in_progress, self.server.in_progress)
        right = self.server.embeddings(body)
        answer = self.server.answer(body) or (Answer(body=lambda right: right) if right else Answer(400, "wrong form"))
        if callable(answer.body):
            assert right is not None
            answer = Answer(answer.status, json.dumps(answer.body(right)), answer.headers)
        with self.server.lock:
            self.server.in_progress -= 1
        self.reply(answer)

    def refused(self) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.server.key and sent != f"Bearer {self.server.key}":
            self.reply(Answer(401, f"{sent} is not a valid key"))
            return True
        return False

    def reply(self, answer: Answer) -> None:
        content = answer.body.encode() if isinstance(answer.body, str) else b""
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


@pytest.fixture
def server() -> Iterator[ColorServer]:
    with ColorServer() as started:
        thread = Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        yield started
        started.released.set()
        started.shutdown()
        thread.join()


def load(server: ColorServer, **options: Any) -> Suite:
    return load_suite(f"remote:{server.url}", QUICK.model_copy(update=options))


def has_images(body: dict[str, Any]) -> bool:
    return "data:image" in json.dumps(body)


@pytest.mark.parametrize("form", ["content", "messages", "uri"])
def test_images_are_sent_in_the_form_that_the_server_takes(server: ColorServer, form: str) -> None:
    server.form = form
    suite = load(server)
    assert suite.name == f"remote:{server.url}#{MODEL}"
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)] * 20
    images = suite.encode("image", [plain(*color) for color in colors])
    assert images == pytest.approx(np.tile(np.eye(3), (20, 1)), abs=1e-2)
    texts = suite.encode("text", ["red", "a green van", "blue"] * 30)
    assert texts == pytest.approx(np.tile(np.eye(3), (30, 1)), abs=1e-6)
    assert texts.dtype == images.dtype == np.float32
    inputs = [len(body.get("input", body.get("messages"))) for body in server.bodies]
    assert max(inputs) == (1 if form == "messages" else 32)
    assert {"messages" in body for body in server.bodies[-2:]} == {form == "messages"}


def test_vectors_are_normalised(server: ColorServer) -> None:
    server.scale = 7.0
    assert load(server).encode("text", ["red"]) == pytest.approx(np.array([[1, 0, 0]]), abs=1e-6)


def test_single_inputs_are_sent_at_the_same_time(server: ColorServer) -> None:
    server.form = "messages"
    suite = load(server)
    arrived = Event()

    def wait_for_another(body: dict[str, Any]) -> None:
        if server.in_progress > 1:
            arrived.set()
        assert arrived.wait(30)

    server.answer = wait_for_another
    suite.encode("text", ["red"] * 8)
    assert 1 < server.most_in_progress <= 8


def test_an_error_does_not_wait_for_the_other_requests(server: ColorServer) -> None:
    server.form = "messages"
    suite = load(server)
    server.answer = lambda body: Answer(413, "too long") if "blue" in json.dumps(body) else server.wait()
    with pytest.raises(EmbeddingServerError, match="413"):
        suite.encode("text", ["blue", *["red"] * 20])
    assert server.in_progress > 0


def test_ctrl_c_does_not_wait_for_a_server_that_does_not_answer(server: ColorServer) -> None:
    server.form = "messages"
    server.answer = lambda body: server.wait() if "red" in json.dumps(body) else None
    words = ["encode", "text", "red", "red", "--suite", f"remote:{server.url}"]
    with subprocess.Popen([sys.executable, "-m", "var_plugin", *words], stderr=subprocess.PIPE) as process:
        for _ in range(1_200):
            if server.in_progress == 2 or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()


def test_a_server_that_embeds_the_text_of_a_data_uri_is_refused(server: ColorServer) -> None:
    server.form = "text only"
    with pytest.raises(UnsupportedModalityError, match="its vectors do not depend on the content of an image"):
        load(server)


def test_a_model_for_texts_only_is_refused_with_its_own_answer(server: ColorServer) -> None:
    server.answer = lambda body: Answer(400, "this model is not multimodal") if has_images(body) else None
    with pytest.raises(UnsupportedModalityError, match=r"takes no images: 400 Bad Request: this model is not multimod"):
        load(server)


def test_one_of_several_models_must_be_named(server: ColorServer) -> None:
    server.models = [MODEL, "another"]
    with pytest.raises(InvalidInputError, match=rf"has 2 models: {MODEL}, another; name one: remote:{server.url}#"):
        load(server)
    assert load_suite(f"remote:{server.url}/#{MODEL}", QUICK).name == f"remote:{server.url}#{MODEL}"
    server.models = []
    with pytest.raises(EmbeddingServerError, match="lists no model"):
        load(server)


def test_a_server_that_lists_no_models_needs_a_name(server: ColorServer) -> None:
    server.models = None
    assert load_suite(f"remote:{server.url}#{MODEL}", QUICK).spaces["scene"].dim == 3


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://host:port",
        "http://.:8000/v1",
        f"http://{'a' * 64}/v1",
        "http://me:hunter2@h/v1",
        "http://h/v1?key=hunter2",
    ],
)
def test_a_name_without_a_plain_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInputError, match="needs the URL of a server") as raised:
        load_suite(f"remote:{url}", QUICK)
    assert "hunter2" not in str(raised.value)


def test_the_fingerprint_depends_on_the_model_and_not_on_the_url(server: ColorServer) -> None:
    first = load(server).fingerprint
    assert load_suite(f"remote:{server.url.replace('127.0.0.1', 'localhost')}", QUICK).fingerprint == first
    server.form = "uri"
    other_form = load(server).fingerprint
    server.served = "colors-clip-2"
    other_model = load(server).fingerprint
    assert len({first, other_form, other_model}) == 3


def test_the_key_is_sent_and_appears_in_no_error(server: ColorServer) -> None:
    server.key = KEY
    with pytest.raises(EmbeddingServerError, match=r"401 Unauthorized.*set VAR_PLUGIN_REMOTE_API_KEY"):
        load(server)
    suite = load(server, remote_api_key=SecretStr(KEY))
    assert KEY not in suite.name + repr(QUICK.model_copy(update={"remote_api_key": SecretStr(KEY)}))
    server.key = "a new key"
    with pytest.raises(EmbeddingServerError, match=r"Bearer \*\*\* is not a valid key") as raised:
        suite.encode("text", ["red"])
    assert KEY not in str(raised.value)


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(server: ColorServer) -> None:
    with pytest.raises(InvalidSettingError, match="printable ASCII") as raised:
        load(server, remote_api_key=SecretStr("gehörte\nmir"))
    assert "mir" not in str(raised.value)


def test_images_that_leave_the_machine_are_announced_once(
    server: ColorServer, caplog: pytest.LogCaptureFixture
) -> None:
    load(server).encode("image", [plain(1, 2, 3)])
    assert not caplog.records
    suite = load_suite(f"remote:{server.url.replace('127.0.0.1', '0.0.0.0')}", QUICK)  # noqa: S104
    for _ in range(2):
        suite.encode("image", [plain(1, 2, 3)])
    assert [record.message.partition(" http")[0] for record in caplog.records] == ["images are sent to"]


# What a server answers to requests with images, and a part of the error.
FAILURES: dict[str, tuple[Answer, str]] = {
    "busy": (Answer(429, "slow down", {"Retry-After": "0"}), "429 Too Many Requests: slow down"),
    "busy for long": (Answer(503, "restarting", {"Retry-After": "3600"}), "503 Service Unavailable: restarting"),
    "internal error": (Answer(500, "out of memory", {"Retry-After": "0"}), "500 Internal Server Error: out of memory"),
    "not JSON": (Answer(body="<html>hello</html>"), "cannot be used: Invalid JSON"),
    "no list of vectors": (Answer(body='{"data": 3}'), "data: Input should be a valid"),
    "redirection": (Answer(307, "", {"Location": "http://192.0.2.1/"}), "307 Temporary Redirect"),
    "NaN": (
        Answer(body=lambda right: with_vectors(right, lambda vector: [float("nan"), *vector[1:]])),
        "a vector holds NaN or infinity, or is zero",
    ),
    "null": (
        Answer(body=lambda right: with_vectors(right, lambda vector: [None, *vector[1:]])),
        "Input should be a valid number",
    ),
    "zero": (
        Answer(body=lambda right: with_vectors(right, lambda vector: [0.0] * len(vector))),
        "a vector holds NaN or infinity, or is zero",
    ),
    "another dimension": (
        Answer(body=lambda right: with_vectors(right, lambda vector: [*vector, 0.0])),
        f"has changed: it was '{MODEL}' with dimension 3 and is '{MODEL}' with 4",
    ),
    "two dimensions": (
        Answer(body=lambda right: right | {"data": [right["data"][0] | {"embedding": [1.0]}, *right["data"][1:]]}),
        "its vectors have the dimensions [1, 3]",
    ),
    "another model": (Answer(body=lambda right: right | {"model": "newer"}), "and is 'newer' with 3"),
    "a vector too few": (Answer(body=lambda right: right | {"data": right["data"][1:]}), "it has the vectors [0, 1,"),
    "one index twice": (
        Answer(body=lambda right: right | {"data": [right["data"][-1], *right["data"][1:]]}),
        "it has the vectors [0, 0, 1,",
    ),
}


def with_vectors(right: dict[str, Any], change: Callable[[list[float]], Sequence[float | None]]) -> dict[str, Any]:
    return right | {"data": [row | {"embedding": change(row["embedding"])} for row in right["data"]]}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_line_and_nothing_is_stored(
    server: ColorServer, film: Film, tmp_path: Path, failure: str
) -> None:
    answer, message = FAILURES[failure]
    path = film(seconds=12, fps=5, paint=scene("red", "blue"))
    with open_index(tmp_path / "index.db", suite=load(server)) as index:
        batches = iter([None])  # the first 16 frames are embedded, the others fail
        server.answer = lambda body: next(batches, answer) if has_images(body) else None
        (receipt,) = index.add(path).videos
        assert (receipt.status, receipt.error, receipt.exit_code) == ("failed", "EmbeddingServerError", 7)
        assert receipt.reason and message in receipt.reason and "\n" not in receipt.reason
        assert not index.videos() and index.verify().ok
        server.answer = lambda body: None
        assert index.add(path).ok and index.verify().ok
        assert index.search("red")[0].start == 0


def test_a_busy_server_is_asked_again_after_the_time_that_it_states(server: ColorServer) -> None:
    suite = load(server, remote_retries=3)
    answers = iter(
        [
            Answer(429, "", {"Retry-After": "0"}),
            Answer(503, "", {"Retry-After": "1"}),
            Answer(500, "", {"Retry-After": formatdate(time.time() - 5, usegmt=True)}),
        ]
    )
    server.answer = lambda body: next(answers, None)
    started, requests = time.monotonic(), len(server.bodies)
    assert suite.encode("text", ["red"]) == pytest.approx(np.array([[1, 0, 0]]), abs=1e-6)
    assert time.monotonic() - started >= 1
    assert len(server.bodies) - requests == 4


def test_a_refused_request_is_not_repeated(server: ColorServer) -> None:
    suite = load(server)
    server.answer = lambda body: Answer(413, "too long")
    requests = len(server.bodies)
    with pytest.raises(EmbeddingServerError, match="refused a request: 413"):
        suite.encode("text", ["red"])
    assert len(server.bodies) - requests == 1


def test_a_server_that_does_not_answer_in_time_is_an_error(server: ColorServer) -> None:
    suite = load(server, remote_timeout=0.2)
    requests = len(server.bodies)
    server.answer = lambda body: server.wait()
    with pytest.raises(EmbeddingServerError, match=r"does not answer: timed out; .*VAR_PLUGIN_REMOTE_TIMEOUT"):
        suite.encode("text", ["red"])
    assert len(server.bodies) - requests == 2


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(EmbeddingServerError, match=r"does not answer: .*refused"):
            load_suite(f"remote:{url}", QUICK)


def test_an_index_does_not_make_the_program_contact_a_server(
    server: ColorServer, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index, or a suite folder that it names, may come from others."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "suite.json").write_text(json.dumps({"base": f"remote:{server.url}", "prompts": ["{}", "a {}"]}))
    for name in (f"remote:{server.url}", str(folder)):
        location = tmp_path / hashlib.sha256(name.encode()).hexdigest()[:8] / "index.db"
        with open_index(location, suite=load_suite(name, QUICK)) as index:
            assert index.add(film(seconds=2, paint=scene("red"))).ok
        requests = len(server.bodies)
        settings.cache_clear()  # another test may have set the default suite
        with pytest.raises(FingerprintMismatchError, match="open it with --suite"):
            open_index(location)
        assert len(server.bodies) == requests
        monkeypatch.setenv("VAR_PLUGIN_SUITE", name)
        settings.cache_clear()
        with open_index(location) as index:
            assert index.search("red")
        monkeypatch.undo()
        settings.cache_clear()


def test_a_model_that_changed_behind_the_url_does_not_open_the_index(
    server: ColorServer, film: Film, tmp_path: Path
) -> None:
    with open_index(tmp_path / "index.db", suite=load(server)) as index:
        assert index.add(film(seconds=2, paint=scene("red"))).ok
    server.models, server.served = ["colors-2"], "colors-2"
    with pytest.raises(FingerprintMismatchError, match=f"built by suite 'remote:{server.url}#{MODEL}'"):
        open_index(tmp_path / "index.db", suite=load(server))
    server.served = MODEL  # some servers repeat the name of the request
    with pytest.raises(EmbeddingServerError, match=f"has no model '{MODEL}': it has colors-2"):
        load_suite(f"remote:{server.url}#{MODEL}", QUICK)


@pytest.fixture(scope="module")
def lite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of `var-plugin serve` with the suite lite, in another process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "var_plugin", "serve", "--port", str(port), "--suite", "lite"],
        env=os.environ | {"VAR_PLUGIN_INDEX": str(tmp_path_factory.mktemp("served") / "index.db")},
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(1200):
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None
        time.sleep(0.1)
    yield f"{address}/v1"
    process.kill()
    process.wait()


@pytest.fixture
def bikes(film: Film) -> tuple[Path, Path]:
    """A folder with two videos of textures, and an image of the second texture."""
    for name, seed in (("north.mp4", 1), ("south.mp4", 2)):
        film(f"cams/{name}", seconds=10, fps=4, paint=lambda _, seed=seed: textured(seed, 96, 128))
    Image.fromarray(textured(2, 96, 128)).save(film.folder / "south.png")
    return film.folder / "cams", film.folder / "south.png"


def test_vectors_of_our_own_server_are_those_of_the_local_suite(lite_server: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has 2 models: lite/scene, lite/sound"):
        load_suite(f"remote:{lite_server}", QUICK)
    remote, local = load_suite(f"remote:{lite_server}#lite/scene", QUICK), load_suite("lite", QUICK)
    texts = ["a man smashes a window", "an empty street", "smoke"] * 11
    assert remote.encode("text", texts) == pytest.approx(local.encode("text", texts, space="scene"), abs=1e-4)
    images = [textured(seed, 384, 384) for seed in range(17)]
    for seed, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{seed}.png")
    files = [tmp_path / f"{seed}.png" for seed in range(17)]
    vectors = local.encode("image", files, space="scene")
    assert remote.encode("image", files) == pytest.approx(vectors, abs=1e-4)


def test_videos_of_our_own_server_are_means_of_their_frames(lite_server: str, film: Film) -> None:
    remote = load_suite(f"remote:{lite_server}#lite/scene", QUICK)
    path = film(seconds=4, fps=2, paint=lambda time: textured(int(time), 384, 384))
    frames = [remote.encode("video", [Span(path, second, second + 0.9)])[0] for second in range(4)]
    (whole,) = remote.encode("video", [path])
    assert whole == pytest.approx(l2_normalize(np.mean(frames, axis=0)), abs=1e-3)


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "var_plugin", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_the_commands_index_and_search_by_text_and_image(
    lite_server: str, bikes: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, image = bikes
    index, suite = tmp_path / "index.db", f"remote:{lite_server}#lite/scene"
    indexed = run("index", folder, "--index", index, "--suite", suite)
    assert indexed.returncode == 0, indexed.stderr
    by_image = run("search", "--image", image, "--index", index, "--suite", suite, "--json")
    assert json.loads(by_image.stdout)[0]["uri"].endswith("south.mp4")
    by_text = run("search", "a coarse pattern", "--index", index, "--json", VAR_PLUGIN_SUITE=suite)
    assert len(json.loads(by_text.stdout)) == 2
    unnamed = run("search", "a coarse pattern", "--index", index)
    assert unnamed.returncode == 4
    assert unnamed.stderr.count("\n") == 1 and f"open it with --suite {suite}" in unnamed.stderr


def test_the_page_runs_with_a_remote_suite(server: ColorServer, tmp_path: Path) -> None:
    place = ["--index", str(tmp_path / "index.db"), "--suite", f"remote:{server.url}"]
    command = [sys.executable, "-m", "var_plugin", "app", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        match = re.search(r"The page is at (\S+/)\.", process.stdout.readline())
        assert match and httpx.get(match[1]).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_commands_without_the_server_fail_with_one_line(bikes: tuple[Path, Path], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        suite = f"remote:http://127.0.0.1:{free.getsockname()[1]}/v1"
        place = ("--index", tmp_path / "index.db", "--suite", suite)
        for words in (("index", bikes[0]), ("search", "smoke"), ("app",)):
            process = run(*words, *place, VAR_PLUGIN_REMOTE_RETRIES="0")
            assert process.returncode == 7
            assert process.stderr.count("\n") == 1 and "does not answer" in process.stderr
    assert not (tmp_path / "index.db").exists()
