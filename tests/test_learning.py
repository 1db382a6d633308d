"""`train` and `evaluate` on the command line, from captioned videos to a suite and its table of results."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.films import Film
from tests.ingest.test_add import scene
from tests.test_cli import Shell, shell  # noqa: F401  (a fixture)

COLOURS = ["red", "green", "blue", "yellow", "white", "red"]


@pytest.fixture
def footage(film: Film) -> Path:
    """Six videos of two seconds, and two tables of captions."""
    lines, timed = ["video,caption,anomalous"], ["video,caption,start,end"]
    for number, color in enumerate(COLOURS):
        film(f"cams/{number}.mp4", seconds=2, fps=4, paint=scene(color))
        lines.append(f"{number}.mp4,{color} number {number},{number % 2}")
        timed.append(f"{number},{color},0,2")
    (film.folder / "captions.csv").write_text("\n".join(lines))
    (film.folder / "times.csv").write_text("\n".join(timed))
    return film.folder


def test_training_on_own_videos_gives_a_suite_and_a_comparison(
    shell: Shell,  # noqa: F811
    footage: Path,
) -> None:
    own = ["own", "--videos", footage / "cams", "--annotations", footage / "captions.csv"]
    result = shell.json("train", *own, "--out", footage / "mine", "--epochs", "2")
    assert result["folder"] == str(footage / "mine")
    assert result["training_queries"] + result["validation_queries"] == 6
    assert result["best_sum_r"] >= result["baseline_sum_r"]
    assert shell("train", *own, "--out", footage / "mine")[0] == 2, "a suite is not overwritten"
    rows = shell.json("evaluate", *own, "--suite", footage / "mine")
    assert [row["method"] for row in rows] == [
        "Chance, expected", "colors, zero-shot", f"{footage / 'mine'}, trained",
    ]  # fmt: skip
    assert rows[0]["values"]["query_to_video/R@1"] == pytest.approx(100 / 6)
    zero_shot = rows[1]["values"]["query_to_video/R@1"]
    assert zero_shot == pytest.approx(100 * 4 / 6), "two red films tie, and share the ranks 1 and 2"
    interval = rows[1]["intervals"]["query_to_video/R@1"]
    assert interval["low"] <= zero_shot <= interval["high"]
    assert "| colors, zero-shot | measured |" in shell("evaluate", *own, "--frames", "2")[1]


def test_moments_are_found_where_captions_have_times(
    shell: Shell,  # noqa: F811
    footage: Path,
) -> None:
    rows = shell.json("evaluate", "own", "--videos", footage / "cams", "--annotations", footage / "times.csv")
    assert [row["method"] for row in rows] == [
        "Chance, expected", "Perfect order of the same spans", "colors, zero-shot",
    ]  # fmt: skip
    assert rows[1]["values"]["IoU 0.7 R@1"] == 100
    assert rows[2]["values"]["IoU 0.7 R@5"] == 100
    assert rows[0]["values"]["IoU 0.7 R@1"] == pytest.approx(100 / 6)
    table = shell("evaluate", "own", "--videos", footage / "cams", "--annotations", footage / "times.csv")[1]
    assert "IoU 0.5 R@1" in table


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["evaluate", "uca"], 2, "uca needs videos"),
        (["train", "own", "--out", "m"], 2, "own needs videos"),
        (["evaluate", "own", "--videos", "."], 2, "own needs annotations"),
        (["train", "xdviolence-ar", "--videos", ".", "--out", "m"], 2, "xdviolence-ar needs annotations"),
    ],
)
def test_missing_arguments_are_errors(shell: Shell, words: list[str], code: int, message: str) -> None:  # noqa: F811
    exit_code, _, err = shell(*words)
    assert exit_code == code
    assert message in err


def test_evaluate_without_a_model_says_what_is_untested(shell: Shell) -> None:  # noqa: F811
    rows = shell.json("evaluate", "ucfcrime-ar")
    alan = next(row for row in rows if row["method"].startswith("ALAN") and row["status"] == "published")
    assert 9.0 in alan["values"].values()
    ours = next(row for row in rows if row["status"] == "untested")
    assert ours["values"] is None
    assert "var-plugin train ucfcrime-ar" in ours["note"]
    assert "| untested |" in shell("evaluate", "xdviolence-ar")[1]
