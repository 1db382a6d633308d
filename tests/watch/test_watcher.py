"""`watch` and related commands in real processes, with a real stream and a real web server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.films import Film, plain, textured
from tests.ingest.rtsp_server import Camera
from tests.ingest.test_add import scene
from tests.test_cli import Shell, shell
from tests.watch.test_alerts import Receiver, receiver
from tests.watch.test_rtsp import serving, until
from var_plugin.api import Index, open_index
from var_plugin.cli.watch import _StopHandler
from var_plugin.errors import StoreError
from var_plugin.types import Receipt, VideoReceipt
from var_plugin.watch import folder as folder_watch
from var_plugin.watch.alerts import Alerts
from var_plugin.watch.saved_alerts import SavedAlert, SavedAlerts
from var_plugin.watch.watcher import Watch

__all__ = ["receiver", "shell"]

HANG_SECONDS = 900
"""After this time a process hangs. On a busy machine, starting one takes minutes."""
ROOT = Path(__file__).parents[1]


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "var_plugin", *map(str, words)]


def answer(*words: str | Path) -> Any:
    """Run a command in a process and return its JSON."""
    process = subprocess.run(command(*words, "--json"), capture_output=True, text=True, cwd=ROOT, timeout=HANG_SECONDS)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


class Watching:
    """A `watch` in a process."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, event: str, times: int = 1) -> None:
        """Wait until the log contains an event so many times, however slow the machine is."""
        deadline = time.monotonic() + HANG_SECONDS
        while self.log.count(event) < times:
            assert self.process.poll() is None, f"the watch ended: {self.log}"
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGINT) -> dict[str, int]:
        """Send a signal. Return the printed counts."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=HANG_SECONDS)
        assert self.process.returncode == 0, self.log
        return json.loads(out)


@contextmanager
def watching(log: Path, *words: str | Path) -> Iterator[Watching]:
    with log.open("w") as errors:
        process = subprocess.Popen(
            command("watch", *words, "--json"), stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
        )
    try:
        yield Watching(process, log)
    finally:
        process.kill()
        process.communicate()


def test_a_stream_is_recorded_indexed_and_raises_an_alert(
    film: Film, tmp_path: Path, installed_colors: str, receiver: Receiver
) -> None:
    database, saved, folder, output = (tmp_path / name for name in ("index.db", "alerts.json", "recorded", "told.json"))
    red = film("source.mp4", seconds=20, fps=5, paint=scene("red"))
    writes = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"w\").write(sys.stdin.read())' {output}"
    for name, text, more in [("fire", "red", ["--webhook", receiver.url, "--command", writes]), ("sea", "blue", [])]:
        words = ["alerts", "add", name, text, "--threshold", "2", "--alerts", str(saved)]
        subprocess.run(command(*words, *(more or ["--command", "false"])), check=True, cwd=ROOT)
    with (
        serving(Camera(red, speed=10, user="joe:hush")) as camera,
        watching(
            tmp_path / "log", camera.url("joe:hush"), "--camera", "door", "--recordings", folder, "--minutes", "0.1",
            "--alerts", saved, "--allow-host", "127.0.0.1", "--index", database, "--suite", installed_colors,
        ) as watch,
    ):  # fmt: skip
        watch.wait_for("stored: ", 2)
        counts = watch.end()
    assert "hush" not in watch.log
    videos = answer("videos", "--index", database)
    assert counts["stored"] == len(videos) >= 2
    # The camera plays ten times too fast: its recordings overlap in time and may be one event.
    assert counts["alerts"] == len(receiver.bodies) >= 1, "the alert for blue is not raised"
    for video in videos:
        assert video["camera"] == "door"
        assert (video["clock"]["certainty"], video["clock"]["source"]) == ("derived", "file name")
        assert re.fullmatch(r"door_\d{8}T\d{6}Z(_\d+)?\.mkv", Path(video["uri"]).name)
    for content in (json.loads(receiver.bodies[0]), json.loads(output.read_text())):
        assert content["alert"] == "fire"
        assert content["moment"]["camera"] == "door"
        assert content["moment"]["video_id"] in {video["video_id"] for video in videos}
    assert answer("verify", "--index", database)["ok"] is True


def test_watch_deletes_footage_older_than_keep_days(film: Film, tmp_path: Path, installed_colors: str) -> None:
    """The files in the folder are kept, and pruned videos are not added again."""
    folder = tmp_path / "cams"
    options = ["--index", tmp_path / "index.db", "--suite", installed_colors, "--zone", "UTC"]
    for name, seed in [("20200101_120000", 1), ("a", 2)]:
        path = film(f"cams/{name}.mp4", paint=lambda time, seed=seed: textured(seed))
        os.utime(path, (time.time() - 3600,) * 2)
    with watching(tmp_path / "log", folder, *options) as watch:
        watch.wait_for("stored: ", 2)
        assert "recorded 2020-01-01 12:00:00 UTC (derived: file name)" in watch.log
        assert watch.end() == {"stored": 2}
    os.utime(film("cams/lost.mp4", paint=lambda time: textured(3)), (1.6e9, 1.6e9))
    with watching(tmp_path / "log", folder, "--keep-days", "30", *options) as watch:
        watch.wait_for("unchanged: ")
        assert watch.end() == {"deleted": 1, "skipped": 2, "unchanged": 1}
        assert "skipped: " in watch.log
        assert "was recorded on 2020-01-01 by its file name, more than 30 days ago, but was last written" in watch.log
        assert f"{folder}/lost.mp4 was last written on 2020-09-13, more than 30 days ago" in watch.log
    assert len(list(folder.glob("*.mp4"))) == 3
    process = subprocess.run(
        command("watch", folder, "--keep-days", "0", *options),
        capture_output=True, text=True, cwd=ROOT, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert process.returncode == 2
    assert "a limit of age or size must be above zero" in process.stderr


def test_a_watched_folder_is_searchable_and_verified(film: Film, tmp_path: Path, installed_colors: str) -> None:
    """`watch`, `search` and Python share a local index in three processes. They continue after the owner ends."""
    database, folder = tmp_path / "index.db", tmp_path / "cams"
    film("cams/a.mp4", seconds=16, fps=5, paint=scene("blue", "red"))
    script = (
        "import sys, var_plugin as vp\n"
        "with vp.open_index(sys.argv[1]) as index:\n"
        "    for line in sys.stdin:\n"
        "        print(len(index.videos()), len(index.search(line.strip(), k=9)), flush=True)\n"
    )
    with watching(tmp_path / "log", folder, "--index", database, "--suite", installed_colors) as watch:
        watch.wait_for(f"stored: {folder}/a.mp4")
        third = subprocess.Popen(
            [sys.executable, "-c", script, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert third.stdin
        assert third.stdout

        def ask(text: str) -> list[int]:
            print(text, file=third.stdin, flush=True)
            return list(map(int, third.stdout.readline().split()))

        assert ask("red")[0] == 1
        best = answer("search", "red", "--index", database)[0]
        assert (Path(best["uri"]).name, best["start"]) == ("a.mp4", 8.0)
        film("cams/b.mp4", seconds=16, fps=5, paint=scene("green", "red"))
        watch.wait_for(f"stored: {folder}/b.mp4")
        assert ask("green")[0] == 2, "what came in is found at once"
        watch.end()
    assert ask("green")[0] == 2, "the third took over"
    assert len(answer("videos", "--index", database)) == 2, "and serves others"
    with watching(tmp_path / "log", folder, "--index", database) as watch:
        film("cams/c.mp4", seconds=16, fps=5, paint=scene("yellow", "red"))
        watch.wait_for(f"stored: {folder}/c.mp4")
        third.kill()
        third.communicate()
        film("cams/d.mp4", seconds=16, fps=5, paint=scene("white", "red"))
        watch.wait_for(f"stored: {folder}/d.mp4")
        moments = answer("search", "red", "--index", database, "-k", "9")
        assert {Path(moment["uri"]).name for moment in moments} == {f"{name}.mp4" for name in "abcd"}
        watch.process.kill()
    with open_index(database) as index:
        assert index.verify().ok, "after the watch was killed as the owner"
        assert len(index.videos()) == 4


def test_alerts_are_added_listed_and_removed(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from var_plugin.config import settings

    monkeypatch.setenv("VAR_PLUGIN_ALERTS", str(tmp_path / "alerts.json"))
    settings.cache_clear()
    assert shell("alerts", "list") == (0, "", "")
    assert shell("alerts", "add", "fire", "red", "--threshold", "2.5", "--command", "notify-send 'a fire'")[0] == 0
    web = ["--webhook", "https://a.example/", "--camera", "n"]
    assert shell("alerts", "add", "sea", "blue", "--threshold", "1", *web)[0] == 0
    assert "fire  'red'  score >= 2.5  notify-send 'a fire'" in shell("alerts", "list")[1]
    (fire, sea) = json.loads(shell("alerts", "list", "--json")[1])
    assert (fire["command"], sea["filter"]["cameras"]) == (["notify-send", "a fire"], ["n"])
    hook = ["--webhook", "https://ann:hush@b.example/hook?token=hush", "--camera", "n"]
    assert shell("alerts", "add", "door", "blue", "--threshold", "1", *hook)[0] == 0
    for listed in (shell("alerts", "list")[1], shell("alerts", "list", "--json")[1]):
        assert "https://***@b.example/hook?***" in listed
        assert "hush" not in listed
    assert shell("alerts", "remove", "door")[0] == 0
    code, _, err = shell("watch", tmp_path)
    assert code == 2
    assert "webhooks to a.example are not allowed" in err
    assert "--allow-host a.example" in err
    assert shell("alerts", "remove", "sea")[0] == 0
    assert [query["name"] for query in json.loads(shell("alerts", "list", "--json")[1])] == ["fire"]
    for words, message in [
        (["remove", "sea"], "no saved alert is called sea"),
        (["add", "x", "red", "--threshold", "1"], "has no receiver"),
        (["add", "x", "--command", "true"], "has no condition"),
        (["add", "x", "red", "--anomaly", "--command", "true"], "has several conditions"),
        (["add", "x", "red", "--cool-down", "ten", "--command", "true"], "is not a time"),
        (["add", "x", "red", "--time-of-day", "25:00-6", "--command", "true"], "is not a time of day"),
        (["add", "x", "--kind", "picnic", "--command", "true"], "'picnic' is not a kind of event"),
        (["add", "x", "red", "--mqtt", "mqtt://ann:hush@a.example/b"], "it contains a password"),
        (["test", "sea"], "no saved alert is called sea"),
        (["add", "x", "red", "--threshold", "1", "--command", "say 'no"], "cannot parse the command"),
        (["add", "x", "red", "--threshold", "nan", "--command", "true"], "threshold"),
        (["add", "x", "red", "--threshold", "1", "--webhook", "file:///etc/passwd"], "not an http or https address"),
    ]:
        code, out, err = shell("alerts", *words)
        assert (code, out) == (2, "")
        assert message in err


@pytest.mark.parametrize("source", ["rtsp:///no-host", "http://camera/", "nowhere"])
def test_an_invalid_source_is_an_error_at_once(shell: Shell, tmp_path: Path, source: str) -> None:
    code, out, err = shell("watch", source)
    assert (code, out) == (2 if "://" in source else 3, "")
    assert "Traceback" not in err
    assert err.startswith("var-plugin: ")


class Owner:
    """Runs a `Watch` of a folder in a thread."""

    def __init__(self, index: Index, folder: Path, **options: Any) -> None:
        self.receipts: list[VideoReceipt] = []
        self.messages: list[str] = []
        self.watch = Watch(
            index, threading.Event(), on_result=self.receipts.append, on_message=self.messages.append, **options
        )
        self.thread = threading.Thread(target=self.watch.folder, args=(folder,))

    def __enter__(self) -> Owner:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.watch.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()

    def statuses(self) -> list[tuple[str, str]]:
        return [(Path(receipt.path).name, receipt.status) for receipt in self.receipts]


def settled(path: Path) -> Path:
    """Write a file with an old modification time."""
    then = time.time() - 60
    os.utime(path, (then, then))
    return path


def test_a_failing_file_is_counted_and_retried(
    film: Film, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are retried after a store error. Files that are not videos stay failed."""
    monkeypatch.setattr(folder_watch, "RETRY_SECONDS", 0.2)
    monkeypatch.setattr(folder_watch, "PATIENCE_SECONDS", 5.0)
    settled(film("cams/a.mp4"))
    (tmp_path / "cams/broken.mp4").write_bytes(b"no video")
    settled(tmp_path / "cams/broken.mp4")
    add, failures = index.add, iter([StoreError("the store is away"), RecursionError("too deep")])

    def fails_twice(file: Path, **options: Any) -> Receipt:
        if file.name == "a.mp4" and (failure := next(failures, None)):
            raise failure
        return add(file, **options)

    monkeypatch.setattr(index, "add", fails_twice)
    with Owner(index, tmp_path / "cams") as owner:
        assert until(lambda: ("a.mp4", "stored") in owner.statuses())
        assert until(lambda: ("broken.mp4", "failed") in owner.statuses())
    own = [status for name, status in owner.statuses() if name == "a.mp4"]
    assert own == ["failed", "failed", "stored"]
    assert owner.statuses().count(("broken.mp4", "failed")) == 1
    assert {what: count for what, count in owner.watch.counts.items() if count} == {"stored": 1, "failed": 1}
    assert not owner.watch.ok


def test_a_video_in_progress_is_cancelled_at_the_end(
    film: Film, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(film("cams/long.mp4", seconds=60, fps=5))
    began = threading.Event()
    with Owner(index, tmp_path / "cams") as owner:
        check = owner.watch._check_stop

        def wait_for_the_end(file: Path, reached: float) -> None:
            began.set()
            owner.watch.stop.wait(30)
            check(file, reached)

        monkeypatch.setattr(owner.watch, "_check_stop", wait_for_the_end)
        assert began.wait(30)
    assert owner.receipts == []
    assert ["stopped: " in message for message in owner.messages] == [True]
    assert index.videos() == []
    assert index.verify().ok


def test_an_alert_by_kind_and_file_is_added_and_tested(
    shell: Shell, film: Film, tmp_path: Path, installed_colors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAR_PLUGIN_ALERTS", str(tmp_path / "alerts.json"))
    from var_plugin.config import settings

    settings.cache_clear()
    place = ["--index", str(tmp_path / "index.db")]
    with open_index(tmp_path / "index.db", suite=installed_colors) as index:
        for days, color in [(1, "red"), (2, "blue")]:
            film(f"{color}.mp4", seconds=16, fps=5, paint=scene(color))
            recorded = datetime.now(UTC) - timedelta(days=days)
            assert index.add(tmp_path / f"{color}.mp4", camera="door", recorded_at=recorded).ok
    Image.fromarray(plain(200, 20, 20)).save(tmp_path / "red.png")
    red = ["--image", tmp_path / "red.png", "--threshold", "1", "--per-day", "3", "--cool-down", "5m"]
    assert shell("alerts", "add", "red", *red, "--command", "true", *place) == (0, "", "")
    (tmp_path / "red.png").unlink()
    assert shell("alerts", "add", "own", "--kind", "alarm", "--command", "true", *place) == (0, "", "")
    listed = shell("alerts", "list")[1]
    assert "red  like image 'red.png'  score >= 1  at most 3 a day  cool-down 300 s  true" in listed
    assert "own  kind alarm  score >= 0.5  true" in listed
    assert "vectors" not in shell("alerts", "list", "--json")[1]
    (tmp_path / "not-an-index.db").write_text("text")
    code, _, err = shell(
        "alerts", "add", "other", "--kind", "alarm", "--command", "true", "--index", tmp_path / "not-an-index.db"
    )
    assert (code, "not-an-index.db" in err) == (4, True), "the suite of that index is unknown"
    code, out, _ = shell("alerts", "test", "red", *place)
    assert code == 0
    assert "door  1 alerts in 7 days  threshold 1.00 on camera door, for at most 3 alerts a day over 2 days" in out
    (run,) = json.loads(shell("alerts", "test", "red", "--json", *place)[1])
    assert list(run["alerts"].values()) == [1]
    assert "door  0 alerts in 7 days" in shell("alerts", "test", "own", *place)[1]


def test_reembedded_and_readded_footage_raises_no_alert(
    film: Film, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = SavedAlerts(tmp_path / "alerts.json")
    saved.save(SavedAlert(name="any", text="red", threshold=-100, command=("true",)))
    path = settled(film("cams/a.mp4", paint=scene("red")))
    for expected, change in [(1, lambda: None), (0, lambda: path.rename(path.with_name("b.mp4"))), (0, lambda: None)]:
        change()
        with Owner(index, tmp_path / "cams", alerts=Alerts(saved)) as owner:
            assert until(lambda owner=owner: owner.receipts)
        assert owner.watch.counts["alerts"] == expected
    (entry,) = index._inner.all_entries()
    index._inner.update(entry.model_copy(update={"settings": "of before"}))
    with Owner(index, tmp_path / "cams", alerts=Alerts(saved)) as owner:
        assert until(lambda: owner.receipts)
    assert owner.statuses() == [("b.mp4", "stored")]
    assert owner.watch.counts["alerts"] == 0
    index.delete(entry.video_id)
    with Owner(index, tmp_path / "cams", alerts=Alerts(saved)) as owner:
        assert until(lambda: owner.receipts)
    assert owner.statuses() == [("b.mp4", "stored")]
    assert owner.watch.counts["alerts"] == 0, "the same content is the same event"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watch_with_a_receipt(
    film: Film, tmp_path: Path, installed_colors: str, number: signal.Signals
) -> None:
    settled(film("cams/a.mp4"))
    options = ["--index", tmp_path / "index.db", "--suite", installed_colors]
    with watching(tmp_path / "log", tmp_path / "cams", *options) as watch:
        watch.wait_for("stored: ")
        assert watch.end(number) == {"stored": 1}
    assert "Traceback" not in watch.log


def test_a_second_signal_ends_the_watch_at_once() -> None:
    stop = threading.Event()
    handler = _StopHandler(stop)
    handler(signal.SIGINT, None)
    assert stop.wait(30)
    with pytest.raises(KeyboardInterrupt):
        handler(signal.SIGTERM, None)


def test_alerts_by_audio_and_video_files_are_added_and_tested(
    shell: Shell, film: Film, tmp_path: Path, installed_colors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = next((tmp_path / "site").glob("*/entry_points.txt"))
    entries.write_text(entries.read_text() + "tones = tests.tones:DESCRIPTION\n")
    monkeypatch.setenv("VAR_PLUGIN_ALERTS", str(tmp_path / "alerts.json"))
    from var_plugin.config import settings

    settings.cache_clear()
    place = ["--index", str(tmp_path / "index.db")]
    with open_index(tmp_path / "index.db", suite="tones") as index:
        for camera, color, tone in [("door", "red", 400.0), ("yard", "blue", 3_000.0)]:
            path = film(f"{color}.mp4", seconds=8, fps=5, paint=scene(color), tone=tone)
            assert index.add(path, camera=camera, recorded_at=datetime.now(UTC) - timedelta(days=1)).ok
    film("horn.m4a", seconds=2, tone=3_000.0, images=False)
    film("van.mp4", seconds=3, fps=5, paint=scene("red"))
    for name, file, camera in [("horn", "horn.m4a", "yard"), ("van", "van.mp4", "door")]:
        modality = "audio" if name == "horn" else "video"
        words = [f"--{modality}", tmp_path / file, "--threshold", "0.9", "--command", "true"]
        assert shell("alerts", "add", name, *words, *place) == (0, "", "")
        (tmp_path / file).unlink()
        assert f"{name}  like {modality} '{file}'  score >= 0.9  true" in shell("alerts", "list")[1]
        runs = json.loads(shell("alerts", "test", name, "--json", *place)[1])
        counts = {run["threshold"]["camera"]: sum(run["alerts"].values()) for run in runs}
        assert {each: number > 0 for each, number in counts.items()} == {
            "door": camera == "door",
            "yard": camera == "yard",
        }
    code, _, error = shell("alerts", "add", "gone", "--audio", tmp_path / "gone.wav", "--command", "true", *place)
    assert code != 0
    assert "gone.wav" in error
