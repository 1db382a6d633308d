from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import KEY, MODEL, data_uri


@pytest.fixture
def client(serving: Callable[..., str]) -> httpx.Client:
    return httpx.Client(base_url=serving(), timeout=30)


def test_files_are_uploaded(client: httpx.Client, green_png: bytes, blue_film: Path) -> None:
    images = client.post(
        "/v1/embeddings/files",
        data={"model": MODEL, "modality": "image"},
        files=[("files", ("../../evil.mp4", green_png, "video/mp4")), ("files", green_png)],
    ).json()
    assert [item["embedding"][1] for item in images["data"]] == pytest.approx([1, 1], abs=1e-3)
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
    response = client.post("/v1/embeddings/files", data={"model": MODEL, "modality": "text"}, files={"files": b"\xff"})
    assert response.status_code == 400
    assert "UTF-8" in response.json()["error"]["message"]


def test_modality_overrides_the_interpretation_of_strings(client: httpx.Client, green_png: bytes) -> None:
    uri = data_uri("application/octet-stream", green_png)
    as_text = client.post("/v1/embeddings", json={"model": MODEL, "input": uri}).json()
    as_image = client.post("/v1/embeddings", json={"model": MODEL, "input": uri, "modality": "image"}).json()
    assert as_text["data"][0]["embedding"] == pytest.approx([3**-0.5] * 3)
    assert as_image["data"][0]["embedding"][1] == pytest.approx(1, abs=1e-3)


def test_unknown_field_gets_400(client: httpx.Client) -> None:
    response = client.post("/v1/embeddings", json={"model": MODEL, "input": "red", "pooling": "max"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "pooling"


def test_order_is_kept_if_the_texts_exceed_a_batch(serving: Callable[..., str]) -> None:
    texts = ["red", "green", "blue", "yellow", "red", "green", "blue"]
    response = httpx.post(f"{serving(max_batch=3)}/v1/embeddings", json={"model": MODEL, "input": texts}).json()
    vectors = [item["embedding"] for item in response["data"]]
    assert vectors[:3] == vectors[4:] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_server_without_an_index_has_no_search(client: httpx.Client) -> None:
    assert client.post("/v1/search", json={"text": "red"}).status_code == 404


def test_optional_fields_may_be_null(server: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    null = {"encoding_format": None, "dimensions": None, "user": None, "modality": None}
    response = httpx.post(f"{server}/v1/embeddings", json={"model": MODEL, "input": "red", **null}, headers=headers)
    assert response.json()["data"][0]["embedding"] == [1.0, 0.0, 0.0]
    null = dict.fromkeys(("image", "audio", "video", "k", "filter", "min_score", "group_by", "weights"))
    response = httpx.post(f"{server}/v1/search", json={"text": "red", **null}, headers=headers)
    assert len(response.json()["data"]) > 0


@pytest.mark.parametrize("absent", ["", "null"])
def test_optional_fields_of_a_form_may_be_empty_or_null(server: str, absent: str) -> None:
    form = {"model": MODEL, "modality": "text", "encoding_format": absent, "dimensions": absent}
    response = httpx.post(
        f"{server}/v1/embeddings/files",
        data=form,
        files={"files": b"red"},
        headers={"Authorization": f"Bearer {KEY}"},
    )
    assert response.json()["data"][0]["embedding"] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("absent", ["", "null"])
def test_optional_parameters_of_a_query_may_be_empty_or_null(server: str, absent: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    response = httpx.get(f"{server}/v1/videos?limit={absent}&after={absent}", headers=headers)
    videos = response.json()["data"]
    assert videos
    thumbnail = httpx.get(f"{server}/v1/videos/{videos[0]['id']}/thumbnail?at={absent}", headers=headers)
    assert (thumbnail.status_code, thumbnail.content[:2]) == (200, b"\xff\xd8")


def test_empty_optional_fields_count_as_absent(server: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    empty = {"encoding_format": "", "dimensions": "", "user": "", "modality": ""}
    response = httpx.post(f"{server}/v1/embeddings", json={"model": MODEL, "input": "red", **empty}, headers=headers)
    assert response.json()["data"][0]["embedding"] == [1.0, 0.0, 0.0]
    empty = dict.fromkeys(("image", "audio", "video", "k", "filter", "min_score", "group_by", "weights"), "")
    response = httpx.post(f"{server}/v1/search", json={"text": "red", **empty}, headers=headers)
    assert len(response.json()["data"]) > 0
    refusals = [
        httpx.post(f"{server}/v1/embeddings", json={"model": MODEL, "input": ""}, headers=headers),
        httpx.post(f"{server}/v1/search", json={"text": "", "image": ""}, headers=headers),
    ]
    messages = [response.json()["error"]["message"] for response in refusals]
    assert [response.status_code for response in refusals] == [400, 400]
    assert messages[0].startswith("a text is empty")
    assert messages[1].startswith("nothing to search for")


def test_error_names_the_unknown_field(server: str) -> None:
    body = {"model": MODEL, "input": "red", "top_k": 3}
    response = httpx.post(f"{server}/v1/embeddings", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "top_k")


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/embeddings", {"model": MODEL, "input": ["fine", "a \ud83d"]}),
        ("/v1/embeddings", {"model": "\ud83d", "input": "red"}),
        ("/v1/search", {"text": "a \ude00"}),
        ("/v1/search", {"text": "red", "filter": {"cameras": ["\ud83d"]}}),
        ("/v1/search", {"text": "red", "filter": {"metadata": {"\ud83d": 1}}}),
    ],
)
def test_half_an_emoji_is_refused(server: str, path: str, document: dict[str, object]) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    response = httpx.post(server + path, content=json.dumps(document), headers=headers)
    assert response.status_code == 400
    assert "half of a surrogate pair" in response.json()["error"]["message"]


def test_text_length_is_limited_on_every_route(server: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    long = "red " * 10_000
    responses = [
        httpx.post(f"{server}/v1/embeddings", json={"model": MODEL, "input": long}, headers=headers),
        httpx.post(f"{server}/v1/embeddings", json={"model": MODEL, "input": ["red " * 8000] * 40}, headers=headers),
        httpx.post(
            f"{server}/v1/embeddings/files",
            data={"model": MODEL, "modality": "text"},
            files={"files": long.encode()},
            headers=headers,
        ),
        httpx.post(f"{server}/v1/search", json={"text": long}, headers=headers),
        httpx.post(f"{server}/v1/search", json={"text": "red", "filter": {"cameras": [long]}}, headers=headers),
        httpx.post(f"{server}/v1/search", json={"text": "red", "filter": {"metadata": {"a": long}}}, headers=headers),
    ]
    assert [response.status_code for response in responses] == [413] * 6


def test_numbers_of_inputs_names_and_keys_are_limited(server: str) -> None:
    def status(path: str, **body: object) -> int:
        return httpx.post(f"{server}/v1/{path}", json=body, headers={"Authorization": f"Bearer {KEY}"}).status_code

    assert status("embeddings", model=MODEL, input=["red"] * 2048) == 200
    assert status("embeddings", model=MODEL, input=["red"] * 2049) == 413
    assert status("embeddings", model=MODEL, input=[]) == 400
    for within, above in (
        ({"cameras": ["a" * 256]}, {"cameras": ["a" * 257]}),
        ({"cameras": [f"camera {n}" for n in range(1000)]}, {"cameras": [f"camera {n}" for n in range(1001)]}),
        ({"metadata": {f"key{n}": "a" for n in range(64)}}, {"metadata": {f"key{n}": "a" for n in range(65)}}),
    ):
        assert status("search", text="red", filter=within) == 200
        assert status("search", text="red", filter=above) == 413
