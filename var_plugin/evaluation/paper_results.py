"""Published results on both benchmarks.

Sources: Tables II to X of Wu et al., "Toward Video Anomaly Retrieval from Video Anomaly Detection: New Benchmarks and
Model", arXiv 2307.12545, and the zero-shot results of the SVTA project on UCFCrime-AR. Some rows do not fit the
protocol of 290 test queries; their `note` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from var_plugin.evaluation.metrics import Direction, Retrieval

BenchmarkName = Literal["ucfcrime-ar", "xdviolence-ar"]

SVTA = "github.com/Shuyu-XJTU/SVTA, zero-shot"


@dataclass(frozen=True)
class PublishedRow:
    """One method of a results table."""

    method: str
    result: Retrieval
    source: str
    note: str = ""


def _row(method: str, source: str, *numbers: float, note: str = "") -> PublishedRow:
    """Create a row from eight values: R@1, R@5, R@10 and median rank, query to video, then video to query."""
    q1, q5, q10, q_rank, v1, v5, v10, v_rank = numbers
    return PublishedRow(
        method, Retrieval(Direction((q1, q5, q10), q_rank), Direction((v1, v5, v10), v_rank)), source, note
    )


RESULTS: dict[BenchmarkName, tuple[PublishedRow, ...]] = {
    "ucfcrime-ar": (
        _row("Random", "Table II", 0.3, 2.1, 3.4, 144.0, 0.3, 1.0, 3.1, 145.5),
        _row("CE", "Table II", 6.6, 19.7, 32.4, 23.5, 5.5, 19.7, 32.4, 21.0),
        _row("MMT", "Table II", 8.3, 26.2, 39.3, 16.0, 7.2, 23.1, 39.0, 16.0),
        _row("T2VLAD", "Table II", 7.6, 23.4, 39.7, 15.5, 6.2, 27.9, 43.1, 14.0),
        _row("X-CLIP", "Table II", 8.2, 27.2, 41.7, 16.0, 6.9, 25.8, 40.3, 15.0),
        _row("HL-Net", "Table II", 5.5, 20.2, 38.3, 19.5, 5.5, 22.8, 35.5, 20.0),
        _row("XML", "Table II", 6.9, 24.1, 42.4, 14.0, 6.6, 25.9, 43.4, 13.0),
        _row("ALAN", "Table II", 9.0, 27.9, 44.8, 14.0, 7.3, 24.8, 46.9, 12.0),
        _row("GRAM", SVTA, 34.5, 60.7, 70.7, 3.0, 32.4, 57.2, 68.6, 4.0),
        _row(
            "X-CLIP B/16",
            SVTA,
            *(27.4, 53.1, 67.8, 5.0, 20.4, 44.6, 59.5, 7.0),
            note="fits 292 and 294 queries, not 290",
        ),
        _row(
            "CLIP4Clip-MeanP",
            SVTA,
            *(23.6, 50.0, 63.0, 5.5, 16.7, 39.5, 54.1, 9.0),
            note="fits 292 and 294 queries, not 290",
        ),
    ),
    "xdviolence-ar": (
        _row("Random", "Table III", 0.4, 0.6, 2.5, 399.5, 0.1, 0.6, 0.8, 399.5),
        _row("CE", "Table III", 11.4, 33.3, 47.0, 12.5, 13.0, 34.3, 46.4, 13.0),
        _row("MMT", "Table III", 20.5, 53.5, 68.0, 5.0, 23.0, 54.6, 69.5, 5.0),
        _row("T2VLAD", "Table III", 22.4, 56.1, 71.0, 4.0, 23.2, 57.1, 73.5, 4.0),
        _row("X-CLIP", "Table III", 26.4, 61.1, 73.9, 3.0, 26.4, 61.3, 73.8, 4.0),
        _row("HL-Net", "Table III", 12.4, 36.6, 48.3, 11.0, 13.4, 38.3, 52.1, 10.0),
        _row("XML", "Table III", 22.9, 55.6, 70.3, 5.0, 22.6, 57.4, 71.4, 4.0),
        _row("ALAN", "Table III", 29.8, 68.0, 82.0, 3.0, 32.3, 70.0, 82.3, 3.0),
    ),
}

AblationNumbers = tuple[float, float, float, float]
"""R@1 and R@10 of query to video, then R@1 and R@10 of video to query."""

ABLATIONS: dict[BenchmarkName, dict[str, AblationNumbers]] = {
    "ucfcrime-ar": {
        "full": (9.0, 44.8, 7.3, 46.9),
        "sampling-fixed": (6.6, 35.5, 4.8, 42.4),
        "sampling-anomaly": (7.9, 37.6, 5.5, 41.7),
        "sampling-fixed-double": (6.6, 37.6, 6.2, 40.3),
        "phrases-none": (7.9, 43.4, 7.2, 43.4),
        "phrases-random-words": (8.6, 43.8, 6.2, 44.5),
        "phrases-words": (10.0, 44.5, 6.6, 42.8),
        "alpha-0.0": (6.6, 33.8, 4.8, 36.9),
        "alpha-0.2": (8.3, 38.6, 6.2, 40.3),
        "alpha-0.4": (7.9, 42.4, 6.9, 44.5),
        "alpha-0.6": (7.6, 45.2, 6.2, 47.2),
        "alpha-0.8": (7.6, 43.8, 5.5, 43.4),
        "alpha-1.0": (6.2, 42.8, 7.6, 40.3),
    },
    "xdviolence-ar": {
        "full": (29.8, 82.0, 32.3, 82.3),
        "sampling-fixed": (29.6, 80.4, 31.1, 80.9),
        "sampling-anomaly": (26.9, 78.6, 27.4, 78.9),
        "sampling-fixed-double": (28.5, 81.0, 29.8, 81.8),
        "alpha-0.0": (28.0, 79.3, 30.0, 80.1),
        "alpha-0.2": (30.4, 80.8, 32.1, 82.6),
        "alpha-0.4": (31.9, 80.9, 32.3, 82.4),
        "alpha-0.6": (31.0, 82.6, 32.8, 80.8),
        "alpha-0.8": (28.0, 79.8, 30.1, 79.3),
        "alpha-1.0": (26.8, 77.9, 28.6, 77.4),
    },
}
"""Tables IV to X by ablation. ``alpha-1.0`` is CLS alignment alone, ``alpha-0.0`` AVG alignment alone."""
