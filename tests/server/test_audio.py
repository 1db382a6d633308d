"""Audio through the server: embedded with OpenAI's client, uploaded, and used as a query."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.films import Film
from tests.ingest.test_add import scene
from tests.server.conftest import data_uri, running
from tests.tones import tone_suite
from var_plugin.api import open_index
from var_plugin.server.application import build_app

MODEL = "tones/sound"


@pytest.fixture
def high_tone(film: Film) -> bytes:
    return film("high.mp4", seconds=1, tone=3_000.0, images=False).read_bytes()


@pytest.fixture
def address(serving: Callable[..., str]) -> str:
    return serving(tone_suite())


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_audio_and_text_share_a_model(client: openai.OpenAI, high_tone: bytes) -> None:
    audio = {"data": base64.b64encode(high_tone).decode(), "format": "mp3"}
    parts = [
        "high",
        data_uri("audio/mp4", high_tone),
        {"type": "input_audio", "input_audio": audio},
        {"type": "audio_url", "audio_url": {"url": data_uri("audio/mp4", high_tone)}},
        "low",
    ]
    response = client.embeddings.create(model=MODEL, input=parts)  # type: ignore[arg-type]
    assert [item.embedding[1] > 0.9 for item in response.data] == [True, True, True, True, False]


def test_each_model_lists_its_modalities(client: openai.OpenAI, high_tone: bytes) -> None:
    modalities = {model.id: model.model_dump()["capabilities"] for model in client.models.list()}
    assert modalities == {"tones/scene": ["image", "text", "video"], MODEL: ["audio", "text"]}
    with pytest.raises(openai.BadRequestError, match="cannot encode audio in space 'scene'"):
        client.embeddings.create(model="tones/scene", input=data_uri("audio/mp4", high_tone))


def test_audio_files_are_uploaded(address: str, high_tone: bytes) -> None:
    form = {"model": MODEL, "modality": "audio"}
    response = httpx.post(f"{address}/v1/embeddings/files", data=form, files={"files": high_tone}, timeout=60)
    assert response.json()["data"][0]["embedding"][1] > 0.9


def test_data_that_are_not_audio_are_refused(address: str) -> None:
    body = {"model": MODEL, "input": data_uri("audio/wav", b"RIFF" + bytes(100))}
    response = httpx.post(f"{address}/v1/embeddings", json=body, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unreadable_media_error"


def test_audio_finds_its_moment(tmp_path: Path, film: Film, high_tone: bytes) -> None:
    with open_index(tmp_path / "index.db", suite=tone_suite()) as index:
        for camera, color, tone in (("north", "red", 400.0), ("south", "blue", 3_000.0)):
            assert index.add(film(seconds=8, fps=5, paint=scene(color), tone=tone), camera=camera).ok
        with running(build_app(index.suite, index)) as address:
            body = {"audio": data_uri("audio/mp4", high_tone), "k": 1}
            (best,) = httpx.post(f"{address}/v1/search", json=body, timeout=60).json()["data"]
    assert best["camera"] == "south"
    assert best["matched"].keys() == {"sound"}
