"""Alerts by MQTT, delivered to a real Mosquitto broker."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest

from tests.watch.test_alerts import Moments, moment
from var_plugin.errors import InvalidInputError
from var_plugin.types import Event
from var_plugin.watch import delivery
from var_plugin.watch.alerts import Alert, Alerts
from var_plugin.watch.saved_alerts import SavedAlert, SavedAlerts

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Broker:
    """A Mosquitto broker on a loopback port that lets the user ann in. Its messages are in `messages`."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "ann", "hush"], check=True, capture_output=True)
        lines = [f"listener {self.port} 127.0.0.1", f"password_file {passwords}", "user root", *settings]
        self.config = folder / "mosquitto.conf"
        self.config.write_text("\n".join(lines))
        self.messages: Queue[bytes] = Queue()
        self.start()

    def start(self) -> None:
        assert MOSQUITTO
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.config], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)

    def url(self, user: str = "ann@", topic: str = "cameras/alerts", scheme: str = "mqtt") -> str:
        return f"{scheme}://{user}127.0.0.1:{self.port}/{topic}"

    def subscribe(self) -> None:
        """Collect the messages of all topics, also after a restart of the broker."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        subscribed = threading.Event()
        self.client = client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set("ann", "hush")
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe("#", qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda client, data, message: self.messages.put(message.payload)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert subscribed.wait(30)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    pytest.importorskip("paho.mqtt.client", reason="pip install 'var-plugin[mqtt]'")
    if MOSQUITTO is None:
        pytest.skip("Mosquitto is not installed: apt-get install mosquitto")
    running = Broker(tmp_path)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_WAITS_SECONDS", ())


def saved_for(folder: Path, url: str) -> SavedAlerts:
    saved = SavedAlerts(folder / "alerts.json")
    saved.save(SavedAlert(name="fire", text="x", threshold=0.5, mqtt=url))
    return saved


def check(saved: SavedAlerts, *moments: float, password: str = "hush") -> list[Alert]:  # noqa: S107
    alerts = Alerts(saved, ["127.0.0.1"], mqtt_password=password)
    return alerts.check(["a"], Moments([moment(hour) for hour in moments]))


def test_an_alert_arrives_at_the_broker_without_paths(broker: Broker, tmp_path: Path) -> None:
    broker.subscribe()
    event = Event(kind="fire", score=0.8, reason="flames come out of a window")
    burning = moment(1.5).model_copy(update={"events": (event,), "thumbnail": tmp_path / "thumbnail.jpg"})
    alerts = Alerts(saved_for(tmp_path, broker.url()), ["127.0.0.1"], mqtt_password="hush")
    (alert,) = alerts.check(["a"], Moments([burning]))
    assert alert.failures == ()
    assert json.loads(broker.messages.get(timeout=30)) == {
        "alert": "fire",
        "id": "a-1.5",
        "camera": "c",
        "recorded_at": "2026-11-20T01:30:00Z",
        "start": 5400.0,
        "end": 5410.0,
        "score": 0.9,
        "kind": "fire",
        "reason": "flames come out of a window",
    }
    broker.client.loop_stop()


def test_alerts_arrive_after_a_restart_of_the_broker(broker: Broker, tmp_path: Path) -> None:
    """An alert that was raised meanwhile is counted as failed and raised by the next check."""
    saved = saved_for(tmp_path, broker.url())
    assert check(saved, 1)[0].failures == ()
    broker.stop()
    (lost,) = check(saved, 2)
    assert "127.0.0.1 cannot be reached: Connection refused" in lost.failures[0]
    broker.start()
    assert [alert.failures for alert in check(saved, 1, 2, 3)] == [(), ()]


@pytest.mark.parametrize(("user", "password"), [("ann@", "wrong"), ("ann@", ""), ("", "hush")])
def test_a_refused_user_is_a_failure_and_other_alerts_go_on(
    broker: Broker, tmp_path: Path, user: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    saved = saved_for(tmp_path, broker.url(user))
    saved.save(SavedAlert(name="other", text="x", threshold=0.5, command=("true",)))
    refused, other = check(saved, 1, password=password)
    assert refused.failures == ("127.0.0.1 refuses the connection: Not authorized",)
    assert other.failures == ()
    assert "wrong" not in caplog.text


def test_a_broker_that_does_not_answer_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("paho.mqtt.client")
    monkeypatch.setattr(delivery, "_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (alert,) = check(saved_for(tmp_path, f"mqtt://127.0.0.1:{silent.getsockname()[1]}/alerts"), 1)
    assert "does not answer within" in alert.failures[0]


ACCEPTED = b"\x20\x02\x00\x00"
"""The packet with which a broker accepts a client."""


@pytest.mark.parametrize(
    ("response", "failure"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "broke the connection"),
        (bytes(range(200, 256)), "broke the connection"),
        (ACCEPTED + b"\xff" * 100, "broke the connection"),
        (ACCEPTED + b"\x40\x02\xff\xff", "broke the connection"),  # confirms another message
        (ACCEPTED + b"\x30\xff\xff\xff\x7f", "sent a packet of 268435455 bytes"),
        (b"\x20\x02\x00\x77", "refuses the connection"),
    ],
)
def test_a_hostile_broker_is_a_failure_and_fills_no_memory(tmp_path: Path, response: bytes, failure: str) -> None:
    pytest.importorskip("paho.mqtt.client")
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(response)

        answered = pool.submit(answer)
        (alert,) = check(saved_for(tmp_path, f"mqtt://127.0.0.1:{server.getsockname()[1]}/alerts"), 1)
        answered.result()
    assert failure in alert.failures[0]


@pytest.mark.parametrize("is_trusted", [True, False])
def test_tls_needs_a_trusted_certificate(
    broker: Broker, tmp_path: Path, is_trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    openssl = "openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*openssl.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (tmp_path / "tls").mkdir()
    secure = Broker(tmp_path / "tls", f"certfile {certificate}", f"keyfile {key}")
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    try:
        (alert,) = check(saved_for(tmp_path, secure.url(scheme="mqtts")), 1)
    finally:
        secure.stop()
    assert [failure.partition(":")[0] for failure in alert.failures] == (
        [] if is_trusted else ["127.0.0.1 offers no valid TLS connection"]
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mqtt://ann:hush@127.0.0.1/alerts", "VAR_PLUGIN_MQTT_PASSWORD"),
        ("mqtt://127.0.0.1", "does not name one topic"),
        ("mqtt://127.0.0.1/cameras/%23", "does not name one topic"),
        ("http://127.0.0.1/alerts", "not an mqtt or mqtts address"),
        ("mqtt://127.0.0.1:0/alerts", "not an mqtt or mqtts address"),
        ("mqtt://127.0.0.1:65536/alerts", "not an mqtt or mqtts address"),
    ],
)
def test_an_invalid_mqtt_address_is_refused(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why) as refusal:
        saved_for(tmp_path, url)
    assert "hush" not in str(refusal.value)


def test_messages_are_sent_to_allowed_brokers_only(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"MQTT messages to broker\.example are not allowed"):
        Alerts(saved_for(tmp_path, "mqtt://broker.example/alerts"), ["127.0.0.1"])
