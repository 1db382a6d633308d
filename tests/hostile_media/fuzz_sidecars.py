"""Fuzzing: generated and randomly damaged sidecars are read, and the outcomes are counted.

    python -m tests.hostile_media.fuzz_sidecars --inputs 10000 [--seed 1]

A sidecar is a JSON file beside a video with its recording time. For any content, the time is either known, or unknown
with a one-line note.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, seed
from hypothesis import strategies as st

from tests.hostile_media.fuzz import Edit, Original, edits, generating, run
from var_plugin.ingest.timestamps import recorded_at

TIMES = [
    "2026-11-01T14:30:00+01:00", "2026-11-01T14:30Z", "2026-11-01", "20261101T143000Z", "2026-W44-7T14:30:00+01:00",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-01T14:30:00.123456789+01:00",
    "2026-02-30T00:00Z", "2026-11-01T24:00Z", "2026-11-01T14:30:00+99:99", "now", "", "\x1b[2J\n2026-11-01",
    "2026-11-01T14:30\ud800",
]  # fmt: skip


def contents() -> st.SearchStrategy[bytes]:
    """Return a strategy for sidecar content: JSON of every shape, damaged JSON, other encodings, binary data."""
    times = st.one_of(
        st.sampled_from(TIMES),
        st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat),
        st.text(max_size=40),
    )
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), times),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
    keys = st.sampled_from(["recorded_at", "Recorded_At", "camera"])
    objects = st.one_of(st.fixed_dictionaries({"recorded_at": times | values}), st.dictionaries(keys, values), values)
    texts = objects.map(json.dumps).map(str.encode)
    encoded = st.tuples(texts, st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "latin-1"])).map(
        lambda pair: pair[0].decode().encode(pair[1])
    )
    deep = st.tuples(st.sampled_from([b"[", b'{"recorded_at":', b'[{"a":']), st.integers(1, 200_000)).map(
        lambda pair: pair[0] * pair[1]
    )
    long = st.sampled_from([b'{"recorded_at": ' + b"9" * 5000 + b"}", b'{"recorded_at": "' + b"9" * 200_000 + b'"}'])
    damaged = st.tuples(texts, edits()).map(lambda pair: _damaged(*pair))
    return st.one_of(texts, texts, texts, damaged, damaged, encoded, deep, long, st.binary(max_size=200))


def _damaged(content: bytes, damage: list[Edit]) -> bytes:
    original = Original(content, list(range(len(content))))
    for edit in damage:
        content = edit.apply(content, original)
    return content


def outcome(video: Path) -> str:
    """Read the sidecar of a video. Return the certainty of the time.

    Raises:
        AssertionError: a receipt cannot store the time or a note. Other errors propagate.
    """
    recorded = recorded_at(video)
    origin = recorded.origin
    if recorded.at is None:
        assert origin.certainty == "unknown"
    else:
        assert (origin.certainty, origin.source) == ("known", "sidecar")
        assert recorded.at.tzinfo is UTC
        assert 1800 < recorded.at.year < 2300
    for note in origin.notes:
        assert len(note) < 400
        assert note.isprintable(), note
    origin.model_dump_json()
    return origin.certainty


def fuzz(inputs: int, folder: Path, keep: Path | None = None, start: int = 1) -> Counter[str]:
    """Read damaged sidecars. Return how often the time was known. No input is saved."""
    counted: Counter[str] = Counter()
    video = folder / "north.mp4"

    @seed(start)
    @generating(inputs)
    @given(contents(), st.sampled_from(["north.mp4.json", "north.json"]))
    def read_damaged(content: bytes, name: str) -> None:
        (folder / name).write_bytes(content)
        counted[outcome(video)] += 1
        (folder / name).unlink()

    read_damaged()
    return counted


if __name__ == "__main__":
    run(fuzz, __doc__)
