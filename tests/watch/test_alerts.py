from __future__ import annotations

import base64
import json
import os
import socket
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.films import Film, plain
from var_plugin.api import Index
from var_plugin.errors import InvalidInputError
from var_plugin.types import Filter, Moment
from var_plugin.watch import alerts as alerting
from var_plugin.watch.alerts import Alert, Alerts, SavedQueries, SavedQuery


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
    monkeypatch.setattr(alerting, "_WAITS_SECONDS", (0.01, 0.01))


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


def raise_alerts(alerts: Alerts, index: Index, video_ids) -> list[alerting.Alert]:
    return alerts.check(video_ids, lambda text, condition: index.search(text, filter=condition))


def test_new_matching_footage_raises_an_alert(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    output = tmp_path / "told.json"
    command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(output))
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedQuery(name="fire", text="red", threshold=0.9, webhook=receiver.url, command=command))
    raised = raise_alerts(alerts, index, footage.values())
    assert [(alert.query, alert.moment.video_id, alert.failures) for alert in raised] == [("fire", footage["red"], ())]
    for content in (json.loads(receiver.bodies[0]), json.loads(output.read_text())):
        assert (content["query"], content["text"]) == ("fire", "red")
        assert content["moment"]["video_id"] == footage["red"]
        assert content["moment"]["score"] >= 0.9


def test_alerts_respect_video_ids_and_filter(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedQuery(name="red", text="red", threshold=0.9, webhook=receiver.url))
    assert raise_alerts(alerts, index, [footage["blue"]]) == []
    north = Filter(cameras=("north",))
    saved.save(SavedQuery(name="red", text="red", threshold=0.9, webhook=receiver.url, filter=north))
    assert raise_alerts(alerts, index, footage.values()) == []
    assert receiver.bodies == []


def test_saved_queries_are_stored(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "alerts.json"
    saved = SavedQueries(file)
    first = SavedQuery(name="a", text="red", threshold=0.5, command=("true",), filter=Filter(cameras=("north",)))
    saved.save(first)
    saved.save(SavedQuery(name="b", text="blue", threshold=0.5, command=("true",)))
    saved.save(first.model_copy(update={"threshold": 0.7}))
    assert [(query.name, query.threshold) for query in SavedQueries(file).queries] == [("b", 0.5), ("a", 0.7)]
    assert SavedQueries(file).queries == saved.queries
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "an address may hold a secret"
    saved.remove("b")
    assert [query.name for query in SavedQueries(file).queries] == ["a"]
    with pytest.raises(InvalidInputError, match="called b"):
        saved.remove("b")


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
    query = SavedQuery(name="a", text="red", threshold=0.5, webhook=url)
    file.write_text(f"[{query.model_dump_json()}]")
    with pytest.raises(InvalidInputError, match="are not allowed") as refusal:
        Alerts(SavedQueries(file), hosts=["127.0.0.1"])
    assert "hush" not in str(refusal.value)


def test_a_host_that_is_not_allowed_gets_no_request(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    """The query is saved while the watch runs, so it is not refused at the start."""
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["other.example"])
    saved.save(SavedQuery(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    (alert,) = raise_alerts(alerts, index, footage.values())
    assert "webhooks to 127.0.0.1 are not allowed" in alert.failures[0]
    assert receiver.bodies == []


def test_redirections_are_not_followed(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [307, 302, 301]
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedQuery(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    (alert,) = raise_alerts(alerts, index, footage.values())
    assert "301" in alert.failures[0]
    assert len(receiver.bodies) == 3, "three attempts, none of them elsewhere"


def test_a_failed_alert_is_retried_and_others_are_sent(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500, 200]
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedQuery(name="lost", text="red", threshold=0.9, command=("/no/such/program",)))
    saved.save(SavedQuery(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    failed, fire = raise_alerts(alerts, index, footage.values())
    assert "cannot run /no/such/program: No such file" in failed.failures[0]
    assert "could not be delivered" in caplog.text
    assert fire.failures == ()
    assert len(receiver.bodies) == 2


MOMENT = Moment(
    id="a-0-1", video_id="a", uri="/a.mp4", camera="c", start=0, end=1, peak=0, score=9, anomaly_score=0, matched={}
)


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
    monkeypatch.setattr(alerting, "_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(alerting, "_WAITS_SECONDS", ())
    caplog.set_level("DEBUG")
    output, saved = tmp_path / "told", SavedQueries(tmp_path / "alerts.json")
    with server(answer) as port:
        url = f"http://ann:hush@127.0.0.1:{port}/hook?key=hush"
        saved.save(SavedQuery(name="web", text="x", threshold=1, webhook=url))
        saved.save(SavedQuery(name="file", text="x", threshold=1, command=("tee", str(output))))
        started = time.monotonic()
        web, file = Alerts(saved, ["127.0.0.1"]).check(["a"], lambda text, only: [MOMENT])
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
    saved = SavedQueries(tmp_path / "alerts.json")
    saved.save(SavedQuery(name="a", text="x", threshold=1, webhook=receiver.url.replace("://", "://ann:hush@")))
    (alert,) = Alerts(saved, ["127.0.0.1"]).check(["a"], lambda text, only: [MOMENT])
    assert alert.failures == ()
    assert receiver.authorizations == ["Basic " + base64.b64encode(b"ann:hush").decode()]


def test_retries_of_a_failing_receiver_are_limited_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time limit, all further alerts for the receiver fail at once."""
    monkeypatch.setattr(alerting, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(alerting, "_BUDGET_SECONDS", 1.0)
    saved = SavedQueries(tmp_path / "alerts.json")
    saved.save(SavedQuery(name="slow", text="x", threshold=1, command=("sleep", "60")))
    started = time.monotonic()
    raised = Alerts(saved).check(["a"], lambda text, only: [MOMENT] * 50)
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
    monkeypatch.setattr(alerting, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(alerting, "_WAITS_SECONDS", ())
    pid = tmp_path / "pid"
    saved = SavedQueries(tmp_path / "alerts.json")
    command = ("sh", "-c", f"echo $$ > {pid}; {script}", "hush")
    # A body that no pipe holds: the command has to read it.
    saved.save(SavedQuery(name="a", text="\N{SNOWMAN}" * 32_000, threshold=1, command=command))
    (alert,) = Alerts(saved).check(["a"], lambda text, only: [MOMENT])
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
    saved = SavedQueries(tmp_path / "alerts.json")
    for name in ("a", "b"):
        saved.save(SavedQuery(name=name, text="x", threshold=1, command=("true",)))
    earlier = [Alert(query="a", moment=MOMENT.model_copy(update={"start": 5.0, "end": 12.0}))]
    grown = MOMENT.model_copy(update={"video_id": "grown", "start": 8.0, "end": 20.0})
    later = grown.model_copy(update={"start": 30.0, "end": 35.0})
    raised = Alerts(saved).check(["grown"], lambda text, only: [grown, later], earlier={"grown": earlier})
    assert [(alert.query, alert.moment.start) for alert in raised] == [("a", 30.0), ("b", 8.0), ("b", 30.0)]


def test_alerts_are_not_retried_after_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerting, "_WAITS_SECONDS", (60.0,))
    stop = threading.Event()
    stop.set()
    saved = SavedQueries(tmp_path / "alerts.json")
    saved.save(SavedQuery(name="a", text="x", threshold=1, command=("false",)))
    (alert,) = Alerts(saved, stop=stop).check(["a"], lambda text, only: [MOMENT])
    assert alert.failures


def test_a_fifo_in_place_of_the_saved_queries_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alerts.json")
    with pytest.raises(InvalidInputError, match="it is not a regular file"):
        _ = SavedQueries(tmp_path / "alerts.json").queries


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"x" * (5 << 20), b"{}"])
def test_a_damaged_file_of_queries_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "alerts.json"
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"alerts\.json does not hold saved queries"):
        SavedQueries(file).queries  # noqa: B018


def test_a_file_of_queries_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInputError, match="cannot read"):
        SavedQueries(tmp_path / "folder").queries  # noqa: B018
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="cannot"):
        SavedQueries(tmp_path / "file/alerts.json").save(SavedQuery(name="a", text="x", threshold=1, command=("true",)))


@pytest.mark.parametrize("exists", [True, False])
def test_saving_writes_through_a_link(tmp_path: Path, exists: bool) -> None:
    link, file = tmp_path / "alerts.json", tmp_path / "elsewhere" / "queries.json"
    if exists:
        file.parent.mkdir()
        file.write_text("[]")
    link.symlink_to(file)
    SavedQueries(link).save(SavedQuery(name="a", text="x", threshold=1, command=("true",)))
    assert link.is_symlink()
    assert [query.name for query in SavedQueries(file).queries] == ["a"]
    assert sorted(file.parent.iterdir()) == [file]
    SavedQueries(link).remove("a")
    assert (link.is_symlink(), SavedQueries(file).queries) == (True, ())


def test_a_link_that_leads_to_itself_is_an_error(tmp_path: Path) -> None:
    link = tmp_path / "alerts.json"
    link.symlink_to(link)
    with pytest.raises(InvalidInputError, match="symbolic link"):
        SavedQueries(link).save(SavedQuery(name="a", text="x", threshold=1, command=("true",)))


def test_content_is_not_passed_to_a_shell(index: Index, film: Film, tmp_path: Path) -> None:
    """A camera name with shell syntax is passed unchanged and is not executed."""
    evil = "$(touch owned); `touch owned`; 'x' && touch owned"
    index.add(film("evil.mp4", paint=lambda time: plain(200, 20, 20)), camera=evil)
    output = tmp_path / "told.json"
    command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(output), evil)
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved)
    saved.save(SavedQuery(name=evil, text="red", threshold=0.5, command=command))
    (alert,) = raise_alerts(alerts, index, [video.video_id for video in index.videos()])
    assert alert.failures == ()
    assert json.loads(output.read_text())["moment"]["camera"] == evil
    assert not list(tmp_path.rglob("owned")) + list(Path().glob("owned"))


def test_a_query_without_receiver_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json"
    with pytest.raises(InvalidInputError, match="has no webhook or command"):
        SavedQueries(file).save(SavedQuery(name="a", text="red", threshold=0.5))
    with pytest.raises(InvalidInputError, match="has 32769 characters: the limit is 32768"):
        SavedQueries(file).save(SavedQuery(name="a", text="r" * 32_769, threshold=0.5, command=("true",)))
    with pytest.raises(InvalidInputError, match="not an http or https address"):
        SavedQueries(file).save(SavedQuery(name="a", text="red", threshold=0.5, webhook="file:///etc/passwd"))
    assert not file.exists()
    file.write_text('[{"name": "a"}]')
    with pytest.raises(InvalidInputError, match=r"0\.text"):
        SavedQueries(file).queries  # noqa: B018
