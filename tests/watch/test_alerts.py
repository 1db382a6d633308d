from __future__ import annotations

import base64
import json
import math
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from PIL import Image
from scipy.io import wavfile

from tests.colors import color_suite
from tests.films import Film, plain
from tests.ingest.test_add import scene
from tests.tones import sine, tone_suite
from tests.watch.test_saved_alerts import saved_alerts
from var_plugin.api import Index, open_index
from var_plugin.errors import (
    FingerprintMismatchError,
    InvalidInputError,
    StoreError,
    UnsupportedModalityError,
)
from var_plugin.retrievers.search import embed_query, make_query
from var_plugin.types import EmbeddedQuery, Filter, Moment
from var_plugin.watch import delivery
from var_plugin.watch.alerts import Alert, Alerts, IndexFootage, choose_threshold, dry_run
from var_plugin.watch.saved_alerts import SavedAlert, SavedAlerts
from var_plugin.watch.time_of_day import TimeOfDay


class Receiver(HTTPServer):
    """A web server that records requests and sends a configured response."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.authorizations: list[str] = []
        self.answers: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_WAITS_SECONDS", (0.01, 0.01))


@pytest.fixture
def footage(index: Index, film: Film) -> dict[str, str]:
    """Return the video ids of a red and a blue video."""

    def shows(*color: int):
        image = plain(*color)
        image[:, :16] //= 2
        return lambda time: image

    receipt = index.add([film("red.mp4", paint=shows(200, 20, 20)), film("blue.mp4", paint=shows(20, 20, 200))])
    assert receipt.ok
    return {Path(line.path).stem: str(line.video_id) for line in receipt.videos}


def raise_alerts(alerts: Alerts, index: Index, video_ids) -> list[Alert]:
    return alerts.check(video_ids, IndexFootage(index))


def test_new_matching_footage_raises_an_alert(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    output = tmp_path / "told.json"
    command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(output))
    saved = SavedAlerts(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedAlert(name="fire", text="red", threshold=0.9, webhook=receiver.url, command=command))
    raised = raise_alerts(alerts, index, footage.values())
    assert [(alert.name, alert.moment.video_id, alert.failures) for alert in raised] == [("fire", footage["red"], ())]
    for content in (json.loads(receiver.bodies[0]), json.loads(output.read_text())):
        assert (content["alert"], content["text"]) == ("fire", "red")
        assert content["moment"]["video_id"] == footage["red"]
        assert content["moment"]["score"] >= 0.9


def test_alerts_respect_video_ids_and_filter(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    saved = SavedAlerts(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedAlert(name="red", text="red", threshold=0.9, webhook=receiver.url))
    assert raise_alerts(alerts, index, [footage["blue"]]) == []
    north = Filter(cameras=("north",))
    saved.save(SavedAlert(name="red", text="red", threshold=0.9, webhook=receiver.url, filter=north))
    assert raise_alerts(alerts, index, footage.values()) == []
    assert receiver.bodies == []


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/", "http://127.0.0.1.evil.example/", "http://127.0.0.1@evil.example/", "file:///etc/passwd",
        "ftp://127.0.0.1/", "http:///nowhere", "http://ann:hush@127.0.0.1:port/", "http://ann:hush@[::1/",
        "http://ann:hush\n@127.0.0.1/", "http://127.0.0.1\\@evil.example/",
    ],
)  # fmt: skip
def test_webhooks_are_sent_to_allowed_hosts_only(tmp_path: Path, url: str) -> None:
    file = tmp_path / "alerts.json"
    query = SavedAlert(name="a", text="red", threshold=0.5, webhook=url)
    file.write_text(f"[{query.model_dump_json()}]")
    with pytest.raises(InvalidInputError, match=r"are not allowed|is invalid") as refusal:
        Alerts(SavedAlerts(file), hosts=["127.0.0.1"])
    assert "hush" not in str(refusal.value)


def test_a_host_that_is_not_allowed_gets_no_request(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    """The query is saved while the watch runs, so it is not refused at the start."""
    saved = SavedAlerts(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["other.example"])
    saved.save(SavedAlert(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    (alert,) = raise_alerts(alerts, index, footage.values())
    assert "webhooks to 127.0.0.1 are not allowed" in alert.failures[0]
    assert receiver.bodies == []


def test_redirections_are_not_followed(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [307, 302, 301]
    saved = SavedAlerts(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedAlert(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    (alert,) = raise_alerts(alerts, index, footage.values())
    assert "301" in alert.failures[0]
    assert len(receiver.bodies) == 3, "three attempts, none of them elsewhere"


def test_a_failed_alert_is_retried_and_others_are_sent(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500, 200]
    saved = SavedAlerts(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedAlert(name="lost", text="red", threshold=0.9, command=("/no/such/program",)))
    saved.save(SavedAlert(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    failed, fire = raise_alerts(alerts, index, footage.values())
    assert "cannot run /no/such/program: No such file" in failed.failures[0]
    assert "could not be delivered" in caplog.text
    assert fire.failures == ()
    assert len(receiver.bodies) == 2


MOMENT = Moment(
    id="a-0-1", video_id="a", uri="/a.mp4", camera="c", start=0, end=1, peak=0, score=9, anomaly_score=0, matched={}
)


class Moments:
    """Footage whose moments are given."""

    def __init__(self, moments: Sequence[Moment], days: int = 0) -> None:
        self.moments, self.days = list(moments), days

    def search(self, alert: SavedAlert, conditions: Filter, k: int) -> list[Moment]:
        matching = [
            moment
            for moment in self.moments
            if (conditions.video_ids is None or moment.video_id in conditions.video_ids)
            and (conditions.cameras is None or moment.camera in conditions.cameras)
            and (
                conditions.after is None or (moment.recorded_at is not None and moment.recorded_at >= conditions.after)
            )
        ]
        return sorted(matching, key=lambda moment: -moment.score)[:k]

    def with_thumbnail(self, moment: Moment) -> Moment:
        return moment

    def recorded_days(self, since: datetime) -> dict[str, int]:
        return {moment.camera: self.days for moment in self.moments if self.days}


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Start a TCP server that answers with a function. Return its port."""

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(1 << 16)
                answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as serving:
        serving.daemon_threads = True
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield serving.server_address[1]
        serving.shutdown()
        thread.join()


def drip(start: bytes, part: bytes) -> Callable[[socket.socket], None]:
    """Send a response that never ends."""

    def answer(link: socket.socket) -> None:
        link.sendall(start)
        while True:
            link.sendall(part)
            time.sleep(0.05)

    return answer


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        pytest.param(lambda link: link.sendall(b"hello ann:hush\r\n\r\n"), "does not answer with HTTP", id="not http"),
        pytest.param(lambda link: None, "does not answer with HTTP", id="closes"),
        pytest.param(
            lambda link: link.sendall(OK + b"Broken\r\n\r\n"), "does not answer with HTTP", id="broken header"
        ),
        pytest.param(
            lambda link: link.sendall(OK + b"X: " + bytes(10**6)), "does not answer with HTTP", id="long header"
        ),
        pytest.param(lambda link: link.sendall(b"HTTP/1.1 999 Hush\r\n\r\n"), "status 999", id="odd status"),
        pytest.param(drip(b"", b"H"), "does not answer", id="slow status"),
        pytest.param(drip(OK, b"X: y\r\n"), "does not answer within", id="slow headers"),
        pytest.param(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "does not answer within", id="endless 100"),
        pytest.param(drip(OK + b"\r\n", b"x"), None, id="slow body"),
        pytest.param(drip(OK + b"Content-Length: 9999999999\r\n\r\n", b"x" * 100_000), None, id="huge body"),
    ],
)
def test_an_invalid_webhook_response_does_not_stop_other_alerts(
    tmp_path: Path,
    answer: Callable[[socket.socket], None],
    failure: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(delivery, "_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(delivery, "_WAITS_SECONDS", ())
    caplog.set_level("DEBUG")
    output, saved = tmp_path / "told", SavedAlerts(tmp_path / "alerts.json")
    with server(answer) as port:
        url = f"http://ann:hush@127.0.0.1:{port}/hook?key=hush"
        saved.save(SavedAlert(name="web", text="x", threshold=1, webhook=url))
        saved.save(SavedAlert(name="file", text="x", threshold=1, command=("tee", str(output))))
        started = time.monotonic()
        web, file = Alerts(saved, ["127.0.0.1"]).check(["a"], Moments([MOMENT]))
    assert time.monotonic() - started < 10
    assert output.exists()
    assert file.failures == ()
    assert bool(web.failures) == bool(failure)
    assert failure is None or failure in web.failures[0]
    logged = "".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("var_plugin", "httpx"))
    )
    assert "hush" not in logged + "".join(web.failures)


def test_a_password_in_the_address_is_sent_to_the_webhook(receiver: Receiver, tmp_path: Path) -> None:
    saved = SavedAlerts(tmp_path / "alerts.json")
    saved.save(SavedAlert(name="a", text="x", threshold=1, webhook=receiver.url.replace("://", "://ann:hush@")))
    (alert,) = Alerts(saved, ["127.0.0.1"]).check(["a"], Moments([MOMENT]))
    assert alert.failures == ()
    assert receiver.authorizations == ["Basic " + base64.b64encode(b"ann:hush").decode()]


def test_retries_of_a_failing_receiver_are_limited_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time limit, all further alerts for the receiver fail at once."""
    monkeypatch.setattr(delivery, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(delivery, "_BUDGET_SECONDS", 1.0)
    saved = SavedAlerts(tmp_path / "alerts.json")
    saved.save(SavedAlert(name="slow", text="x", threshold=1, command=("sleep", "60")))
    started = time.monotonic()
    video_ids = [f"video {n}" for n in range(50)]
    moments = [MOMENT.model_copy(update={"video_id": video_id}) for video_id in video_ids]
    raised = Alerts(saved).check(video_ids, Moments(moments))
    assert time.monotonic() - started < 5
    assert len(raised) == 50
    assert "did not end within" in raised[0].failures[0]
    assert "did not accept earlier alerts" in raised[-1].failures[0]


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("exec sleep 60", "did not end within"),
        ("sleep 61 & wait", "did not end within"),
        ("yes", "did not end within"),
        ("yes >&2", "did not end within"),
        ("exit 0", ""),
        ("exit 3", "ended with exit status 3"),
    ],
)
def test_a_command_is_limited_and_killed_with_its_children(
    tmp_path: Path, script: str, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(delivery, "_WAITS_SECONDS", ())
    pid = tmp_path / "pid"
    saved = SavedAlerts(tmp_path / "alerts.json")
    command = ("sh", "-c", f"echo $$ > {pid}; {script}", "hush")
    # A body that no pipe holds: the command has to read it.
    saved.save(SavedAlert(name="a", text="\N{SNOWMAN}" * 32_000, threshold=1, command=command))
    (alert,) = Alerts(saved).check(["a"], Moments([MOMENT]))
    assert bool(alert.failures) == bool(failure)
    assert not failure or failure in alert.failures[0]
    assert "hush" not in "".join(alert.failures), "arguments may hold a secret"
    deadline = time.monotonic() + 30
    while running(group=int(pid.read_text())):  # the kernel ends a killed process when it runs next
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(group: int) -> list[str]:
    """Return the processes of a group, without zombies."""
    states = []
    for stat_file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            states.append(stat_file.read_text().rpartition(") ")[2].split())
    return [state[0] for state in states if int(state[2]) == group and state[0] != "Z"]


def test_an_alert_for_the_same_event_is_raised_once(tmp_path: Path) -> None:
    """A file that grew is a new video. Moments that overlap an alert for its earlier version are the same event."""
    saved = SavedAlerts(tmp_path / "alerts.json")
    for name in ("a", "b"):
        saved.save(SavedAlert(name=name, text="x", threshold=1, command=("true",)))
    earlier = [Alert(name="a", moment=MOMENT.model_copy(update={"start": 5.0, "end": 12.0}))]
    grown = MOMENT.model_copy(update={"video_id": "grown", "start": 8.0, "end": 20.0})
    later = grown.model_copy(update={"start": 30.0, "end": 35.0})
    raised = Alerts(saved).check(["grown"], Moments([grown, later]), earlier={"grown": earlier})
    assert [(alert.name, alert.moment.start) for alert in raised] == [("a", 30.0), ("b", 8.0), ("b", 30.0)]


def test_alerts_are_not_retried_after_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_WAITS_SECONDS", (60.0,))
    stop = threading.Event()
    stop.set()
    saved = SavedAlerts(tmp_path / "alerts.json")
    saved.save(SavedAlert(name="a", text="x", threshold=1, command=("false",)))
    (alert,) = Alerts(saved, stop=stop).check(["a"], Moments([MOMENT]))
    assert alert.failures


def test_content_is_not_passed_to_a_shell(index: Index, film: Film, tmp_path: Path) -> None:
    """A camera name with shell syntax is passed unchanged and is not executed."""
    evil = "$(touch owned); `touch owned`; 'x' && touch owned"
    index.add(film("evil.mp4", paint=lambda time: plain(200, 20, 20)), camera=evil)
    output = tmp_path / "told.json"
    command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(output), evil)
    saved = SavedAlerts(tmp_path / "alerts.json")
    alerts = Alerts(saved)
    saved.save(SavedAlert(name=evil, text="red", threshold=0.5, command=command))
    (alert,) = raise_alerts(alerts, index, [video.video_id for video in index.videos()])
    assert alert.failures == ()
    assert json.loads(output.read_text())["moment"]["camera"] == evil
    assert not list(tmp_path.rglob("owned")) + list(Path().glob("owned"))


DAY = datetime(2026, 11, 20, tzinfo=UTC)


def moment(hour: float, *, score: float = 0.9, camera: str = "c", video_id: str = "a", seconds: float = 10) -> Moment:
    """Return a moment that was recorded at an hour after 2026-11-20."""
    return MOMENT.model_copy(
        update={
            "id": f"{video_id}-{hour}", "video_id": video_id, "camera": camera, "score": score, "start": hour * 3600,
            "end": hour * 3600 + seconds, "recorded_at": DAY + timedelta(hours=hour),
        }
    )  # fmt: skip


def hours(alerts: Sequence[Alert]) -> list[float]:
    return [alert.moment.start / 3600 for alert in alerts]


def test_an_alert_without_a_query_is_raised_for_unusual_moments(index: Index, film: Film, tmp_path: Path) -> None:
    colors = {"calm.mp4": lambda time: plain(200, 20, 20), "odd.mp4": lambda time: plain(20, 20, 200)}
    ids = {
        name: index.add(film(name, seconds=8, fps=5, paint=paint), camera="door").videos[0].video_id
        for name, paint in colors.items()
    }
    scores = [moment.anomaly_score for moment in index.anomalies()]
    saved = saved_alerts(tmp_path, threshold=max(scores))
    raised = raise_alerts(Alerts(saved), index, ids.values())
    assert raised
    assert {alert.moment.score for alert in raised} == {max(scores)}


def test_an_alert_of_a_kind_is_raised_for_this_kind_only(index: Index, footage: dict[str, str], tmp_path: Path) -> None:
    saved = saved_alerts(tmp_path, threshold=0, filter=Filter(kinds=("alarm",)))
    assert raise_alerts(Alerts(saved), index, footage.values()) == []
    index.add_example("alarm", moment=index.search("red", k=1)[0].id)
    raised = raise_alerts(Alerts(saved), index, footage.values())
    assert {(alert.moment.video_id, alert.moment.events[0].kind) for alert in raised} == {(footage["red"], "alarm")}


def test_an_alert_by_image_needs_its_file_no_longer(index: Index, footage: dict[str, str], tmp_path: Path) -> None:
    image = tmp_path / "red.png"
    Image.fromarray(plain(200, 20, 20)).save(image)
    example = embed_query(index.suite, make_query(image=image))
    image.unlink()
    saved = saved_alerts(tmp_path, example=example, threshold=0.9)
    (alert,) = raise_alerts(Alerts(saved), index, footage.values())
    assert alert.moment.video_id == footage["red"]
    with pytest.raises(
        FingerprintMismatchError, match=r"'unusual' cannot be used: the image 'red\.png' was embedded by"
    ):
        Alerts(saved).check_suite(color_suite("colors-2"))


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_an_alert_by_audio_or_video_needs_its_file_no_longer(modality: str, film: Film, tmp_path: Path) -> None:
    with open_index(tmp_path / "index.db", suite=tone_suite()) as index:
        ids = {}
        for color, tone in (("red", 400.0), ("blue", 3_000.0)):
            path = film(f"{color}.mp4", seconds=8, fps=5, paint=scene(color), tone=tone)
            ids[color] = index.add(path, camera=color).videos[0].video_id
        if modality == "audio":
            file = tmp_path / "horn.wav"
            wavfile.write(file, 16_000, sine(3_000, 2, rate=16_000))
        else:
            file = film("van.mp4", seconds=3, fps=5, paint=scene("blue"))
        example = embed_query(index.suite, make_query(**{modality: file}))
        file.unlink()
        saved = saved_alerts(tmp_path, example=example, threshold=0.9)
        assert saved.alerts[0].condition == f"like {modality} '{file.name}'  score >= 0.9"
        raised = raise_alerts(Alerts(saved), index, ids.values())
        assert {alert.moment.video_id for alert in raised} == {ids["blue"]}
        assert {space for alert in raised for space in alert.moment.matched} == {
            "sound" if modality == "audio" else "scene"
        }
        assert raise_alerts(Alerts(saved), index, [ids["red"]]) == []


def test_a_suite_without_audio_refuses_an_alert_by_audio(index: Index, tmp_path: Path) -> None:
    wavfile.write(tmp_path / "horn.wav", 16_000, sine(3_000, 2, rate=16_000))
    with pytest.raises(UnsupportedModalityError, match="audio"):
        embed_query(index.suite, make_query(audio=tmp_path / "horn.wav"))


def test_an_alert_of_another_suite_is_logged_once_and_others_go_on(
    index: Index, footage: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors, fingerprints = {"scene": (1.0, 0.0, 0.0)}, {"scene": "colors-0"}
    example = EmbeddedQuery(modality="image", source="red.png", vectors=vectors, fingerprints=fingerprints)
    saved = saved_alerts(tmp_path, name="old", example=example)
    saved.save(SavedAlert(name="new", text="red", threshold=0.9, command=("true",)))
    alerts = Alerts(saved)
    assert [alert.name for alert in raise_alerts(alerts, index, footage.values())] == ["new"]
    raise_alerts(alerts, index, footage.values())
    assert "was embedded by another suite than 'colors'" in alerts.unusable["old"]
    assert caplog.text.count("cannot be used") == 1


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    "vectors", [{}, {"scene": ()}, {"scene": (1.0,)}, {"scene": (0.0, 0, 0)}, {"scene": (1e300, 0, 0)}]
)
def test_an_alert_with_an_invalid_vector_is_reported_and_others_go_on(
    index: Index, footage: dict[str, str], tmp_path: Path, vectors: dict[str, tuple[float, ...]]
) -> None:
    example = EmbeddedQuery(modality="image", source="red.png", vectors=vectors, fingerprints={"scene": "colors-1"})
    saved = saved_alerts(tmp_path, name="damaged", example=example)
    saved.save(SavedAlert(name="new", text="red", threshold=0.9, command=("true",)))
    alerts = Alerts(saved)
    assert [alert.name for alert in raise_alerts(alerts, index, footage.values())] == ["new"]
    assert "the vector of the image 'red.png' is invalid" in alerts.unusable["damaged"]


def test_an_alert_respects_the_time_of_day(tmp_path: Path) -> None:
    night = TimeOfDay(start=clock_time(22), end=clock_time(6), zone=ZoneInfo("Europe/Berlin"))
    saved = saved_alerts(tmp_path, time_of_day=night)
    undated = MOMENT.model_copy(update={"video_id": "undated"})
    footage = Moments([undated, *(moment(hour) for hour in (4.9, 5.1, 12, 20.9, 21.1))])
    assert hours(Alerts(saved).check(["a", "undated"], footage)) == [4.9, 21.1]


def test_the_cool_down_applies_per_camera(tmp_path: Path) -> None:
    saved = saved_alerts(tmp_path, cool_down=600)
    moments = [moment(hour) for hour in (1, 1.1, 1.2, 2)] + [moment(1.05, camera="d", video_id="b")]
    assert hours(Alerts(saved).check(["a", "b"], Moments(moments))) == [1, 1.2, 2, 1.05]
    later = moment(2.1, video_id="next")
    assert Alerts(saved).check(["next"], Moments([later])) == [], "also after a restart"


def test_the_threshold_is_chosen_from_the_history_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    history = [
        MOMENT.model_copy(update={"video_id": "old", "score": n / 100, "recorded_at": now - timedelta(hours=n)})
        for n in range(1, 100)
    ]
    new = [
        MOMENT.model_copy(update={"video_id": "new", "score": score, "start": 5.0 * n, "end": 5.0 * n + 1})
        for n, score in enumerate([0.8, 0.9, 0.97])
    ]
    messages: list[str] = []
    alerts = Alerts(saved_alerts(tmp_path, per_day=1), on_message=messages.append)
    footage = Moments(history + new, days=5)
    assert [alert.moment.score for alert in alerts.check(["new"], footage)] == [0.97]
    assert messages == [
        "alert 'unusual': threshold 0.94 on camera c, for at most 1 alerts a day over 5 days with footage"
    ]
    footage.days = 14
    again = [
        each.model_copy(update={"video_id": "again", "start": 900 + each.start, "end": 901 + each.start})
        for each in new
    ]
    footage.moments += again
    assert [alert.moment.score for alert in alerts.check(["again"], footage)] == [0.97]
    assert len(messages) == 1
    tomorrow = time.time() + 90_000
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    footage.moments += [each.model_copy(update={"video_id": "last"}) for each in new]
    assert [alert.moment.score for alert in alerts.check(["last"], footage)] == [0.9, 0.97]
    assert len(messages) == 2


@pytest.mark.parametrize(
    ("scores", "days", "expected"),
    [
        ([0.9, 0.8, 0.7], 1, math.nextafter(0.8, 1)),
        ([0.9, 0.8, 0.7], 3, 0.5),
        ([0.9, 0.8, 0.7], 0, 0.5),
        ([1.0, 1.0, 1.0], 1, 1.0),
        ([], 1, 0.5),
    ],
)
def test_a_threshold_per_day(scores: list[float], days: int, expected: float) -> None:
    alert = SavedAlert(name="a", threshold=0.5, per_day=1, command=("true",))
    footage = Moments([moment(hour, score=score) for hour, score in enumerate(scores)], days)
    assert choose_threshold(alert, "c", footage, DAY + timedelta(days=1)).score == expected


def test_a_dry_run_counts_alerts_per_day(tmp_path: Path) -> None:
    alert = SavedAlert(name="a", threshold=0.5, cool_down=600, command=("true",))
    moments = [moment(hour, score=0.4 if hour == 3 else 0.9) for hour in (-40, 1, 1.1, 3, 5, 30)]
    (run,) = dry_run(alert, Moments(moments, days=3), 2, DAY + timedelta(days=2))
    assert run.alerts == Counter((DAY + timedelta(hours=hour)).astimezone().date() for hour in (1, 5, 30))
    assert run.threshold.score == 0.5
    north = alert.model_copy(update={"filter": Filter(cameras=("north",))})
    assert dry_run(north, Moments(moments, days=3), 2, DAY + timedelta(days=2)) == []


def test_the_index_counts_days_with_footage(index: Index, film: Film) -> None:
    for name, recorded_at in [("a.mp4", DAY), ("b.mp4", DAY + timedelta(days=1)), ("c.mp4", None)]:
        paint = plain(200, 20, ord(name[0]))
        assert index.add(film(name, paint=lambda time, paint=paint: paint), camera="door", recorded_at=recorded_at).ok
    assert IndexFootage(index).recorded_days(DAY - timedelta(days=1)) == {"door": 2}
    assert IndexFootage(index).recorded_days(DAY + timedelta(hours=12)) == {"door": 1}


def test_an_event_is_one_alert_however_its_file_arrives(tmp_path: Path) -> None:
    """The same clock time of a camera is the same event, also in a replaced file. So is the same content."""
    saved = saved_alerts(tmp_path)
    undated = MOMENT.model_copy(update={"video_id": "undated"})
    footage = Moments(
        [
            moment(1), moment(1.001, video_id="replaced"), moment(1, camera="d", video_id="other camera"),
            moment(1.01, video_id="other time"), undated, undated.model_copy(update={"video_id": "other content"}),
        ]
    )  # fmt: skip
    raised = []
    for video_id in ("a", "replaced", "other camera", "other time", "undated", "undated", "other content", "a"):
        raised += [alert.moment.video_id for alert in Alerts(saved).check([video_id], footage)]
    assert raised == ["a", "other camera", "other time", "undated", "other content"]
    saved.remove("unusual")
    saved_alerts(tmp_path)
    assert len(Alerts(saved).check(["a"], footage)) == 1, "a removed alert is forgotten"


def test_an_alert_that_was_not_delivered_is_raised_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = saved_alerts(tmp_path, command=("false",), cool_down=60)
    (lost,) = Alerts(saved).check(["a"], Moments([moment(1)]))
    assert lost.failures
    saved_alerts(tmp_path, cool_down=60)
    (alert,) = Alerts(saved).check(["a"], Moments([moment(1)]))
    assert alert.failures == ()


def test_a_failed_check_raises_its_alerts_later(tmp_path: Path) -> None:
    saved = saved_alerts(tmp_path)
    footage = Moments([moment(1)])

    def fail(each: Moment) -> Moment:
        raise StoreError("the store is away")

    footage.with_thumbnail, working = fail, footage.with_thumbnail  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        Alerts(saved).check(["a"], footage)
    footage.with_thumbnail = working  # type: ignore[method-assign]
    assert len(Alerts(saved).check(["a"], footage)) == 1
