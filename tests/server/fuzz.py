"""Seeded fuzzing of request bodies, in process: `python -m tests.server.fuzz --inputs 10000`.

Every input is a request to the application. The response must not be a 5xx. Time and memory are limited.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.colors import AnyWords, suite_with
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.server.application import build_app

SECONDS = 10.0
"""Maximum time for one response. It is generous, because machines are shared."""

MEGABYTES = 1500
"""Maximum growth of the process over all inputs, in megabytes."""

PATHS = ("/v1/embeddings", "/v1/search", "/v1/anomalies", "/v1/embeddings/files")
"""All routes with a body; `tests/server/test_fuzz.py` compares them with the application."""

_PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""A red image of one pixel."""

_STRINGS = (
    "", " ", "red", "a red van", "\x00", "\x1b[2J", "\r\nX: y", "\ud83d", "\udce4", "😀", "\u202e", "é" * 50,
    "a" * 40_000, "data:", "data:image/png;base64,", "data:image/png;base64,AAAA", "data:video/mp4;base64,%%%",
    "data:audio/wav,x", _PNG, "data:image/png;base64," + "A" * 5000, "http://127.0.0.1/x", "https://example.org:99999/",
    "file:///etc/passwd",
    "http://[::1", "colors/scene", "scene", "north", "float", "base64", "null", "video", "moment", "image", "text",
    "time", "alarm", "Fire",
    "2026-11-01T14:00+01:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "' or 1 == 1", '"] or ["', "%_\\",
)  # fmt: skip
_NUMBERS = (0, -1, 1, 5, 3, 101, 2**31, 2**63, 2**64, 10**400, -(10**400), 0.5, -0.0, 1e308, 1e-320)
_KEYS = (
    "model", "input", "modality", "encoding_format", "dimensions", "user", "text", "image", "audio", "video", "k",
    "filter", "min_score", "group_by", "weights", "order", "cameras", "video_ids", "kinds", "segment_kinds", "after",
    "before", "after_second", "before_second", "min_anomaly", "max_anomaly", "metadata", "type", "image_url",
    "audio_url", "video_url", "input_audio", "url", "data", "format", "detail", "scene", "", "\ud83d",
    "__proto__", "key" * 200,
)  # fmt: skip


@dataclass
class Outcome:
    """Results of a run."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    memory_growth: float = 0.0
    """Megabytes."""


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return a random JSON value, usually a small one."""
    kind = chance.choice(
        ("string", "string", "number", "word", "list", "object") if depth < 4 else ("string", "number")
    )
    match kind:
        case "string":
            return chance.choice(_STRINGS)
        case "number":
            return chance.choice(_NUMBERS)
        case "word":
            return chance.choice((None, True, False))
        case "list":
            if chance.random() < 0.02:
                return [chance.choice(_NUMBERS)] * chance.choice((2049, 30_000))
            return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if chance.random() < 0.02:
        return {f"key{number}": chance.choice(_NUMBERS) for number in range(chance.choice((100, 30_000)))}
    return {chance.choice(_KEYS): value(chance, depth + 1) for _ in range(chance.randrange(5))}


def valid(chance: random.Random, path: str) -> dict[str, Any]:
    """Return a valid request."""
    if path == "/v1/search":
        if chance.random() < 0.2:
            return {"image": _PNG, "k": 1, "group_by": "video"}
        return {"text": "red", "k": 2, "filter": {"cameras": ["north"], "min_anomaly": 0}, "weights": {"scene": 1}}
    if path == "/v1/anomalies":
        return {"k": 2, "filter": {"cameras": ["north"]}, "kinds": ["alarm"], "min_score": 0, "order": "time"}
    part = chance.choice(("red", {"type": "text", "text": "red"}, {"type": "image_url", "image_url": {"url": _PNG}}))
    return {"model": "colors/scene", "input": ["blue", part], "encoding_format": "base64", "dimensions": 3, "user": "x"}


def mutated(chance: random.Random, document: Any) -> Any:
    """Return a document with one value replaced, added or removed."""
    if not isinstance(document, dict | list) or not document or chance.random() < 0.3:
        return value(chance)
    if isinstance(document, list):
        place = chance.randrange(len(document))
        return [mutated(chance, item) if number == place else item for number, item in enumerate(document)]
    key = chance.choice([*document])
    match chance.randrange(4):
        case 0:
            return {name: item for name, item in document.items() if name != key}
        case 1:
            return document | {chance.choice(_KEYS): value(chance)}
        case _:
            return document | {key: mutated(chance, document[key])}


def body(chance: random.Random, path: str) -> tuple[bytes, str]:
    """Return a body and its media type."""
    if path.endswith("files"):
        return _form(chance), chance.choice(
            ("multipart/form-data; boundary=B", "multipart/form-data", "application/json")
        )
    document: Any = valid(chance, path)
    for _ in range(chance.randrange(4)):
        document = mutated(chance, document)
    text = json.dumps(document, ensure_ascii=chance.random() < 0.8)
    data = text.encode("utf-8", "surrogatepass")
    match chance.randrange(12):
        case 0:
            data = data[: chance.randrange(len(data) + 1)]
        case 1:
            place = chance.randrange(len(data) + 1)
            data = data[:place] + chance.randbytes(chance.randrange(1, 5)) + data[place:]
        case 2:
            data = chance.choice((b"[", b'{"a":', b'"', b"[[", b"\\")) * chance.choice((10, 1000, 100_000))
        case 3:
            data = data.replace(b"1", chance.choice((b"NaN", b"1e999", b"-", b"01", b"9" * 5000)))
    return data, chance.choice(
        ("application/json",) * 8 + ("text/plain", "", "application/json; charset=latin-1", "\xff")
    )


def _form(chance: random.Random) -> bytes:
    fields = {"model": "colors/scene", "modality": chance.choice(("text", "image", "video", "audio", "x"))}
    fields |= {chance.choice(_KEYS): chance.choice(_STRINGS) for _ in range(chance.randrange(3))}
    parts = [f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    data = "".join(parts).encode("utf-8", "surrogatepass")
    for _ in range(chance.choice((0, 1, 1, 1, 2, 40))):
        content = chance.choice((b"red", b"", b"\xff\xfe", b"a " * 40_000, chance.randbytes(200), b"\x89PNG\r\n\x1a\n"))
        name = chance.choice(("files", "files", "files", "file", "", "a\0b"))
        data += (
            f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="../x\n"\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    data += b"--B--\r\n"
    return data if chance.random() < 0.8 else data[: chance.randrange(len(data))]


async def fuzz(index: Index, inputs: int, seed: int) -> Outcome:
    """Send random inputs to an application with an index."""
    chance = random.Random(seed)
    outcome = Outcome()
    app = build_app(index.suite, index)
    before = _peak_megabytes()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        for number in range(inputs):
            path = chance.choice(PATHS)
            data, kind = body(chance, path)
            headers = {"Content-Type": kind.encode("latin-1")} if kind else {}
            start = time.perf_counter()
            response = await client.post(path, content=data, headers=headers, timeout=None)
            seconds = time.perf_counter() - start
            outcome.statuses[response.status_code] += 1
            outcome.slowest = max(outcome.slowest, seconds)
            if response.status_code >= 500 or seconds > SECONDS or len(response.content) > 10**6:
                result = f"{response.status_code} after {seconds:.1f} s"
                outcome.failures.append(f"input {number} of seed {seed}: {result} to {path} {data[:300]!r}")
    outcome.memory_growth = _peak_megabytes() - before
    return outcome


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_index(Path(folder) / "i.db", suite=suite_with(AnyWords())) as index,
    ):
        film = Film(Path(folder))
        index.add(film("north.mp4", seconds=16, fps=5, paint=scene("red", "green")), camera="north")
        outcome = asyncio.run(fuzz(index, options.inputs, options.seed))
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(outcome.statuses.items()))
    costs = f"slowest {outcome.slowest:.2f} s; memory grew by {outcome.memory_growth:.0f} MB"
    sys.stdout.write("\n".join([f"{options.inputs} inputs: {statuses}; {costs}", *outcome.failures]) + "\n")
    raise SystemExit(bool(outcome.failures) or outcome.memory_growth > MEGABYTES)


if __name__ == "__main__":
    main()
