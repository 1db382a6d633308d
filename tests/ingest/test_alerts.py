from __future__ import annotations

import json
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.films import Film, plain
from var_plugin.errors import InvalidInputError
from var_plugin.ingest import alerts as alerting
from var_plugin.ingest.alerts import Alerts, SavedQueries, SavedQuery
from var_plugin.library import Index
from var_plugin.types import Filter


class Receiver(HTTPServer):
    """A web server that keeps what it is sent and answers as told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.answers: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
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
    """One film in red, one in blue: their video ids."""

    def shows(*color: int):
        picture = plain(*color)
        picture[:, :16] //= 2
        return lambda time: picture

    receipt = index.add([film("red.mp4", paint=shows(200, 20, 20)), film("blue.mp4", paint=shows(20, 20, 200))])
    assert receipt.ok
    return {Path(line.path).stem: str(line.video_id) for line in receipt.videos}


def raise_alerts(alerts: Alerts, index: Index, video_ids) -> list[alerting.Alert]:
    return alerts.check(video_ids, lambda text, wanted: index.search(text, filter=wanted))


def test_new_footage_that_matches_is_told(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    told = tmp_path / "told.json"
    command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(told))
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedQuery(name="fire", text="red", threshold=0.9, webhook=receiver.url, command=command))
    raised = raise_alerts(alerts, index, footage.values())
    assert [(alert.query, alert.moment.video_id, alert.failures) for alert in raised] == [("fire", footage["red"], ())]
    for content in (json.loads(receiver.bodies[0]), json.loads(told.read_text())):
        assert (content["query"], content["text"]) == ("fire", "red")
        assert content["moment"]["video_id"] == footage["red"]
        assert content["moment"]["score"] >= 0.9


def test_only_the_videos_named_and_the_filter_count(
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


def test_they_are_kept(tmp_path: Path) -> None:
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
        "ftp://127.0.0.1/", "http:///nowhere",
    ],
)  # fmt: skip
def test_webhooks_go_to_named_hosts_only(tmp_path: Path, url: str) -> None:
    file = tmp_path / "alerts.json"
    query = SavedQuery(name="a", text="red", threshold=0.5, webhook=url)
    file.write_text(f"[{query.model_dump_json()}]")
    with pytest.raises(InvalidInputError, match="no webhook may be sent"):
        Alerts(SavedQueries(file), hosts=["127.0.0.1"])


def test_a_host_that_was_not_named_is_told_of_nothing(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path
) -> None:
    """Saved while the watch was running, so that nobody could refuse it at the beginning."""
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["other.example"])
    saved.save(SavedQuery(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    (alert,) = raise_alerts(alerts, index, footage.values())
    assert "no webhook may be sent to 127.0.0.1" in alert.failures[0]
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


def test_an_alert_is_tried_again_and_its_failure_stops_nothing(
    index: Index, footage: dict[str, str], receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500, 200]
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved, hosts=["127.0.0.1"])
    saved.save(SavedQuery(name="lost", text="red", threshold=0.9, command=("/no/such/program",)))
    saved.save(SavedQuery(name="fire", text="red", threshold=0.9, webhook=receiver.url))
    lost, fire = raise_alerts(alerts, index, footage.values())
    assert "FileNotFoundError" in lost.failures[0]
    assert "could not be delivered" in caplog.text
    assert fire.failures == ()
    assert len(receiver.bodies) == 2


def test_content_reaches_no_shell(index: Index, film: Film, tmp_path: Path) -> None:
    """A camera's name full of shell syntax comes through as it is, and does nothing."""
    evil = "$(touch owned); `touch owned`; 'x' && touch owned"
    index.add(film("evil.mp4", paint=lambda time: plain(200, 20, 20)), camera=evil)
    told = tmp_path / "told.json"
    command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(told), evil)
    saved = SavedQueries(tmp_path / "alerts.json")
    alerts = Alerts(saved)
    saved.save(SavedQuery(name=evil, text="red", threshold=0.5, command=command))
    (alert,) = raise_alerts(alerts, index, [video.video_id for video in index.videos()])
    assert alert.failures == ()
    assert json.loads(told.read_text())["moment"]["camera"] == evil
    assert not list(tmp_path.rglob("owned")) + list(Path().glob("owned"))


def test_a_query_that_tells_nobody_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json"
    with pytest.raises(InvalidInputError, match="tells nobody"):
        SavedQueries(file).save(SavedQuery(name="a", text="red", threshold=0.5))
    with pytest.raises(InvalidInputError, match="no address on the web"):
        SavedQueries(file).save(SavedQuery(name="a", text="red", threshold=0.5, webhook="file:///etc/passwd"))
    assert not file.exists()
    file.write_text('[{"name": "a"}]')
    with pytest.raises(InvalidInputError, match=r"0\.text"):
        SavedQueries(file).queries  # noqa: B018
