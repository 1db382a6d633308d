"""`evaluate anomalies` on videos with a known unusual part: a suite, and scores of another method."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.films import Film
from tests.ingest.test_add import scene
from tests.test_cli import Shell, shell  # noqa: F401  (a fixture)
from var_plugin.errors import InvalidInputError, MediaNotFoundError
from var_plugin.evaluation.anomalies import ScoredFootage, evaluate_anomalies, read_scores, scored_clip
from var_plugin.evaluation.anomaly_labels import VideoNames, load_labels
from var_plugin.evaluation.anomaly_metrics import AP, DETECTED, FALSE_ALARMS, FRAME_AUC, MEAN_AUC, PEAK, VIDEO_AUC


@pytest.fixture
def footage(film: Film) -> Path:
    """A video of 80 s that is red from 40 to 48 s, and a blue one."""
    film("cams/event.mp4", seconds=80, fps=2, paint=scene(*["blue"] * 5, "red", *["blue"] * 4))
    film("cams/calm.mp4", seconds=80, fps=2, paint=scene(*["blue"] * 10))
    (film.folder / "events.csv").write_text("video,start,end,kind\nevent,40,48,fire\n")
    return film.folder


def rows(report: Any) -> dict[str, dict[str, float]]:
    return {row["method"]: row["values"] for row in report["scores"]}


def test_a_suite_is_measured_beside_chance_and_frame_difference(shell: Shell, footage: Path) -> None:  # noqa: F811
    command = ["evaluate", "anomalies", "--videos", footage / "cams", "--annotations", footage / "events.csv"]
    report = shell.json(*command, "--per-video", footage / "videos.csv", "--threshold", "0.5")
    assert list(rows(report)) == ["Chance, expected", "frame difference", "novelty", "anomaly score"]
    score = rows(report)["anomaly score"]
    assert score[FRAME_AUC] == score[AP] == score[MEAN_AUC] == score[PEAK] == score[VIDEO_AUC] == score[DETECTED] == 1
    assert score[FALSE_ALARMS] == 0
    assert rows(report)["Chance, expected"][AP] == pytest.approx(8 / 160)
    assert rows(report)["frame difference"][FRAME_AUC] < 0.7, "the frames differ only where the colour changes"
    assert report["kinds"]["fire"][-1]["values"][FRAME_AUC] == 1
    assert report["footage"]["seconds_of_events"] == 8
    assert (report["missing"], report["failed"]) == ([], {})
    with (footage / "videos.csv").open() as file:
        calm, event = sorted(csv.DictReader(file), key=lambda row: row["video"])
    assert (event["kinds"], event["event seconds"], event["alarms"]) == ("fire", "8.0", "1")
    assert (event["anomaly score: AUC"], calm["anomaly score: AUC"]) == ("1.0", "")
    text = shell(*command)[1]
    assert "2 videos (160 s): 1 with 1 event (8 s), 1 normal (80 s)" in text
    assert "one alarm is 45 per hour" in text


def test_missing_and_broken_videos_are_listed_and_exit_with_1(shell: Shell, footage: Path) -> None:  # noqa: F811
    (footage / "cams/broken.mp4").write_bytes(b"nothing")
    with (footage / "events.csv").open("a") as file:
        file.write("gone,1,2,fire\n")
    command = ["evaluate", "anomalies", "--videos", footage / "cams", "--annotations", footage / "events.csv"]
    code, out, _ = shell(*command)
    assert code == 1
    assert "Missing: 1 video (gone)." in out
    assert "Not scored: 1 video (broken.mp4: " in out
    assert "2 videos (160 s)" in out


def test_a_part_of_a_benchmark_is_marked_as_a_part(shell: Shell, footage: Path) -> None:  # noqa: F811
    annotations = footage / "Temporal_Anomaly_Annotation.txt"
    annotations.write_text("event.mp4  Arson  1201  1440  -1  -1\nVandalism007_x264.mp4  Vandalism  240  750  -1  -1\n")
    command = ["evaluate", "anomalies", "--videos", footage / "cams", "--annotations", annotations]
    code, out, _ = shell(*command)
    assert code == 1
    assert "1 of the 290 test videos of UCF-Crime: a part of the test set, not comparable with published results" in out
    assert "Left out, without labels: 1 video (calm.mp4)." in out
    report = json.loads(shell(*command, "--json")[1])
    assert (report["is_whole_benchmark"], report["unlabelled"]) == (False, ["calm.mp4"])
    assert report["kinds"].keys() == {"fire"}
    assert rows(report)["anomaly score"][FRAME_AUC] == 1


def test_scores_of_another_method_are_measured_by_the_same_protocol(shell: Shell, footage: Path) -> None:  # noqa: F811
    clips = [{"start": t, "end": t + 8, "score": t, "events": {"fire": 0.9 * (t == 40)}} for t in range(0, 80, 8)]
    (footage / "scores.json").write_text(json.dumps({"event": clips, "calm": clips[:5]}))
    command = ["evaluate", "anomalies", "--annotations", footage / "events.csv", "--scores", footage / "scores.json"]
    report = shell.json(*command)
    assert list(rows(report)) == ["Chance, expected", "events", "anomaly score"]
    assert rows(report)["events"][FRAME_AUC] == 1
    assert rows(report)["anomaly score"][MEAN_AUC] == pytest.approx(5 / 9)
    assert [row["method"] for row in report["kinds"]["fire"]] == ["events", "anomaly score", "score of the kind"]
    report = shell.json(*command, "--videos", footage / "cams")
    assert list(rows(report)) == ["Chance, expected", "frame difference", "events", "anomaly score"]


def test_a_video_without_scores_is_not_left_out_silently(footage: Path) -> None:
    labels = load_labels(footage / "events.csv", VideoNames(["event.mp4", "calm.mp4"]))
    clip = {"start": 0, "end": 41, "score": 0.5}
    (footage / "scores.json").write_text(json.dumps({"event.mp4": [clip]}))
    report = evaluate_anomalies(labels, ScoredFootage(dict(read_scores(footage / "scores.json"))))
    assert report.failed == {"calm.mp4": "it has no scores"}
    assert report.unscored == ["event.mp4"], "7 s of the event are behind the last clip"
    assert not report.is_complete
    with pytest.raises(InvalidInputError, match="no labelled video has scores"):
        evaluate_anomalies(labels, ScoredFootage())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "not a JSON file of scores"),
        ('{"a": [{"start": 0, "end": 1}]}', r"a\.0\.score"),
        ('{"a": []}', "'a' has no clips"),
        ("{", "not a JSON file of scores"),
    ],
)
def test_invalid_scores_are_rejected(content: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(InvalidInputError, match=complaint):
        read_scores(tmp_path / "scores.json")
    with pytest.raises(MediaNotFoundError):
        read_scores(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        ('{"gone": [{"start": 0, "end": 1, "score": 0}]}', "there is no such video"),
        ('{"calm": [CLIP], "calm.mp4": [CLIP]}'.replace("CLIP", '{"start": 0, "end": 1, "score": 0}'), "other scores"),
        ('{"calm": [{"start": 1, "end": 1, "score": 0}]}', "calm.mp4: clips overlap or end before their start"),
    ],
)  # fmt: skip
def test_scores_that_fit_no_video_are_rejected(
    shell: Shell,  # noqa: F811
    footage: Path,
    scores: str,
    complaint: str,
) -> None:
    (footage / "scores.json").write_text(scores)
    code, _, err = shell(
        "evaluate", "anomalies", "--videos", footage / "cams", "--annotations", footage / "events.csv",
        "--scores", footage / "scores.json",
    )  # fmt: skip
    assert code == 2
    assert complaint in err


def test_videos_or_scores_are_required(shell: Shell) -> None:  # noqa: F811
    code, _, err = shell("evaluate", "anomalies", "--annotations", "events.csv")
    assert (code, "anomalies needs videos or scores" in err) == (2, True)


def test_own_captions_with_both_labels_give_the_auc(shell: Shell, footage: Path) -> None:  # noqa: F811
    command = ["evaluate", "own", "--videos", footage / "cams", "--annotations", footage / "captions.csv"]
    (footage / "captions.csv").write_text(
        "video,caption,start,end,anomalous\nevent,red,40,48,1\nevent,blue,0,30,0\ncalm,blue,,,0\ncalm,white,,,\n"
    )
    anomalies = [(row["method"], row["anomalies"]["values"]) for row in shell.json(*command) if "anomalies" in row]
    assert [method for method, _ in anomalies] == ["Chance, expected", "colors, zero-shot"]
    assert anomalies[0][1][AP] == pytest.approx(8 / 118), "unlabelled time is left out"
    assert anomalies[1][1][FRAME_AUC] == 1
    assert "| colors, zero-shot | 1.000" in shell(*command)[1]
    (footage / "captions.csv").write_text("video,caption,anomalous\nevent,red,1\ncalm,blue,0\n")
    assert shell.json(*command)[1]["anomalies"]["values"] == {VIDEO_AUC: 1}
    (footage / "captions.csv").write_text("video,caption,anomalous\nevent,red,1\ncalm,blue,1\n")
    assert not any("anomalies" in row for row in shell.json(*command)), "one class is missing"


def test_the_clips_of_a_suite_are_its_anomaly_scores(footage: Path) -> None:
    from tests.colors import color_suite

    clips = color_suite().anomaly(footage / "cams/event.mp4")
    assert [scored_clip(clip).score for clip in clips] == [clip.score for clip in clips]
    assert 40 <= max(clips, key=lambda clip: clip.score).start < 48
