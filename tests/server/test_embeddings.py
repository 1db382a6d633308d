from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import MODEL, data_uri


@pytest.fixture
def client(serving: Callable[..., str]) -> httpx.Client:
    return httpx.Client(base_url=serving(), timeout=30)


def test_files_are_uploaded(client: httpx.Client, green_png: bytes, blue_film: Path) -> None:
    pictures = client.post(
        "/v1/embeddings/files",
        data={"model": MODEL, "modality": "image"},
        files=[("files", ("../../evil.mp4", green_png, "video/mp4")), ("files", green_png)],
    ).json()
    assert [item["embedding"][1] for item in pictures["data"]] == pytest.approx([1, 1], abs=1e-3)
    with blue_film.open("rb") as file:
        form = {"model": MODEL, "modality": "video", "encoding_format": "base64"}
        video = client.post("/v1/embeddings/files", data=form, files={"files": file}).json()
    assert isinstance(video["data"][0]["embedding"], str)
    text = client.post(
        "/v1/embeddings/files", data={"model": MODEL, "modality": "text"}, files={"files": b"a red van"}
    ).json()
    assert text["data"][0]["embedding"] == [1, 0, 0]
    assert text["usage"]["prompt_tokens"] == 3


def test_a_text_file_must_be_utf8(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings/files", data={"model": MODEL, "modality": "text"}, files={"files": b"\xff"})
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["error"]["message"]


def test_the_modality_decides_what_strings_are(client: httpx.Client, green_png: bytes) -> None:
    uri = data_uri("application/octet-stream", green_png)
    as_text = client.post("/v1/embeddings", json={"model": MODEL, "input": uri}).json()
    as_image = client.post("/v1/embeddings", json={"model": MODEL, "input": uri, "modality": "image"}).json()
    assert as_text["data"][0]["embedding"] == pytest.approx([3**-0.5] * 3)
    assert as_image["data"][0]["embedding"][1] == pytest.approx(1, abs=1e-3)


def test_unknown_fields_are_told(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": "red", "pooling": "max"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "pooling"


def test_more_texts_than_a_batch_keep_their_order(serving: Callable[..., str]) -> None:
    texts = ["red", "green", "blue", "yellow", "red", "green", "blue"]
    answer = httpx.post(f"{serving(max_batch=3)}/v1/embeddings", json={"model": MODEL, "input": texts}).json()
    vectors = [item["embedding"] for item in answer["data"]]
    assert vectors[:3] == vectors[4:] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_server_without_an_index_has_no_search(client: httpx.Client) -> None:
    assert client.post("/v1/search", json={"text": "red"}).status_code == 404
