"""/v1/embeddings and /v1/models, as OpenAI's clients call them."""

from __future__ import annotations

import base64
import time
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import Response

from var_plugin.encoders.base import Space, Vectors
from var_plugin.errors import InvalidInputError
from var_plugin.server.batch_encoder import Encoding
from var_plugin.server.inputs import MAX_MEDIA, Content, Contents, check_amount
from var_plugin.server.json_body import bounded_route
from var_plugin.server.pools import Pools
from var_plugin.server.schemas import (
    Dimensions,
    Embedding,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EncodingFormat,
    Model,
    Models,
    Usage,
)
from var_plugin.types import Modality


def embeddings_router(encoding: Encoding, contents: Contents, pools: Pools) -> APIRouter:
    """Return the routes that turn content into vectors."""
    router = APIRouter(prefix="/v1", tags=["embeddings"], route_class=bounded_route(pools.documents))
    started = int(time.time())
    models = {name: _model(name, space, started) for name, space in encoding.spaces.items()}

    @router.post("/embeddings", response_model=EmbeddingsAnswer, summary="Embed texts, images, sounds and videos")
    async def embed(asked: EmbeddingsRequest) -> Response:
        """Return one vector per input; inputs of several modalities may stand in one request."""
        space = _checked_space(encoding, asked.model, asked.dimensions)
        inputs = [(item, asked.modality) for item in asked.items()]
        async with contents.read(inputs, encoding.suite, space.name) as given:
            vectors = await encoding.encode(given, space)
            words = _words(given)
        return await pools.documents.run(_answer, asked.model, words, vectors, asked.encoding_format or "float")

    @router.post("/embeddings/files", response_model=EmbeddingsAnswer, summary="Embed uploaded files")
    async def embed_files(
        model: Annotated[str, Form(description="an id that /v1/models lists")],
        modality: Annotated[Modality, Form(description="what the files are")],
        files: Annotated[
            list[UploadFile], File(min_length=1, max_length=MAX_MEDIA, description="names and types mean nothing")
        ],
        encoding_format: Annotated[EncodingFormat, Form()] = "float",
        dimensions: Annotated[Dimensions | None, Form()] = None,
    ) -> Response:
        """Return one vector per file: images, sounds, videos, or texts in UTF-8."""
        space = _checked_space(encoding, model, dimensions)
        given = [_uploaded(modality, await file.read()) for file in files]
        texts = [content.data if isinstance(content.data, str) else "" for content in given]
        check_amount([(modality, text) for text in texts], encoding.suite, space.name)
        vectors = await encoding.encode(given, space)
        return await pools.documents.run(_answer, model, _words(given), vectors, encoding_format)

    @router.get("/models", summary="List the models")
    async def list_models() -> Models:
        """Return the spaces of the suite: what each takes, and which vectors can be compared."""
        return Models(data=list(models.values()))

    @router.get("/models/{model:path}", summary="Describe one model")
    async def describe_model(model: str) -> Model:
        """Return one space of the suite."""
        encoding.space(model)
        return models[model]

    return router


def _model(name: str, space: Space, started: int) -> Model:
    return Model(
        id=name,
        created=started,
        capabilities=sorted(space.modalities),
        dimensions=space.dim,
        metric=space.metric,
        fingerprint=space.fingerprint,
    )


def _checked_space(encoding: Encoding, model: str, dimensions: int | None) -> Space:
    space = encoding.space(model)
    if dimensions not in (None, space.dim):
        raise InvalidInputError(
            f"the vectors of '{model}' cannot have {dimensions} dimensions",
            why=f"they have {space.dim}, and parts of them cannot be compared",
            fix="leave `dimensions` out",
        )
    return space


def _uploaded(modality: Modality, data: bytes) -> Content:
    if modality != "text":
        return Content(modality, data)
    try:
        return Content("text", data.decode())
    except UnicodeDecodeError as error:
        raise InvalidInputError("a text file is not UTF-8", why=str(error), fix="convert it") from error


def _words(given: list[Content]) -> int:
    return sum(len(content.data.split()) for content in given if isinstance(content.data, str))


def _answer(model: str, words: int, vectors: Vectors, encoding_format: EncodingFormat) -> Response:
    """Write the answer vector by vector: written as a whole, a large one would keep all threads waiting."""
    data = ",".join(
        Embedding(
            index=index,
            embedding=vector.tolist()
            if encoding_format == "float"
            else base64.b64encode(vector.astype("<f4").tobytes()).decode(),
        ).model_dump_json()
        for index, vector in enumerate(vectors)
    )
    empty = EmbeddingsAnswer(data=[], model=model, usage=Usage(prompt_tokens=words, total_tokens=words))
    head, _, tail = empty.model_dump_json().partition('"data":[]')
    return Response(f'{head}"data":[{data}]{tail}', media_type="application/json")
