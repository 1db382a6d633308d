"""OpenAI's own client against a real server."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.films import plain
from tests.server.conftest import KEY, MODEL, data_uri, png


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_default_encoding_returns_numbers(client: openai.OpenAI) -> None:
    response = client.embeddings.create(model=MODEL, input="red")
    assert response.data[0].embedding == [1.0, 0.0, 0.0]
    assert response.model == MODEL


def test_base64_and_float_return_the_same_vectors_in_order(client: openai.OpenAI) -> None:
    texts = ["red", "a green van", "yellow"]
    packed = client.embeddings.create(model=MODEL, input=texts)
    plain_numbers = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    assert [item.embedding for item in packed.data] == [item.embedding for item in plain_numbers.data]
    assert [item.index for item in packed.data] == [0, 1, 2]
    assert packed.data[1].embedding == [0.0, 1.0, 0.0]


def test_usage_counts_words(client: openai.OpenAI) -> None:
    usage = client.embeddings.create(model=MODEL, input=["red", "a green van"]).usage
    assert (usage.prompt_tokens, usage.total_tokens) == (4, 4)


async def test_async_client_works(server: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="another") as client:
        response = await client.embeddings.create(model=MODEL, input=["blue"])
    assert response.data[0].embedding == [0.0, 0.0, 1.0]


def test_images_and_videos_are_sent_as_data_uris(client: openai.OpenAI, green_png: bytes, blue_film: Path) -> None:
    inputs = [data_uri("image/png", green_png), "red", data_uri("video/mp4", blue_film.read_bytes())]
    image, text, video = client.embeddings.create(model=MODEL, input=inputs).data
    assert image.embedding[1] == pytest.approx(1, abs=1e-3)
    assert text.embedding[0] == 1
    assert video.embedding[2] == pytest.approx(1, abs=1e-2)


def test_content_parts_are_accepted(client: openai.OpenAI, green_png: bytes, blue_film: Path) -> None:
    parts = [
        {"type": "text", "text": "red"},
        {"type": "image_url", "image_url": {"url": data_uri("image/png", green_png), "detail": "low"}},
        {"type": "video_url", "video_url": {"url": data_uri("video/mp4", blue_film.read_bytes())}},
    ]
    response = client.embeddings.create(model=MODEL, input=parts)  # type: ignore[arg-type]
    best = [max(range(3), key=item.embedding.__getitem__) for item in response.data]
    assert best == [0, 1, 2]


def test_models_list_their_modalities(client: openai.OpenAI) -> None:
    (model,) = client.models.list()
    assert model.id == MODEL
    described = client.models.retrieve(MODEL).model_dump()
    assert described["capabilities"] == ["image", "text", "video"]
    assert described["dimensions"] == 3
    assert described["fingerprint"] == "colors-1"


def test_dimensions_must_equal_those_of_the_model(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model=MODEL, input="red", dimensions=3).data[0].embedding) == 3
    with pytest.raises(openai.BadRequestError, match="cannot have 2 dimensions: they have 3"):
        client.embeddings.create(model=MODEL, input="red", dimensions=2)


def test_errors_become_exceptions_of_the_client(client: openai.OpenAI, server: str) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has colors/scene"):
        client.embeddings.create(model="text-embedding-3-small", input="red")
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False") as raised:
        client.embeddings.create(model=MODEL, input=[[1, 2, 3]])
    assert raised.value.param == "input"
    assert raised.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="a text is empty"):
        client.embeddings.create(model=MODEL, input=["red", " "])
    with pytest.raises(openai.BadRequestError, match="cannot encode audio") as raised:
        client.embeddings.create(model=MODEL, input=[data_uri("audio/wav", b"RIFF")])
    assert raised.value.code == "unsupported_modality_error"
    with pytest.raises(openai.AuthenticationError, match="no valid API key"):
        openai.OpenAI(base_url=f"{server}/v1", api_key="guessed").embeddings.create(model=MODEL, input="red")


def test_the_example_finds_the_image(
    server: str, green_png: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = {"red.png": png(plain(255, 0, 0)), "green.png": green_png}
    for name, image in images.items():
        (tmp_path / name).write_bytes(image)
    script = Path(__file__).parents[2] / "examples" / "openai_client.py"
    monkeypatch.setattr(sys, "argv", ["", f"{server}/v1", KEY, MODEL, "green", *map(str, tmp_path.iterdir())])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out == f"{tmp_path / 'green.png'}: 1.000\n"
