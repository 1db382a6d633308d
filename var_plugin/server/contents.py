"""From what a request holds to what a suite encodes. Nothing here believes a name, a header or a length of a client."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from var_plugin.encoders.pictures import load_picture
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, TooLongMediaError
from var_plugin.media import guard
from var_plugin.media.audio import SAMPLE_RATE
from var_plugin.media.files import check_file
from var_plugin.media.limits import Limits
from var_plugin.server.fetching import Fetcher
from var_plugin.server.schemas import AudioPart, ImagePart, Input, InputAudioPart, TextPart
from var_plugin.types import Modality, Span

MOST_MEDIA = 32
"""Pictures, sounds and videos of one request: unpacked, small files may be large."""

LONGEST_TEXT = 32_768
"""Characters."""

# Pictures are unpacked one or two at a time, whatever the number of requests: each may take a gigabyte for a moment.
_MOST_AT_ONCE = 2


@dataclass(frozen=True)
class Content:
    """One thing to encode: a text, or the bytes of a media file."""

    modality: Modality
    data: str | bytes


class Contents:
    """Reads what clients send.

    Args:
        fetcher: gets what is given by URL.
        limits: what one file may ask for.
        workspace: folder for files while they are decoded.
    """

    def __init__(self, fetcher: Fetcher, limits: Limits, workspace: Path) -> None:
        self._fetcher, self._limits, self._workspace = fetcher, limits, workspace
        self._openings = asyncio.Semaphore(_MOST_AT_ONCE)

    async def read(self, given: Input, modality: Modality | None = None) -> Content:
        """Return the content of one input of a request; `modality` says what a string is.

        Raises:
            InvalidInputError: it is no text, no base64, or a URL that is not fetched.
        """
        if isinstance(given, TextPart):
            return _text(given.text)
        if isinstance(given, InputAudioPart):
            return Content("audio", _decoded(given.input_audio.data))
        if isinstance(given, str):
            modality = modality or _declared(given)
            return _text(given) if modality == "text" else Content(modality, await self._media(given))
        if isinstance(given, ImagePart):
            return Content("image", await self._media(given.image_url.url))
        if isinstance(given, AudioPart):
            return Content("audio", await self._media(given.audio_url.url))
        return Content("video", await self._media(given.video_url.url))

    async def _media(self, url: str) -> bytes:
        if url.startswith("data:"):
            return _decoded(url.partition(";base64,")[2])
        return await self._fetcher.fetch(url)

    @asynccontextmanager
    async def opened(self, contents: Sequence[Content], suite: Suite, space: str | None) -> AsyncIterator[list[Any]]:
        """Give what `Suite.encode` takes, and remove the files behind it afterwards.

        Raises:
            UnsupportedModalityError: the space does not take what is given.
            TooManyPixelsError, TooLongMediaError: a file asks for more than the limits; besides the errors of reading
                media.
        """
        media = sum(isinstance(content.data, bytes) for content in contents)
        if media > MOST_MEDIA:
            raise InvalidInputError(
                f"{media} media in one request", why=f"the limit is {MOST_MEDIA}", fix="send several requests"
            )
        for content in contents:
            suite.encoders_for(content.modality, space)
        if not media:
            yield [content.data for content in contents]
            return
        with tempfile.TemporaryDirectory(dir=self._workspace) as folder:
            yield [
                content.data
                if isinstance(content.data, str)
                else await self._opened(content.modality, content.data, Path(folder) / f"input-{number}", suite, space)
                for number, content in enumerate(contents)
            ]

    async def _opened(self, modality: Modality, data: bytes, file: Path, suite: Suite, space: str | None) -> Any:
        async with self._openings:
            file.write_bytes(data)
            return await asyncio.to_thread(self._open, modality, file, suite, space)

    def _open(self, modality: Modality, file: Path, suite: Suite, space: str | None) -> Any:
        check_file(file)
        if modality == "image":
            encoder = suite.encoders_for("image", space).picture
            return load_picture(file, encoder.size, self._limits) if encoder else None
        if modality == "audio":
            return guard.read_audio(file, limits=self._limits), SAMPLE_RATE
        declared = guard.probe(file, self._limits).duration or 0.0
        if declared > self._limits.duration:
            raise TooLongMediaError(
                f"the video lasts {declared:.0f} s", why=f"the limit is {self._limits.duration:.0f} s", fix="cut it"
            )
        # The span holds where the header lies.
        return Span(file, 0.0, self._limits.duration)


def _text(text: str) -> Content:
    if not text.strip():
        raise InvalidInputError("a text is empty", fix="send at least a word")
    if len(text) > LONGEST_TEXT:
        raise InvalidInputError(
            f"a text has {len(text)} characters", why=f"the limit is {LONGEST_TEXT}", fix="send it in parts"
        )
    return Content("text", text)


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
