"""Read the inputs of a request and decode them for the suite. File names, media types and lengths are not trusted."""

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
from var_plugin.media.decoded import SAMPLE_RATE
from var_plugin.media.files import check_file
from var_plugin.media.image_input import load_image
from var_plugin.media.limits import Limits
from var_plugin.media.sandbox import client as sandbox
from var_plugin.server.errors import RequestTooLargeError
from var_plugin.server.fetch import Fetcher
from var_plugin.server.memory import MemoryBudget
from var_plugin.server.pools import ThreadPools
from var_plugin.server.schemas import AudioPart, ImagePart, Input, InputAudioPart, TextPart
from var_plugin.types import MAX_QUERY_LENGTH, Modality, Span

MAX_MEDIA = 32
"""Maximum number of images, audio files and videos per request. A small file can be large when decoded."""

MAX_TEXT_LENGTH = 1 << 20
"""Maximum total length of the texts of one request, in characters."""

# Peak memory of decoding: an image is rotated and converted, audio is copied by the encoder.
_BYTES_PER_PIXEL = 6
_BYTES_PER_SAMPLE = 12
_VIDEO_BYTES = 64 << 20


@dataclass(frozen=True)
class Content:
    """A text, or the bytes of a media file."""

    modality: Modality
    data: str | bytes


@dataclass(frozen=True)
class _ParsedInput:
    """An input of a request, before base64 is decoded or a URL is fetched."""

    modality: Modality
    text: str
    """The text itself, the media in base64, or a URL."""
    is_url: bool = False


class InputReader:
    """Reads and decodes the inputs of requests.

    Args:
        fetcher: downloads inputs that are URLs.
        limits: limits of one media file.
        workspace: folder for temporary files.
        pools: thread pools for decoding.
        bodies: memory budget for fetched files.
        decoded: memory budget for decoded media.
        max_fetched_bytes: maximum number of bytes fetched for one request.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        limits: Limits,
        workspace: Path,
        *,
        pools: ThreadPools | None = None,
        bodies: MemoryBudget | None = None,
        decoded: MemoryBudget | None = None,
        max_fetched_bytes: int = 64 << 20,
    ) -> None:
        self._fetcher, self._limits, self._workspace = fetcher, limits, workspace
        self._pools = pools or ThreadPools()
        self._bodies = bodies or MemoryBudget(512 << 20)
        self._decoded = decoded or MemoryBudget(512 << 20)
        self._max_fetched_bytes = max_fetched_bytes

    @asynccontextmanager
    async def read(
        self, inputs: Sequence[tuple[Input, Modality | None]], suite: Suite, space: str | None
    ) -> AsyncIterator[list[Content]]:
        """Yield the contents of the inputs of a request. Fetched bytes count in the memory budget until the block ends.

        All limits are checked before anything is fetched.

        Args:
            inputs: each input with the modality of a string. None: the modality that a data: URI declares, else text.
            suite: the suite that will encode the contents.
            space: the space to encode into. None: any.

        Raises:
            InvalidInputError: a text is empty, media are not base64, or a URL cannot be fetched.
            RequestTooLargeError: too many media, or too much text.
            UnsupportedModalityError: the space does not support a modality.
        """
        parsed_inputs = [_parse_input(value, modality) for value, modality in inputs]
        check_request_size([(parsed.modality, parsed.text) for parsed in parsed_inputs], suite, space)
        with self._bodies.track() as memory:
            contents = []
            fetched_bytes = 0
            for parsed in parsed_inputs:
                if parsed.modality == "text":
                    contents.append(Content("text", parsed.text))
                elif parsed.is_url:
                    max_bytes = self._max_fetched_bytes - fetched_bytes
                    data = await self._fetcher.fetch(parsed.text, max_bytes=max_bytes, reserve=memory.add)
                    fetched_bytes += len(data)
                    contents.append(Content(parsed.modality, data))
                else:
                    contents.append(Content(parsed.modality, _decode_base64(parsed.text)))
            yield contents

    @asynccontextmanager
    async def decode(self, contents: Sequence[Content], suite: Suite, space: str | None) -> AsyncIterator[list[Any]]:
        """Yield the contents in the form that `Suite.encode` takes. Temporary files are removed after the block.

        Raises:
            UnsupportedModalityError: the space does not support a modality.
            TooManyPixelsError, TooLongMediaError: a file exceeds the limits.
            VarPluginError: a file cannot be decoded.
        """
        for content in contents:
            suite.encoders_for(content.modality, space)
        if all(content.modality == "text" for content in contents):
            yield [content.data for content in contents]
            return
        # Reserve everything at once. Requests that reserve in steps could wait for each other forever.
        async with self._decoded.reserve(self._max_decoded_bytes(contents)) as memory:
            with tempfile.TemporaryDirectory(dir=self._workspace) as folder:
                items = [
                    content.data
                    if isinstance(content.data, str)
                    else await self._pools.media.run(
                        self._decode_media,
                        content.modality,
                        content.data,
                        Path(folder) / f"input-{number}",
                        suite,
                        space,
                    )
                    for number, content in enumerate(contents)
                ]
                memory.shrink(sum(map(_item_bytes, items)))
                yield items

    def _max_decoded_bytes(self, contents: Sequence[Content]) -> int:
        """Return the peak memory of decoding the contents."""
        modalities = [content.modality for content in contents]
        audio = round(self._limits.duration * SAMPLE_RATE * _BYTES_PER_SAMPLE) * modalities.count("audio")
        image = self._limits.pixels * _BYTES_PER_PIXEL if "image" in modalities else 0  # images are decoded in turn
        return audio + image + _VIDEO_BYTES * modalities.count("video")

    def _decode_media(self, modality: Modality, data: bytes, file: Path, suite: Suite, space: str | None) -> Any:
        file.write_bytes(data)
        check_file(file)
        if modality == "image":
            encoder = suite.encoders_for("image", space).image
            return load_image(file, encoder.size, self._limits) if encoder else None
        if modality == "audio":
            return sandbox.read_audio(file, limits=self._limits), SAMPLE_RATE
        duration = sandbox.probe(file, self._limits).duration or 0.0
        if duration > self._limits.duration:
            raise TooLongMediaError(
                f"the video lasts {duration:.0f} s",
                why=f"the limit is {self._limits.duration:.0f} s",
                fix="send a shorter part",
            )
        # The span enforces the limit if the header declares a wrong duration.
        return Span(file, 0.0, self._limits.duration)


def check_request_size(parts: Sequence[tuple[Modality, str]], suite: Suite, space: str | None) -> None:
    """Check the modalities of a request, the number of its media files, and the length of its texts.

    Args:
        parts: modality and text of each input. For media the text is ignored.
        suite: the suite that will encode the inputs.
        space: the space to encode into. None: any.

    Raises:
        InvalidInputError: a text is empty.
        RequestTooLargeError: too many media, or too much text.
        UnsupportedModalityError: the space does not support a modality.
    """
    for modality in dict.fromkeys(modality for modality, _ in parts):
        suite.encoders_for(modality, space)
    texts = [text for modality, text in parts if modality == "text"]
    media_count = len(parts) - len(texts)
    if media_count > MAX_MEDIA:
        raise RequestTooLargeError(
            f"the request has {media_count} media files",
            why=f"the limit is {MAX_MEDIA}",
            fix="send several requests",
        )
    for text in texts:
        if not text.strip():
            raise InvalidInputError("a text is empty", fix="send at least one word")
        if len(text) > MAX_QUERY_LENGTH:
            raise RequestTooLargeError(
                f"a text has {len(text)} characters", why=f"the limit is {MAX_QUERY_LENGTH}", fix="split the text"
            )
    total_length = sum(map(len, texts))
    if total_length > MAX_TEXT_LENGTH:
        raise RequestTooLargeError(
            f"the texts of the request have {total_length} characters",
            why=f"the limit is {MAX_TEXT_LENGTH}",
            fix="send several requests",
        )


def _parse_input(value: Input, modality: Modality | None) -> _ParsedInput:
    match value:
        case str():
            modality = modality or _declared_modality(value)
            return _ParsedInput("text", value) if modality == "text" else _parse_url(modality, value)
        case TextPart():
            return _ParsedInput("text", value.text)
        case InputAudioPart():
            return _ParsedInput("audio", value.input_audio.data)
        case ImagePart():
            return _parse_url("image", value.image_url.url)
        case AudioPart():
            return _parse_url("audio", value.audio_url.url)
        case _:
            return _parse_url("video", value.video_url.url)


def _parse_url(modality: Modality, url: str) -> _ParsedInput:
    if url.startswith("data:"):
        return _ParsedInput(modality, url.partition(";base64,")[2])
    return _ParsedInput(modality, url, is_url=True)


def _item_bytes(item: Any) -> int:
    """Return the memory of a decoded item in bytes."""
    if isinstance(item, np.ndarray):
        return item.nbytes
    if isinstance(item, tuple):  # samples and sample rate
        return sum(map(_item_bytes, item)) * _BYTES_PER_SAMPLE // 4
    return _VIDEO_BYTES if isinstance(item, Span) else 0


def _declared_modality(text: str) -> Modality:
    """Return the modality that a data: URI declares. Everything else is text."""
    match = re.match(r"data:(image|audio|video)/[^,]{1,200};base64,", text)
    return cast(Modality, match[1]) if match else "text"


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            "the media data are not valid base64",
            why=str(error),
            fix="send data:TYPE/SUBTYPE;base64,… with the bytes of the file",
        ) from error
