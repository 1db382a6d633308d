from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import typer
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import var_plugin
from tests.colors import DESCRIPTION, AnyWords, build
from tests.encoders.backbones.tiny import save_clap, save_clip
from tests.evaluation.test_calibrate import WORDS
from tests.films import Film, textured
from tests.ingest.test_add import scene
from var_plugin import cli
from var_plugin.api import open_index
from var_plugin.cli.options import parse_path
from var_plugin.encoders import registry as suites
from var_plugin.errors import StoreError
from var_plugin.index.index import VideoIndex
from var_plugin.media.sandbox.client import Frames


class Shell:
    """Runs commands in this process, with the suite of colours registered in addition to `lite`."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["var-plugin", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            cli.main()
            sys.exit(0)
        output = self.capsys.readouterr()
        return int(raised.value.code or 0), output.out, output.err

    def json(self, *arguments: str | Path) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated_home: Path
) -> Shell:
    from var_plugin.config import settings

    monkeypatch.setattr(suites, "_BUILT_IN", (*suites._BUILT_IN, DESCRIPTION))
    monkeypatch.setenv("VAR_PLUGIN_SUITE", "colors")
    monkeypatch.setenv("VAR_PLUGIN_INDEX", str(tmp_path / "index.db"))
    settings.cache_clear()
    return Shell(capsys, monkeypatch)


def test_index_then_search(shell: Shell, film: Film) -> None:
    path = film("cams/north.mp4", seconds=24, fps=5, paint=scene("blue", "red", "blue"))
    code, out, err = shell("index", path.parent, "--recorded-at", "2026-11-01T12:00+01:00")
    assert (code, err) == (0, "")
    assert f"stored     {path}  4 scene" in out
    assert "1 stored (0.4 min, 4 rows, 600 rows per hour), 0 failed" in out
    code, out, err = shell("search", "red")
    assert (code, err) == (0, "")
    assert "1. north  0:08.0 - 0:16.0  2026-11-01 11:00:08 UTC  score" in out
    assert "anomaly over the video" in out
    assert ".jpg" in out


def test_derived_clock_times_are_marked_as_derived(shell: Shell, film: Film) -> None:
    named = film("20251101_130500.mp4")
    headed = film("b.mp4", paint=lambda time: textured(2), metadata={"creation_time": "2025-11-01T12:05:00Z"})
    plain = film("c.mp4", paint=lambda time: textured(3))
    code, out, err = shell(
        "index", named, headed, plain, "--camera", "yard", "--zone", "Europe/Berlin", "--clock-offset", "-300"
    )
    assert (code, err) == (0, "")
    assert "recorded 2025-11-01 12:00:00 UTC (derived: file name)" in out
    assert "recorded 2025-11-01 12:00:00 UTC (derived: container)" in out
    assert "recorded at an unknown time; no time could be read from name or header" in out
    videos = shell.json("videos")
    assert [video["clock"]["certainty"] for video in videos] == ["derived", "derived", "unknown"]
    assert [video["recorded_at"] for video in videos] == ["2025-11-01T12:00:00Z"] * 2 + [None]
    assert "(derived: container)" in shell("videos")[1]
    moments = shell.json("search", "red", "--after", "2025-11-01T11:59Z", "--before", "2025-11-01T12:01Z")
    assert len(moments) == 2
    again = shell.json("index", named, "--camera", "yard", "--zone", "UTC")["videos"][0]
    assert (again["status"], again["recorded_at"]) == ("unchanged", "2025-11-01T12:00:00Z")
    assert "keeps camera 'yard' and its clock time" in again["reason"]


def test_a_local_time_without_its_zone_is_not_used(shell: Shell, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    from var_plugin.config import settings

    (line,) = shell.json("index", film("20251101_130500.mp4"))["videos"]
    assert (line["recorded_at"], line["clock"]["certainty"]) == (None, "unknown")
    assert "not in which time zone" in line["clock"]["notes"][0]
    monkeypatch.setenv("VAR_PLUGIN_ZONE", "Europe/Berlin")
    monkeypatch.setenv("VAR_PLUGIN_CAMERAS", '{"yard": {"offset": -300}}')
    settings.cache_clear()
    path = film("yard/20251101_130500.mp4", paint=lambda time: textured(2))
    (line,) = shell.json("index", path.parent, "--camera", "yard")["videos"]
    assert (line["recorded_at"], line["clock"]["source"]) == ("2025-11-01T12:00:00Z", "file name")


def test_json_is_one_document_on_stdout(shell: Shell, film: Film) -> None:
    path = film("north.mp4", seconds=24, fps=5, paint=scene("blue", "red", "blue"))
    receipt = shell.json("index", path)
    assert receipt["ok"] is True
    assert receipt["videos"][0]["verified"] == {"scene": 4}
    (video,) = shell.json("videos")
    assert video["video_id"] == receipt["videos"][0]["video_id"]
    best = shell.json("search", "red", "-k", "1")[0]
    assert best.keys() == {
        "video_id", "uri", "camera", "start", "end", "peak", "score", "confidence", "grade", "anomaly_score", "matched",
        "recorded_at", "thumbnail", "id", "events", "novelty",
    }  # fmt: skip
    assert (best["start"], best["end"], best["camera"]) == (8.0, 16.0, "north")
    assert Path(best["thumbnail"]).stat().st_size > 100
    (vector,) = shell.json("encode", "text", "red")
    assert vector == {"item": "red", "vector": [1.0, 0.0, 0.0]}
    assert {suite["name"] for suite in shell.json("suites")} >= {"lite", "colors"}


def test_anomalies_are_listed_and_examples_change_them(shell: Shell, film: Film) -> None:
    path = film("north.mp4", seconds=90, fps=4, paint=lambda time: scene("blue" if 40 < time < 50 else "red")(0))
    shell("index", path, "--recorded-at", "2026-11-01T10:00Z")
    (moment, *_) = shell.json("anomalies", "--after", "2026-11-01T09:00Z", "-k", "1")
    assert moment["start"] < 50
    assert moment["end"] > 40
    assert moment["anomaly_score"] > 0.5
    assert shell.json("anomalies", "--before", "2026-11-01T09:00Z") == []
    code, out, _ = shell("anomalies")
    assert (code, out.startswith("1. north  0:40.0")) == (0, True)
    marked = shell.json("anomalies", "normal", "--moment", moment["id"])
    assert marked["changed_rows"] > 0
    assert [listed["id"] for listed in shell.json("anomalies", "list")] == [marked["id"]]
    assert moment["id"] not in [listed["id"] for listed in shell.json("anomalies")]
    shell("anomalies", "remove", marked["id"])
    assert shell.json("anomalies", "-k", "1")[0]["anomaly_score"] == moment["anomaly_score"]
    alarm = shell.json("anomalies", "alarm", "a blue thing", "--camera", "north")
    assert alarm["text"] == "a blue thing"
    report = shell.json("report", path.with_suffix(".html"))
    assert report["moments"] >= 1
    page = path.with_suffix(".html").read_text()
    assert "data:image/jpeg" in page
    assert "http" not in page.replace("http-equiv", "")


def test_filters_on_the_command_line(shell: Shell, film: Film) -> None:
    for number, camera in enumerate(("north", "south")):
        path = film(f"{camera}.mp4", seconds=8 + number, fps=5, paint=scene("red"))
        shell("index", path, "--recorded-at", f"2026-11-01T1{number}:00Z")
    assert [m["camera"] for m in shell.json("search", "red", "--camera", "south")] == ["south"]
    assert [m["camera"] for m in shell.json("search", "red", "--before", "2026-11-01T10:30Z")] == ["north"]
    assert [m["camera"] for m in shell.json("search", "red", "--after", "2026-11-01T10:30Z")] == ["south"]
    assert shell.json("search", "red", "--min-anomaly", "0.9") == []
    assert len(shell.json("search", "red", "--max-anomaly", "0.9")) == 2
    assert {m["end"] for m in shell.json("search", "red", "--segment-kind", "video", "--segment-kind", "anomaly")} == {
        8.0,
        9.0,
    }
    assert len(shell.json("search", "red", "--segment-kind", "uniform")) == 2
    assert shell.json("search", "red", "--segment-kind", "anomaly") == []
    assert [m["camera"] for m in shell.json("search", "red", "--after-second", "8")] == ["south"]
    assert shell.json("search", "red", "--before-second", "0") == []
    code, out, _ = shell("search", "red", "--min-anomaly", "0.9")
    assert (code, out) == (0, "no moments: the index is empty, or no segment matches the filter\n")


def test_a_time_filter_that_excludes_footage_without_recording_time_warns(shell: Shell, film: Film) -> None:
    shell("index", film())
    for command in (["search", "red"], ["anomalies"]):
        _, _, err = shell(*command, "--after", "2026-11-01T00:00Z")
        assert "videos without a known recording time: 1; --after and --before exclude them" in err
        _, _, err = shell(*command)
        assert "recording time" not in err


def test_searching_a_missing_index_fails_and_does_not_create_it(shell: Shell, tmp_path: Path) -> None:
    missing = tmp_path / "misspelt.db"
    for command in (["search", "red"], ["videos"], ["verify"]):
        code, out, err = shell(*command, "--index", str(missing))
        assert code != 0
        assert out == ""
        assert f"there is no index at {missing}" in err
    assert not missing.exists()


def test_metadata_are_stored_and_filtered_by(shell: Shell, film: Film) -> None:
    assert shell("index", film("a.mp4"), "--meta", "floor=3", "--meta", "gate=süd", "--meta", 'number="7"')[0] == 0
    assert shell("index", film("b.mp4", paint=lambda time: textured(2)), "--meta", "floor=2")[0] == 0
    assert shell.json("videos")[0]["metadata"] == {"floor": 3, "gate": "süd", "number": "7"}
    for words, count in [(["floor=3"], 1), (["floor=3", "gate=süd"], 1), (["number=7"], 0), (['number="7"'], 1)]:
        options = [option for word in words for option in ("--meta", word)]
        assert len(shell.json("search", "red", *options)) == count, words
    for word, message in [
        ("deep=" + "[" * 30_000, "30000 characters"),
        ("floor", "is not a metadata entry"),
        ('a"] or ["=1', "metadata key"),
        ("floor=NaN", "finite"),
    ]:
        code, out, err = shell("search", "red", "--meta", word)
        assert (code, out) == (2, "")
        assert message in err


def test_nearly_full_embedded_index_causes_a_warning(shell: Shell, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("var_plugin.index.milvus.options.MAX_LITE_ROWS", 4)
    assert shell("index", film("a.mp4"))[2] == ""
    code, _, err = shell("index", film("b.mp4", paint=lambda time: textured(2)))
    assert code == 0
    assert "4 rows in one space; the embedded Milvus Lite becomes slow near 4" in err


@pytest.fixture
def undeletable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ids of videos whose deletion fails, as on a full disk."""
    ids: set[str] = set()
    delete = VideoIndex.delete

    def guarded(index: VideoIndex, video_id: str) -> None:
        if video_id in ids:
            raise StoreError("the rows were not deleted", why="no space left on device")
        delete(index, video_id)

    monkeypatch.setattr(VideoIndex, "delete", guarded)
    return ids


def test_partial_deletion_lists_the_deleted_videos(shell: Shell, film: Film, undeletable: set[str]) -> None:
    paths = [film("a.mp4"), film("b.mp4", paint=lambda time: textured(2))]
    first, second = (shell.json("index", path)["videos"][0]["video_id"] for path in paths)
    undeletable.add(second)
    code, out, err = shell("delete", first, second)
    assert (code, f"{first} deleted" in out, second in out) == (1, True, False)
    assert "no space left on device" in err
    assert "stopped after 1 videos, 1 not deleted" in err
    assert [video["video_id"] for video in shell.json("videos")] == [second]


def test_partial_pruning_reports_the_deleted_videos(shell: Shell, film: Film, undeletable: set[str]) -> None:
    for name, day, paint in (("a.mp4", 1, textured(1)), ("b.mp4", 2, textured(2))):
        path = film(name, paint=lambda time, paint=paint: paint)
        video_id = shell.json("index", path, "--recorded-at", f"2020-01-0{day}T00:00Z")["videos"][0]["video_id"]
    undeletable.add(video_id)
    code, out, err = shell("prune", "--keep-days", "30", "--json")
    assert (code, len(json.loads(out)["deleted"])) == (1, 1)
    assert "pruning is incomplete: the rows were not deleted: no space left on device" in err
    assert [video["video_id"] for video in shell.json("videos")] == [video_id]


def test_delete_removes_videos_and_reports_them(shell: Shell, film: Film) -> None:
    video_id = shell.json("index", film())["videos"][0]["video_id"]
    assert shell("delete", video_id)[0] == 0
    assert shell.json("videos") == []
    assert shell("delete", video_id)[0] == 2


def test_each_kind_of_bad_file_has_its_message_and_exit_code(shell: Shell, film: Film, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film " * 1000)
    (tmp_path / "folder").mkdir()
    sound = film("sound.mp4", tone=440, images=False)
    cut = film("cut.mp4", seconds=30, paint=lambda time: textured(int(time * 10)), options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    whole = film("whole.mp4")
    for path, code, message in [
        (tmp_path / "missing.mp4", 3, "does not exist"),
        (tmp_path / "empty.mp4", 3, "is empty"),
        (tmp_path / "text.mp4", 3, "as video or audio: Invalid data found when processing input;"),
        (cut, 3, "is truncated"),
        (sound, 3, "has no video stream"),
        (tmp_path / "folder", 3, "no videos in"),
    ]:
        exit_code, out, _ = shell("index", path, whole)
        assert exit_code == code, path
        line = next(line for line in out.splitlines() if line.startswith("failed"))
        assert str(path) in line
        assert message in line
        assert any(line.startswith(("stored", "unchanged")) for line in out.splitlines()), "other files are indexed"
    assert [Path(video["uri"]).name for video in shell.json("videos")] == ["whole.mp4"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["search", "red", "--index", "ftp://somewhere"], 4, "not the address of a Milvus server"),
        (["search", "red", "--index", "http://localhost:1"], 4, "no Milvus server answers"),
        (["search", "red", "--suite", "heavy"], 5, "no suite is called 'heavy'"),
        (["search"], 2, "nothing to search for"),
        (["index", "a.mp4", "--zone", "Berlin"], 2, "are not a valid camera clock"),
        (["search", "red", "-k", "0"], 2, "cannot return 0 moments"),
        (["search", "red", "--after", "noon"], 2, "'noon' is not a date and time"),
        (["search", "red", "--after", "2026-11-01T14:00"], 2, "has no time zone"),
        (["search", "red", "--min-anomaly", "nan"], 2, "finite"),
        (["search", "red", "--segment-kind", "odd"], 2, "segment_kinds.0: Input should be 'uniform', 'anomaly' or"),
        (["search", "red", "--kind", "odd"], 2, "'odd' is not a kind of event: the kinds are alarm"),
        (["anomalies", "--kind", "Fire"], 2, "'Fire' is not a kind of event: the kinds are alarm"),
        (["anomalies", "normal"], 2, "an example needs either a sentence or a moment"),
        (["anomalies", "remove", "absent"], 2, "there is no example 'absent'"),
        (["anomalies", "--camera", "north", "normal", "rain"], 2, "--camera in front of 'normal' has no effect"),
        (["anomalies", "--index", "other.db", "list"], 2, "--index in front of 'list' has no effect"),
        (["anomalies", "normal", "caf\udce9"], 2, "has control characters"),
        (["anomalies", "normal", "--moment", "v-0-8000", "--camera", "n"], 2, "a moment applies to its own camera"),
        (["anomalies", "--after", "999999 weeks ago"], 2, "it is before the year 1"),
        (["anomalies", "--meta", f"floor={2**63}"], 2, "an integer is too large: integers have 64 bits"),
        (["search", "red", "--meta", f"floor={'9' * 400}"], 2, "an integer is too large"),
        (["index", "a.mp4", "--meta", f"floor={2**63}"], 2, "an integer is too large"),
        (["report", "camera.mp4"], 2, "camera.mp4 is not the name of an HTML file"),
        (["index", "a.mp4", "--zone", "caf\udce9"], 2, "names of time zones are ASCII"),
        (["alerts", "add", "a", "red", "--command", "caf\udce9"], 2, "its command or a name is not valid Unicode"),
        (["alerts", "add", "a", "red", "--camera", "a\nb", "--command", "true"], 2, "has control characters"),
        (["alerts", "add", "a", "red", "--mqtt", "mqtt://h:65536/t"], 2, "the MQTT address is invalid"),
        (["alerts", "add", "a", "--anomaly", "--time-of-day", "9:00-9:00"], 2, "is not a time of day"),
        (["alerts", "add", "a", "--anomaly", "--time-of-day", "09:00-09:00"], 2, "is an empty time of day"),
        (["alerts", "add", "a", "--anomaly", "--time-of-day", "09:00+01:00-10:00"], 2, "the time zone is not part of"),
        (["search", "--audio", "scream.wav"], 2, "cannot encode audio"),
        (["encode", "audio", "scream.wav"], 2, "cannot encode audio"),
        (["evaluate", "ucfcrime-ar", "--model", "."], 2, "needs its annotations and features"),
        (["train", "xdviolence-ar", "--out", "m", "--annotations", ".", "--rgb", "."], 2, "needs the VGGish features"),
        (["index"], 2, "Missing argument"),
        (["fly"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_arguments_give_one_line_and_an_exit_code(
    shell: Shell, words: list[str], code: int, message: str
) -> None:
    open_index(create=True).close()
    exit_code, out, err = shell(*words)
    assert (exit_code, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VAR_PLUGIN_CAMERAS", "{", "Expecting property name"),
        ("VAR_PLUGIN_CAMERAS", '{"north": {"zone": "Mars"}}', "north.zone: invalid timezone: Mars"),
        ("VAR_PLUGIN_CAMERAS", "[]", "valid dictionary"),
        ("VAR_PLUGIN_CAMERAS", "[" * 100_000, "it is nested too deeply"),
        ("VAR_PLUGIN_ZONE", "Berlin", "invalid timezone: Berlin"),
        ("VAR_PLUGIN_FPS", "often", "valid number"),
        ("VAR_PLUGIN_FPS", "0", "greater than 0"),
        ("VAR_PLUGIN_DTYPE", "int4", "'float32', 'bfloat16' or 'float16'"),
    ],
)
def test_invalid_setting_gives_one_line(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    from var_plugin.config import settings

    monkeypatch.setenv(name, value)
    settings.cache_clear()
    code, out, err = shell("videos", "--json")
    settings.cache_clear()
    assert (code, out) == (6, "")
    assert err.startswith(f"var-plugin: the environment variable {name} cannot be used: ")
    assert message in err
    assert err.count("\n") == 1


def test_index_of_another_suite_is_refused_until_reindexed(
    shell: Shell, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("index", film())
    (moment,) = shell.json("search", "red", "-k", "1")
    shell("anomalies", "normal", "--moment", moment["id"])
    shell("anomalies", "normal", "a red wall")
    assert [marked["has_effect"] for marked in shell.json("anomalies", "list")] == [True, True]
    monkeypatch.setattr("tests.colors.build", lambda options: build(fingerprint="colors-2"))
    code, _, err = shell("search", "red")
    assert code == 4
    assert "the index was built by suite 'colors'" in err
    code, _, err = shell("reindex", "--suite", "colors")
    assert code == 0, "works although the suite version of the index is gone"
    assert err.startswith("note: 1 of the moments that were marked as normal or as an alarm have no effect")
    assert [marked["has_effect"] for marked in shell.json("anomalies", "list")] == [False, True]
    assert "no effect: marked with another suite" in shell("anomalies", "list")[1]
    shell("anomalies", "remove", shell.json("anomalies", "list")[0]["id"])
    assert shell("reindex", "--suite", "colors")[::2] == (0, "")
    assert len(shell.json("search", "red")) == 1
    assert shell.json("verify")["ok"] is True


def test_index_is_opened_with_its_own_suite(shell: Shell, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    from var_plugin.config import settings

    shell("index", film())
    monkeypatch.delenv("VAR_PLUGIN_SUITE")
    settings.cache_clear()
    assert len(shell.json("search", "red")) == 1
    code, _, err = shell("search", "red", "--suite", "lite")
    assert code == 4
    assert "built by suite 'colors'" in err
    assert "with suite 'lite'" in err
    monkeypatch.setattr(suites, "_BUILT_IN", suites._BUILT_IN[:1])
    code, _, err = shell("search", "red")
    assert code == 4, "the suite of the index is unknown"
    assert "built by suite 'colors'" in err
    assert "with suite 'lite'" in err


def test_export_writes_the_moment_as_a_clip(shell: Shell, film: Film, tmp_path: Path) -> None:
    path = film("north.mp4", seconds=24, fps=5, paint=scene("blue", "red", "blue"))
    shell("index", path)
    best = shell.json("search", "red", "-k", "1")[0]
    clip = shell.json("export", best["id"], tmp_path / "clip.mp4")
    assert clip["start"] == pytest.approx(8.0, abs=1.1)
    assert 16.0 <= clip["end"] < 17.5
    assert Path(clip["path"]).stat().st_size > 500
    exact = shell.json(
        "export", best["id"], tmp_path / "x.mkv", "--exact", "--thumbnail", tmp_path / "thumbnails/x.jpg"
    )
    assert (exact["start"], exact["end"]) == (8.0, 16.0)
    assert sum(1 for _ in Frames(tmp_path / "x.mkv")) == 40
    with Image.open(tmp_path / "thumbnails/x.jpg") as image:
        red, green, blue = np.asarray(image).mean(axis=(0, 1))
    assert red > 100 > green + blue, "the thumbnail of the moment"
    other = film("second.mp4", paint=scene("green"))
    shell("index", other)
    (tmp_path / "link.mp4").symlink_to(other)
    content = {file: file.read_bytes() for file in (path, other)}
    for words in ([path], [other], [tmp_path / "link.mp4"], [tmp_path / "y.mp4", "--thumbnail", other]):
        code, _, err = shell("export", best["id"], *words)
        assert (code, "choose another path" in err) == (2, True)
    assert {file: file.read_bytes() for file in content} == content, "footage is never replaced"
    assert shell("export", "nonsense", tmp_path / "x.mp4")[0] == 2
    assert shell("export", "gone-0-8000", tmp_path / "x.mp4")[0] == 2
    film("north.mp4", seconds=24, fps=5, paint=scene("green"))
    code, _, err = shell("export", best["id"], tmp_path / "other.mp4", "--thumbnail", tmp_path / "other.jpg")
    assert (code, "has changed since it was indexed" in err) == (3, True)
    assert not (tmp_path / "other.mp4").exists()
    path.unlink()
    assert shell("export", best["id"], tmp_path / "x.mp4")[0] == 3


def test_verify_backup_reindex_prune_and_restore(
    shell: Shell, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("index", film("north.mp4"), "--recorded-at", "2020-01-01T00:00Z")
    assert shell.json("verify")["videos"] == 1
    assert "no problems" in shell("verify")[1]
    assert shell.json("backup", tmp_path / "saved")["videos"] == 1
    assert shell("backup", tmp_path / "saved")[0] == 2, "a backup is not overwritten"
    assert shell.json("reindex", "--suite", "colors")["ok"] is True
    assert shell("prune")[0] == 2
    assert len(shell.json("prune", "--keep-days", "30")["deleted"]) == 1
    assert shell.json("videos") == []
    assert shell("restore", tmp_path / "saved", "--index", tmp_path / "again.db")[0] == 0
    assert len(shell.json("videos", "--index", tmp_path / "again.db")) == 1


def test_verify_names_the_command_that_repairs_and_it_works(shell: Shell, film: Film, tmp_path: Path) -> None:
    deleted, pending = (film(f"{n}.mp4", seconds=2, paint=scene(color)) for n, color in enumerate(("red", "blue")))
    location = str(tmp_path / "my index.db")
    assert shell("index", deleted, pending, "--index", location)[0] == 0
    with open_index(location) as index:
        store, scene_rows = index._inner._store, index._inner._collection("scene")
        first, second = index._inner.all_entries()
        (row, *_) = store.rows(scene_rows, f'video_id == "{first.video_id}"', ["*"])
        store.write(scene_rows, [{**row, "video_id": "feed", "id": "x"}])
        store.delete(scene_rows, f'id == "{row["id"]}"')
        store.write(scene_rows, [{**row, "video_id": "no\nid", "id": "y"}])
        index._inner.update(second.model_copy(update={"state": "pending"}))
    deleted.unlink()
    code, out, err = shell("verify", "--index", location)
    assert (code, "4 problems" in out, len(err.splitlines())) == (1, True, 1)
    code, out, err = shell(*shlex.split("verify" + err.partition("var-plugin verify")[2]))
    assert (code, "2 problems" in out) == (1, True), "the file of one video is missing"
    code, out, _ = shell(*shlex.split("delete" + err.partition("var-plugin delete")[2]))
    assert (code, out) == (0, f"{first.video_id} deleted\n")
    code, out, err = shell("verify", "--repair", "--index", location)
    assert (code, "1 problems" in out) == (1, True), "rows with this id cannot be filtered"
    code, out, _ = shell(*shlex.split("reindex" + err.partition("var-plugin reindex")[2]))
    assert code == 0, out
    assert shell("verify", "--index", location)[::2] == (0, "")


def commands(group: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of all commands and groups, such as `("alerts",)` and `("alerts", "add")`."""
    for name, command in group.commands.items():
        yield *names, name
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)


COMMANDS = sorted(commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_of_every_command_shows_an_example_that_is_valid(names: tuple[str, ...]) -> None:
    text = CliRunner().invoke(cli.app, [*names, "--help"]).stdout
    examples = [line.strip() for line in text.splitlines() if line.startswith("    var-plugin ")]
    assert examples, text
    for line in examples:
        arguments = shlex.split(line)[1:]
        assert arguments[: len(names)] == [*names] or names == ("alerts",)
        assert CliRunner().invoke(cli.app, [*arguments, "--help"]).exit_code == 0, line


@pytest.mark.parametrize("names", [(), ("anomalies",), ("alerts",)], ids=" ".join)
def test_descriptions_in_the_list_of_commands_are_not_cut_off(names: tuple[str, ...]) -> None:
    _, _, listed = CliRunner().invoke(cli.app, [*names, "--help"]).stdout.partition("Commands:")
    assert listed
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


def functions(program: typer.Typer) -> Iterator[Callable[..., None]]:
    """Yield the function of each command."""
    yield from (command.callback for command in program.registered_commands if command.callback)
    for group in program.registered_groups:
        if group.typer_instance:
            yield from functions(group.typer_instance)


@pytest.mark.parametrize("function", [*functions(cli.app)], ids=lambda function: function.__name__)
def test_every_path_of_a_command_refuses_an_empty_value(function: Callable[..., None]) -> None:
    """The value of an unset shell variable is not the current folder."""
    for name, annotation in get_type_hints(function, include_extras=True).items():
        value, *details = get_args(annotation) if get_origin(annotation) is Annotated else [annotation]
        if Path in {value, *get_args(value)}:
            assert [detail.parser for detail in details] == [parse_path], name


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        (["report", ""], "out"),
        (["index", "cams", ""], "paths"),
        (["export", "moment", "clip.mp4", "--thumbnail", ""], "--thumbnail"),
        (["backup", ""], "folder"),
        (["watch", ""], "source"),
        (["delete", "video", "--index", ""], "--index"),
        (["videos", "--index="], "--index"),
    ],
)
def test_an_empty_path_is_an_error(arguments: list[str], parameter: str) -> None:
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert re.search(rf"Invalid value for '{parameter}': the (path|location) is empty", result.stderr, re.I), (
        result.stderr
    )


def test_version_is_printed() -> None:
    result = CliRunner().invoke(cli.app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"var-plugin {var_plugin.__version__}\n")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['var-plugin', '--help']\n"
        "from var_plugin.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'transformers', 'gradio', 'pymilvus', 'langchain_core', 'av', 'numpy'}"
        " & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "search" in out
    assert out.endswith("[]\n")


def test_receipt_is_printed_if_the_server_stops_afterwards(
    shell: Shell, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Milvus server (a gRPC server of Milvus Lite) stops after the last video is stored."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from milvus_lite.db import MilvusLite
    from pymilvus.grpc_gen import milvus_pb2_grpc

    from var_plugin.api import Index

    server = grpc.server(ThreadPoolExecutor(4))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(MilvusLite(str(tmp_path / "s.db"))), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    add = Index.add

    def add_and_stop(self: Index, *arguments: Any, **options: Any) -> Any:
        receipt = add(self, *arguments, **options)
        server.stop(None).wait()
        return receipt

    monkeypatch.setattr(Index, "add", add_and_stop)
    path = film("north.mp4", seconds=2, fps=4)
    code, out, err = shell("index", path, "--index", f"http://127.0.0.1:{port}")
    assert f"stored     {path}" in out
    assert "1 stored" in out
    assert code == 0
    assert "cannot count the rows" in err


def test_doctor_compares_a_suite_with_float32(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "CLAP", str(save_clap(tmp_path / "clap")))
    model = save_clip(tmp_path / "clip")
    rows = shell.json("doctor", "--suite", f"clip:{model}")
    assert {(row["modality"], row["problem"]) for row in rows} == {
        (modality, "") for modality in ("text", "image", "audio", "video")
    }
    file = model / "model.safetensors"
    weights = load_file(file)
    save_file({**weights, "visual_projection.weight": weights["visual_projection.weight"] * 0}, file, {"format": "pt"})
    code, out, err = shell("doctor", "--suite", f"clip:{model}")
    assert code == 6
    assert re.search(r"^wrong   scene: image$", out, re.MULTILINE), out
    assert "ok      scene: text, cosine similarity to float32 1.00000" in out
    assert re.fullmatch(r"var-plugin: the vectors of suite '.*' for image are wrong with float32: .*\n", err)
    assert err.endswith("; fetch the model again\n")


def test_calibrate_writes_a_suite_that_searches_the_index_of_its_base(
    shell: Shell, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAR_PLUGIN_SEGMENT_SECONDS", "1")
    monkeypatch.setenv("VAR_PLUGIN_MAX_MERGED_SECONDS", "1")
    monkeypatch.setattr("tests.colors.ColorNames", AnyWords)
    for name, colors in {"a": ("red", "blue"), "b": ("green", "white")}.items():
        film(f"{name}.mp4", seconds=24, fps=4, paint=scene(*colors, seconds=12))
    assert shell("index", film.folder)[0] == 0
    code, out, err = shell("calibrate", "--index", tmp_path / "index.db", "--out", tmp_path / "mine")
    assert code == 0, err
    assert re.search(r"^image: similarity to unrelated content 0\.\d{3}, standard deviation 0\.\d{3}$", out, re.M)
    assert "content 0.500" not in out, "the scale is that of the footage, not the one that the suite ships"
    assert shell.json("search", "blue", "--suite", tmp_path / "mine")[0]["start"] >= 12.0


def test_calibrate_refuses_an_unusable_folder_before_it_computes(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = shell("calibrate", "--index", tmp_path / "none.db", "--out", tmp_path / "file")
    assert code == 2
    assert "is not a folder" in err


def test_calibrate_needs_something_to_calibrate_with(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("calibrate", "--out", tmp_path / "mine")
    assert (code, err) == (
        2,
        "var-plugin: there is nothing to calibrate with; give --images and --captions, or --index\n",
    )
    code, _, err = shell("calibrate", "--out", tmp_path / "mine", "--images", tmp_path)
    assert (code, err) == (2, "var-plugin: --images and --captions belong together; give both, or neither\n")
    assert not (tmp_path / "mine").exists()


def test_calibrate_on_images_prints_the_quality_of_the_confidence(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "CLAP", str(save_clap(tmp_path / "clap")))
    model = save_clip(tmp_path / "clip")
    rows = ["image,caption"]
    for place, word in enumerate(WORDS):
        Image.new("RGB", (32, 32), (place, 255 - place, 0)).save(tmp_path / f"{place}.png")
        rows.append(f"{place}.png,{word}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    code, out, err = shell(
        "calibrate", "--suite", f"clip:{model}", "--images", tmp_path, "--captions", tmp_path / "captions.csv",
        "--out", tmp_path / "mine",
    )  # fmt: skip
    assert code == 0, err
    assert re.search(
        r"^confidence in \d+ held-out searches: mean \d+%, \d+% are right; Brier score 0\.\d{3}", out, re.M
    )
    vectors = [
        shell.json("encode", "text", "a red car", "--space", "scene", "--suite", name)[0]["vector"]
        for name in (f"clip:{model}", tmp_path / "mine")
    ]
    assert vectors[0] == vectors[1]
