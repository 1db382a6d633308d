"""Fuzzing: randomly damaged videos of several formats are decoded in the sandbox, and the outcomes are counted.

    python -m tests.hostile_media.fuzz --inputs 10000 [--seed 1] [--keep FOLDER]

Most damage is inside packets, where it reaches the decoders. The rest reaches the demuxers. `--keep` saves the inputs
that crashed a decoder.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import av
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.films import Film, textured
from var_plugin.errors import DecoderCrashedError, VarPluginError
from var_plugin.media.limits import DEFAULT_LIMITS
from var_plugin.media.sandbox import client as sandbox

LIMITS = replace(DEFAULT_LIMITS, stall_seconds=10.0)
MAX_SECONDS = 60.0
"""Twice the allowed stall, the start of a second child, and a margin for a busy machine."""
SIDE = 32
"""Pixels of the frames. Frames of this size pass through the shared buffer."""
FILMS = {
    "h264.mp4": "libx264", "h264.mkv": "libx264", "h264.ts": "libx264", "h264.flv": "libx264", "h264.avi": "libx264",
    "mjpeg.avi": "mjpeg", "mjpeg.mov": "mjpeg", "vp9.webm": "libvpx-vp9", "wmv2.asf": "wmv2",
}  # fmt: skip


@dataclass(frozen=True)
class Original:
    """An undamaged file."""

    content: bytes
    packet_bytes: list[int]
    """Positions of the bytes of video packets in the content."""


@dataclass(frozen=True)
class Edit:
    """Damage at one place: overwritten, removed or repeated bytes, or a truncation."""

    kind: str
    place: float
    value: bytes

    def apply(self, content: bytes, original: Original) -> bytes:
        """Return the damaged content."""
        if self.kind == "packet":
            start = original.packet_bytes[int(self.place * len(original.packet_bytes))]
        else:
            start = int(self.place * len(content))
        end = start + len(self.value)
        match self.kind:
            case "packet" | "overwrite":
                return content[:start] + self.value + content[end:]
            case "remove":
                return content[:start] + content[end:]
            case "repeat":
                return content[:end] + content[start:end] * 3 + content[end:]
            case _:
                return content[:start]


def edits() -> st.SearchStrategy[list[Edit]]:
    """Return a strategy for the damage of one file, at one or several places."""
    runs = st.sampled_from([b"\x00" * 64, b"\xff" * 64, b"\x7f\xff\xff\xff"])
    value = st.one_of(st.binary(min_size=1, max_size=8), runs)
    kinds = st.sampled_from([*["packet"] * 30, "overwrite", "remove", "repeat", "cut"])
    places = st.integers(0, 2**32).map(lambda seed: Random(seed).random())  # hypothesis prefers the limits of a range
    return st.lists(st.builds(Edit, kinds, places, value), min_size=1, max_size=4)


def make_films(folder: Path) -> dict[str, Original]:
    """Encode one short film per format."""
    film = Film(folder)
    originals = {}
    for name, codec in FILMS.items():
        tone = None if name.endswith(".webm") else 440
        path = film(name, seconds=3, paint=lambda time: textured(round(time * 10)), codec=codec, tone=tone)
        with av.open(str(path)) as container:
            spans = [range(packet.pos, packet.pos + packet.size) for packet in container.demux(video=0) if packet.pos]
        originals[name] = Original(path.read_bytes(), [place for span in spans for place in span])
    return originals


def outcome(path: Path) -> str:
    """Decode frames, motion images and audio in the sandbox. Return the outcome of the frames.

    Raises:
        AssertionError: decoding took too long. Errors that are no VarPluginError propagate.
    """
    started = time.monotonic()
    outcomes = []
    for read in (
        lambda: sandbox.Frames(path, size=(SIDE, SIDE), motion=SIDE, limits=LIMITS),
        lambda: sandbox.decode_audio(path, LIMITS),
    ):
        try:
            for _ in read():
                pass
            outcomes.append("decoded")
        except VarPluginError as error:
            outcomes.append(type(error).__name__)
    assert time.monotonic() - started < MAX_SECONDS, path
    return outcomes[0]


def generating(inputs: int) -> settings:
    """Return settings that generate a number of inputs and do not shrink failing ones."""
    return settings(
        max_examples=inputs,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )


def fuzz(inputs: int, folder: Path, keep: Path | None = None, start: int = 1) -> Counter[str]:
    """Decode damaged videos. Return how often each outcome occurred.

    Args:
        inputs: number of damaged videos.
        folder: folder for the videos.
        keep: folder for the inputs that crashed a decoder.
        start: seed of the generator.
    """
    films = make_films(folder)
    counted: Counter[str] = Counter()

    @seed(start)
    @generating(inputs)
    @given(st.sampled_from(sorted(films)), edits())
    def decode_damaged(name: str, damage: list[Edit]) -> None:
        content = films[name].content
        for edit in damage:
            content = edit.apply(content, films[name])
        path = folder / f"damaged_{name}"
        path.write_bytes(content)
        result = outcome(path)
        counted[result] += 1
        if keep and result == DecoderCrashedError.__name__:
            path.replace(keep / f"{counted[result]}_{name}")

    decode_damaged()
    return counted


def run(fuzz: Callable[[int, Path, Path | None, int], Counter[str]], description: str | None) -> None:
    """Parse the command line, run the fuzzer and print the outcomes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that crashed a decoder")
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)  # thousands of damaged packets
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counted = fuzz(arguments.inputs, Path(folder), arguments.keep, arguments.seed)
    lines = [f"{counted.total()} inputs in {time.monotonic() - started:.0f} s; none hung, none harmed this process"]
    lines += [f"{count:7}  {name}" for name, count in counted.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run(fuzz, __doc__)
