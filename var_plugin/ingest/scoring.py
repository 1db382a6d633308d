"""Score the rows of a video: kinds of events, novelty, and the anomaly score that combines them.

Rows are scored when a video is stored. They are scored again from their stored vectors, without the footage, when the
owner adds or removes an example. Both use `score_segments`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from var_plugin.encoders.anomaly import anomaly_score
from var_plugin.encoders.base import Space, Vectors, check_vectors
from var_plugin.encoders.caption_memory import CaptionMemory, Example
from var_plugin.encoders.novelty import blend_novelty
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidVectorError
from var_plugin.index.catalog import Entry
from var_plugin.index.examples import OwnerExample, revision
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.milvus.client import Reader
from var_plugin.index.rows import row_error
from var_plugin.index.schema import Row
from var_plugin.ingest.embed import Rows
from var_plugin.ingest.signals import defer_sigint
from var_plugin.types import MIN_EVENT_SCORE, Segment

logger = logging.getLogger(__name__)

# Decimals of stored scores. Events below the minimum are not stored.
_DECIMALS = 3
_MIN_STORED_EVENT = 0.1
# Number of videos whose rows are read and written at once by rescoring.
_BATCH_VIDEOS = 50

RescoreProgress = Callable[[int, int], None]
"""Called with the number of videos that are done, and their total."""


def score_new_rows(index: VideoGeneration, entry: Entry, rows: Rows) -> tuple[Entry, Rows]:
    """Return a video and its rows with their scores, before they are stored.

    Novelty within the video is replaced by novelty against the history of its camera, as far as that is known.

    Args:
        index: index that receives the video.
        entry: catalog row of the video.
        rows: its rows. Their `trained` and `novelty` are set, their other scores are computed here.
    """
    camera = entry.latest_sighting.camera
    examples = _applicable(index.owner_examples.all(), camera)
    learned = 0.0
    scored: Rows = {}
    for space, (segments, vectors) in rows.items():
        if space == index.histories.space and segments:
            novelty = index.histories.novelty(entry, segments, vectors)
            learned = novelty.learned
            within_video = np.array([segment.novelty for segment in segments], np.float32)
            blended = blend_novelty(novelty.scores, within_video, learned)
            segments = [
                segment.model_copy(update={"novelty": round(float(value), _DECIMALS)})
                for segment, value in zip(segments, blended, strict=True)
            ]
        memory = _memory(index.suite, space, examples)
        scored[space] = score_segments(segments, vectors, memory, learned), vectors
    return entry.model_copy(update={"learned": learned, "examples": revision(examples)}), scored


def remember_rows(index: VideoGeneration, entry: Entry, rows: Rows) -> None:
    """Add the stored rows of a video to the history of its camera."""
    if index.histories.space in rows:
        index.histories.add(entry, *rows[index.histories.space])


def score_segments(
    segments: Sequence[Segment], vectors: Vectors, memory: CaptionMemory | None, learned: float
) -> list[Segment]:
    """Return the segments of one video and space with events, reason and anomaly score.

    The segment of the whole video gets the scores of its most anomalous part.

    Args:
        segments: n segments with `trained` and `novelty`.
        vectors: (n, dim) their vectors.
        memory: caption memory of the space with the owner's examples. None: the space has no text encoder.
        learned: how well the history of the camera is known, from 0 to 1.
    """
    if not segments:
        return []
    matched = memory.events(vectors) if memory else None
    suppressed = memory.suppression(vectors) if memory else np.zeros(len(segments), np.float32)
    knows_kinds = bool(memory and memory.counted) or any(segment.trained for segment in segments)
    events: list[dict[str, float]] = []
    strongest = np.zeros(len(segments), np.float32)
    reasons: list[str] = []
    for number, segment in enumerate(segments):
        scores = {kind: float(score * (1 - suppressed[number])) for kind, score in segment.trained.items()}
        sentences: dict[str, int] = {}
        if memory and matched:
            for column, kind in enumerate(memory.kinds):
                score = float(matched.scores[number, column])
                if kind in scores:
                    # What the detector recognised is explained by a sentence only if the sentences recognise it too.
                    if score >= MIN_EVENT_SCORE:
                        sentences[kind] = int(matched.nearest[number, column])
                elif kind in memory.counted:
                    scores[kind] = score
                    sentences[kind] = int(matched.nearest[number, column])
        stored = {kind: round(score, _DECIMALS) for kind, score in scores.items() if score >= _MIN_STORED_EVENT}
        events.append(stored)
        strongest[number] = max(stored.values(), default=0.0)
        top = max(stored, key=lambda kind: stored[kind], default="")
        reasons.append(memory.sentence(sentences[top]) if memory and top in sentences else "")
    novelty = np.array([segment.novelty for segment in segments], np.float32) * (1 - suppressed)
    anomaly = anomaly_score(strongest if knows_kinds else None, novelty, learned)
    scored = [
        segment.model_copy(
            update={"events": events[i], "reason": reasons[i], "anomaly": round(float(anomaly[i]), _DECIMALS + 1)}
        )
        for i, segment in enumerate(segments)
    ]
    parts = [segment for segment in scored if segment.kind != "video"]
    highest = max(parts or scored, key=lambda segment: segment.anomaly)
    shared = {name: getattr(highest, name) for name in ("events", "reason", "anomaly", "novelty")}
    return [segment.model_copy(update=shared) if segment.kind == "video" else segment for segment in scored]


@dataclass(frozen=True)
class Rescored:
    """The outcome of `rescore`."""

    videos: int
    """Videos whose rows were scored with the current examples."""
    rows: int
    """Rows whose scores changed."""


def rescore(index: VideoGeneration, progress: RescoreProgress | None = None) -> Rescored:
    """Score all rows again whose owner's examples have changed, from their stored vectors.

    Searches continue meanwhile. If it is interrupted, the next call scores the remaining videos. If the examples change
    meanwhile, the rows are scored once more.

    Raises:
        StoreError: the store failed.
    """
    examples = index.owner_examples.all()
    outdated = [
        entry
        for entry in index.all_entries()
        if entry.state == "committed" and entry.examples != _revision_for(entry, examples)
    ]
    # Milvus Lite is slow at reading many rows, above all after a write.
    reader = index.pinned_reader()
    rows = 0
    for first in range(0, len(outdated), _BATCH_VIDEOS):
        part = outdated[first : first + _BATCH_VIDEOS]
        changed = _rescored_rows(index, reader, part, examples)
        with defer_sigint(), index.lock(*(entry.video_id for entry in part)):
            current = index.entries([entry.video_id for entry in part])
            # A video that was deleted or embedded again meanwhile is left out.
            unchanged = [entry.video_id for entry in part if _is_same(entry, current.get(entry.video_id))]
            by_space = {
                space: [row for video_id in unchanged for row in by_video[video_id]]
                for space, by_video in changed.items()
            }
            index.rewrite(
                by_space,
                [
                    current[video_id].model_copy(update={"examples": _revision_for(current[video_id], examples)})
                    for video_id in unchanged
                ],
            )
        rows += sum(map(len, by_space.values()))
        if progress:
            progress(first + len(part), len(outdated))
    if index.owner_examples.all() != examples:
        # Another process may have scored rows with newer examples meanwhile, which were replaced here.
        again = rescore(index, progress)
        return Rescored(len(outdated) + again.videos, rows + again.rows)
    return Rescored(len(outdated), rows)


def _rescored_rows(
    index: VideoGeneration, reader: Reader, entries: Sequence[Entry], examples: Sequence[OwnerExample]
) -> dict[str, dict[str, list[Row]]]:
    """Return the changed rows of each video, by space and video id."""
    changed: dict[str, dict[str, list[Row]]] = {}
    for space in index.suite.spaces:
        by_video: dict[str, list[Row]] = {entry.video_id: [] for entry in entries}
        for row in index.stored_rows(space, list(by_video), reader):
            if row_error(row) is None:
                by_video[row["video_id"]].append(row)
        changed[space] = {
            entry.video_id: _changed_rows(
                by_video[entry.video_id],
                _memory(index.suite, space, _applicable(examples, entry.latest_sighting.camera)),
                entry.learned,
            )
            for entry in entries
        }
    return changed


def _changed_rows(rows: Sequence[Row], memory: CaptionMemory | None, learned: float) -> list[Row]:
    if not rows:
        return []
    segments = [
        Segment(
            start=row["start_ms"] / 1000,
            end=row["end_ms"] / 1000,
            key=row["key_ms"] / 1000,
            kind=row["kind"],
            trained=row["trained"],
            novelty=row["novelty"],
        )
        for row in rows
    ]
    vectors = np.array([row["vector"] for row in rows], np.float32)
    changed = []
    for row, segment in zip(rows, score_segments(segments, vectors, memory, learned), strict=True):
        scores = {"events": dict(segment.events), "reason": segment.reason, "anomaly": segment.anomaly}
        if any(row[name] != value for name, value in scores.items()):
            changed.append({**row, **scores})
    return changed


@lru_cache(maxsize=32)
def _memory(suite: Suite, space: str, examples: tuple[OwnerExample, ...]) -> CaptionMemory | None:
    """Return the caption memory of a space with examples, or None if the space has no text encoder."""
    memory = suite.caption_memory(space)
    usable = [example for example in examples if _is_usable(example, suite.spaces[space])]
    if memory is None or not usable:
        return memory
    return memory.extended([Example(example.kind, example.text, example.vector) for example in usable])


def is_of_suite(example: OwnerExample, suite: Suite) -> bool:
    """Return whether an example is a sentence, or a moment that was marked with this suite. Others have no effect."""
    return example.vector is None or example.fingerprint in {space.fingerprint for space in suite.spaces.values()}


def _is_usable(example: OwnerExample, space: Space) -> bool:
    """Return whether an example is a sentence, or a moment with a valid vector of the space."""
    if example.vector is None:
        return True
    if example.fingerprint != space.fingerprint:
        return False
    try:
        check_vectors(example.vector[np.newaxis], space)
    except InvalidVectorError:  # others may have written it
        logger.warning("the example %s is damaged and left out: its vector does not fit its space", example.id)
        return False
    return True


def _applicable(examples: Sequence[OwnerExample], camera: str) -> tuple[OwnerExample, ...]:
    return tuple(example for example in examples if example.applies_to(camera))


def _revision_for(entry: Entry, examples: Sequence[OwnerExample]) -> str:
    return revision(_applicable(examples, entry.latest_sighting.camera))


def _is_same(before: Entry, now: Entry | None) -> bool:
    """Return whether the rows of a video are those that were read, except for their scores."""
    names = ("checksums", "settings", "latest_sighting", "metadata")
    return now is not None and all(getattr(now, name) == getattr(before, name) for name in names)
