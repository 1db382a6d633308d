"""Routes /v1/embeddings and /v1/models, compatible with OpenAI's clients."""

from __future__ import annotations

import base64
import time
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import Response

from var_plugin.encoders.base import Space, Vectors
from var_plugin.errors import InvalidInputError
from var_plugin.server.batch_encoder import BatchEncoder
from var_plugin.server.inputs import MAX_MEDIA, Content, InputReader, check_request_size
from var_plugin.server.json_body import bounded_route
from var_plugin.server.pools import ThreadPools
from var_plugin.server.schemas import (
    Dimensions,
    Embedding,
    EmbeddingsRequest,
    EmbeddingsResponse,
    EncodingFormat,
    Model,
    Models,
    Usage,
    default_if_empty,
)
from var_plugin.types import Modality


def embeddings_router(encoder: BatchEncoder, reader: InputReader, pools: ThreadPools) -> APIRouter:
    """Return the routes for embeddings and models."""
    router = APIRouter(prefix="/v1", tags=["embeddings"], route_class=bounded_route(pools.json))
    created = int(time.time())
    models = {name: _model(name, space, created) for name, space in encoder.spaces.items()}

    @router.post("/embeddings", response_model=EmbeddingsResponse, summary="Embed text, images, audio and video")
    async def embed(request: EmbeddingsRequest) -> Response:
        """Return one vector per input. A request may mix modalities."""
        space = _checked_space(encoder, request.model, request.dimensions)
        inputs = [(item, request.modality) for item in request.items()]
        async with reader.read(inputs, encoder.suite, space.name) as contents:
            vectors = await encoder.encode(contents, space)
            words = _count_words(contents)
        return await pools.json.run(_response, request.model, words, vectors, request.encoding_format or "float")

    @router.post("/embeddings/files", response_model=EmbeddingsResponse, summary="Embed uploaded files")
    async def embed_files(
        model: Annotated[str, Form(description="model id from /v1/models")],
        modality: Annotated[Modality, Form(description="modality of the files")],
        files: Annotated[
            list[UploadFile],
            File(min_length=1, max_length=MAX_MEDIA, description="the files; their names and media types are ignored"),
        ],
        encoding_format: Annotated[EncodingFormat, Form(), default_if_empty("float")] = "float",
        dimensions: Annotated[Dimensions | None, Form(), default_if_empty(None)] = None,
    ) -> Response:
        """Return one vector per file: image, audio, video, or UTF-8 text."""
        space = _checked_space(encoder, model, dimensions)
        contents = [_uploaded_content(modality, await file.read()) for file in files]
        texts = [content.data if isinstance(content.data, str) else "" for content in contents]
        check_request_size([(modality, text) for text in texts], encoder.suite, space.name)
        vectors = await encoder.encode(contents, space)
        return await pools.json.run(_response, model, _count_words(contents), vectors, encoding_format)

    @router.get("/models", summary="List the models")
    async def list_models() -> Models:
        """Return one model per space of the suite, with its modalities and fingerprint."""
        return Models(data=list(models.values()))

    @router.get("/models/{model:path}", summary="Describe one model")
    async def describe_model(model: str) -> Model:
        """Return one model."""
        encoder.space(model)
        return models[model]

    return router


def _model(name: str, space: Space, created: int) -> Model:
    return Model(
        id=name,
        created=created,
        capabilities=sorted(space.modalities),
        dimensions=space.dim,
        metric=space.metric,
        fingerprint=space.fingerprint,
    )


def _checked_space(encoder: BatchEncoder, model: str, dimensions: int | None) -> Space:
    space = encoder.space(model)
    if dimensions not in (None, space.dim):
        raise InvalidInputError(
            f"the vectors of '{model}' cannot have {dimensions} dimensions",
            why=f"they have {space.dim}, and truncated vectors cannot be compared",
            fix="omit `dimensions`",
        )
    return space


def _uploaded_content(modality: Modality, data: bytes) -> Content:
    if modality != "text":
        return Content(modality, data)
    try:
        return Content("text", data.decode())
    except UnicodeDecodeError as error:
        raise InvalidInputError("a text file is not UTF-8", why=str(error), fix="convert it to UTF-8") from error


def _count_words(contents: list[Content]) -> int:
    return sum(len(content.data.split()) for content in contents if isinstance(content.data, str))


def _response(model: str, words: int, vectors: Vectors, encoding_format: EncodingFormat) -> Response:
    """Serialise the vectors one by one. Serialising a large response at once would hold the GIL."""
    data = ",".join(
        Embedding(
            index=index,
            embedding=vector.tolist()
            if encoding_format == "float"
            else base64.b64encode(vector.astype("<f4").tobytes()).decode(),
        ).model_dump_json()
        for index, vector in enumerate(vectors)
    )
    empty = EmbeddingsResponse(data=[], model=model, usage=Usage(prompt_tokens=words, total_tokens=words))
    head, _, tail = empty.model_dump_json().partition('"data":[]')
    return Response(f'{head}"data":[{data}]{tail}', media_type="application/json")
