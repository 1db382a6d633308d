"""From what a request holds to what a suite encodes. Nothing here believes a name, a header or a length of a client."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, TooLongMediaError
from var_plugin.media.audio import SAMPLE_RATE
from var_plugin.media.files import check_file
from var_plugin.media.image_input import load_image
from var_plugin.media.limits import Limits
from var_plugin.media.sandbox import client as sandbox
from var_plugin.server.errors import RequestTooLargeError
from var_plugin.server.fetch import Fetcher
from var_plugin.server.memory import MemoryBudget
from var_plugin.server.pools import Pools
from var_plugin.server.schemas import AudioPart, ImagePart, Input, InputAudioPart, TextPart
from var_plugin.types import MAX_QUERY_LENGTH, Modality, Span

MAX_MEDIA = 32
"""Images, audio files and videos of one request: small files may be large when decoded."""

MAX_TEXT_LENGTH = 1 << 20
"""Characters of all texts of one request."""

# Memory that decoding may take: an image is turned and converted, audio is copied by the encoder.
_BYTES_PER_PIXEL = 6
_BYTES_PER_SAMPLE = 12
_VIDEO_BYTES = 64 << 20


@dataclass(frozen=True)
class Content:
    """One thing to encode: a text, or the bytes of a media file."""

    modality: Modality
    data: str | bytes


@dataclass(frozen=True)
class _Plan:
    """An input of a request before its media are decoded from base64 or fetched."""

    modality: Modality
    text: str
    is_url: bool = False


class Contents:
    """Reads what clients send.

    Args:
        fetcher: gets what is given by URL.
        limits: limits of one file.
        workspace: folder for files while they are decoded.
        pools: where media are decoded.
        bodies: memory for what is fetched.
        decoded: memory for decoded media.
        most_fetched: bytes that one request may have fetched.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        limits: Limits,
        workspace: Path,
        *,
        pools: Pools | None = None,
        bodies: MemoryBudget | None = None,
        decoded: MemoryBudget | None = None,
        most_fetched: int = 64 << 20,
    ) -> None:
        self._fetcher, self._limits, self._workspace = fetcher, limits, workspace
        self._pools = pools or Pools()
        self._bodies = bodies or MemoryBudget(512 << 20)
        self._decoded = decoded or MemoryBudget(512 << 20)
        self._most_fetched = most_fetched

    @asynccontextmanager
    async def read(
        self, inputs: Sequence[tuple[Input, Modality | None]], suite: Suite, space: str | None
    ) -> AsyncIterator[list[Content]]:
        """Give the contents of the inputs of a request; their memory is counted until the block ends.

        Limits hold before anything is fetched.

        Args:
            inputs: each with what a string is; None: what it declares.
            suite: what encodes.
            space: the space to encode for; None: any.

        Raises:
            InvalidInputError: one is not a text, not base64, or a URL that is not fetched.
            RequestTooLargeError: too many media, or too much text.
            UnsupportedModalityError: the space does not take a modality.
        """
        plans = [_planned(given, modality) for given, modality in inputs]
        check_amount([(plan.modality, plan.text) for plan in plans], suite, space)
        with self._bodies.opened() as memory:
            contents = []
            fetched = 0
            for plan in plans:
                if plan.modality == "text":
                    contents.append(Content("text", plan.text))
                elif plan.is_url:
                    rest = self._most_fetched - fetched
                    data = await self._fetcher.fetch(plan.text, max_bytes=rest, reserve=memory.add)
                    fetched += len(data)
                    contents.append(Content(plan.modality, data))
                else:
                    contents.append(Content(plan.modality, _decoded(plan.text)))
            yield contents

    @asynccontextmanager
    async def opened(self, contents: Sequence[Content], suite: Suite, space: str | None) -> AsyncIterator[list[Any]]:
        """Give what `Suite.encode` takes, and remove the files behind it afterwards.

        Raises:
            UnsupportedModalityError: the space does not take what is given.
            TooManyPixelsError, TooLongMediaError: a file asks for more than the limits; besides the errors of reading
                media.
        """
        for content in contents:
            suite.encoders_for(content.modality, space)
        if all(content.modality == "text" for content in contents):
            yield [content.data for content in contents]
            return
        # All at once: a request that holds a part of the memory and waits for more could block another.
        async with self._decoded.reserved(self._most_decoded(contents)) as memory:
            with tempfile.TemporaryDirectory(dir=self._workspace) as folder:
                items = [
                    content.data
                    if isinstance(content.data, str)
                    else await self._opened(
                        content.modality, content.data, Path(folder) / f"input-{number}", suite, space
                    )
                    for number, content in enumerate(contents)
                ]
                memory.shrink(sum(map(_size, items)))
                yield items

    def _most_decoded(self, contents: Sequence[Content]) -> int:
        """Return how much memory the media of a request may take."""
        kinds = [content.modality for content in contents]
        audio = round(self._limits.duration * SAMPLE_RATE * _BYTES_PER_SAMPLE) * kinds.count("audio")
        image = self._limits.pixels * _BYTES_PER_PIXEL if "image" in kinds else 0  # one after the other
        return audio + image + _VIDEO_BYTES * kinds.count("video")

    async def _opened(self, modality: Modality, data: bytes, file: Path, suite: Suite, space: str | None) -> Any:
        return await self._pools.media.run(self._open, modality, data, file, suite, space)

    def _open(self, modality: Modality, data: bytes, file: Path, suite: Suite, space: str | None) -> Any:
        file.write_bytes(data)
        check_file(file)
        if modality == "image":
            encoder = suite.encoders_for("image", space).image
            return load_image(file, encoder.size, self._limits) if encoder else None
        if modality == "audio":
            return sandbox.read_audio(file, limits=self._limits), SAMPLE_RATE
        declared = sandbox.probe(file, self._limits).duration or 0.0
        if declared > self._limits.duration:
            raise TooLongMediaError(
                f"the video lasts {declared:.0f} s", why=f"the limit is {self._limits.duration:.0f} s", fix="cut it"
            )
        # The span holds where the header lies.
        return Span(file, 0.0, self._limits.duration)


def check_amount(parts: Sequence[tuple[Modality, str]], suite: Suite, space: str | None) -> None:
    """Check the modalities of a request, the number of its media, and the size of its texts.

    Raises:
        InvalidInputError: a text is empty.
        RequestTooLargeError: too many media, or too much text.
        UnsupportedModalityError: the space does not take a modality.
    """
    for modality in dict.fromkeys(modality for modality, _ in parts):
        suite.encoders_for(modality, space)
    texts = [text for modality, text in parts if modality == "text"]
    if len(parts) - len(texts) > MAX_MEDIA:
        raise RequestTooLargeError(
            f"{len(parts) - len(texts)} media in one request",
            why=f"the limit is {MAX_MEDIA}",
            fix="send several requests",
        )
    for text in texts:
        if not text.strip():
            raise InvalidInputError("a text is empty", fix="send at least a word")
        if len(text) > MAX_QUERY_LENGTH:
            raise RequestTooLargeError(
                f"a text has {len(text)} characters", why=f"the limit is {MAX_QUERY_LENGTH}", fix="send it in parts"
            )
    if sum(map(len, texts)) > MAX_TEXT_LENGTH:
        raise RequestTooLargeError(
            f"the texts of the request have {sum(map(len, texts))} characters",
            why=f"the limit is {MAX_TEXT_LENGTH}",
            fix="send several requests",
        )


def _planned(given: Input, modality: Modality | None) -> _Plan:
    match given:
        case str():
            modality = modality or _declared(given)
            return _Plan("text", given) if modality == "text" else _media(modality, given)
        case TextPart():
            return _Plan("text", given.text)
        case InputAudioPart():
            return _Plan("audio", given.input_audio.data)
        case ImagePart():
            return _media("image", given.image_url.url)
        case AudioPart():
            return _media("audio", given.audio_url.url)
        case _:
            return _media("video", given.video_url.url)


def _media(modality: Modality, url: str) -> _Plan:
    if url.startswith("data:"):
        return _Plan(modality, url.partition(";base64,")[2])
    return _Plan(modality, url, is_url=True)


def _size(item: Any) -> int:
    """Return the bytes that an opened item keeps."""
    if isinstance(item, np.ndarray):
        return item.nbytes
    if isinstance(item, tuple):  # samples and their rate
        return sum(map(_size, item)) * _BYTES_PER_SAMPLE // 4
    return _VIDEO_BYTES if isinstance(item, Span) else 0


def _declared(text: str) -> Modality:
    """Return what a data: URI declares; everything else is text."""
    declared = re.match(r"data:(image|audio|video)/[^,]{1,200};base64,", text)
    return cast(Modality, declared[1]) if declared else "text"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            "the media is not base64", why=str(error), fix="send data:TYPE/SUBTYPE;base64,… with the file's bytes"
        ) from error
