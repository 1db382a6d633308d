"""The middleware of the page, over HTTP without a browser."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from var_plugin.api import Index
from var_plugin.app.gate import LoginThrottle, UploadQuota, credential_check
from var_plugin.app.options import PageOptions, parse_size
from var_plugin.app.serve import check_address, running_page
from var_plugin.errors import InvalidInputError
from var_plugin.web.same_origin import RefusedRequestError

USERS = (("ann", "open sesame"), ("bob", "other"))


@pytest.fixture(scope="module")
def address(two_cameras: Index) -> Iterator[str]:
    with running_page(two_cameras, PageOptions(allowed_hosts=("cameras.example.org",))) as address:
        yield address.rstrip("/")


@pytest.fixture
def guarded(two_cameras: Index) -> Iterator[str]:
    with running_page(two_cameras, PageOptions(users=USERS)) as address:
        yield address.rstrip("/")


@pytest.fixture(scope="module")
def read_only(two_cameras: Index) -> Iterator[str]:
    with running_page(two_cameras, PageOptions(read_only=True)) as address:
        yield address.rstrip("/")


def upload(address: str, size: int, **headers: str) -> httpx.Response:
    return httpx.post(f"{address}/gradio_api/upload", files={"files": ("a.mp4", b"0" * size)}, headers=headers)


@pytest.mark.parametrize("path", ["", "config", "gradio_api/info", "media/x/clip.mp4", "login"])
def test_a_foreign_host_is_refused(address: str, path: str) -> None:
    for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example"):
        assert httpx.get(f"{address}/{path}", headers={"Host": host}).status_code == 421


def test_an_allowed_host_is_accepted(address: str) -> None:
    assert httpx.get(f"{address}/config", headers={"Host": "cameras.example.org"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "cameras.example.org", "Origin": "http://other.example.org"},
    ],
)
def test_events_and_uploads_from_other_sites_are_refused(address: str, headers: dict[str, str]) -> None:
    body = {"fn_index": 0, "data": [], "session_hash": "x"}
    assert httpx.post(f"{address}/gradio_api/queue/join", json=body, headers=headers).status_code == 403
    assert upload(address, 10, **headers).status_code == 403


def test_responses_restrict_origins_and_sources(address: str) -> None:
    response = httpx.get(f"{address}/config", headers={"Origin": address})
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control-")]
    policies = response.headers.get_list("content-security-policy")
    assert any("img-src 'self' data: blob:" in policy for policy in policies)
    assert any("frame-ancestors 'self'" in policy for policy in policies)
    preflight = httpx.options(f"{address}/config", headers={"Origin": address, "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in preflight.headers


def test_a_client_cannot_forge_the_address_of_the_page(address: str) -> None:
    forged = {"X-Forwarded-Host": "evil.example", "X-Gradio-Server": "http://evil.example"}
    assert "evil.example" not in httpx.get(f"{address}/config", headers=forged).text


def test_the_login_cookie_is_restricted_to_its_site(guarded: str) -> None:
    response = httpx.post(f"{guarded}/login", data={"username": "ann", "password": "open sesame"})
    cookies = response.headers.get_list("set-cookie")
    assert cookies
    assert all("samesite=lax" in cookie.lower() and "httponly" in cookie.lower() for cookie in cookies)


def test_failed_logins_are_limited(guarded: str) -> None:
    def login(password: str) -> httpx.Response:
        return httpx.post(f"{guarded}/login", data={"username": "ann", "password": password})

    assert [login(f"guess {number}").status_code for number in range(9)] == [400] * 9
    assert login("open sesame").status_code == 200, "a success does not count"
    assert login("guess").status_code == 400
    refused = login("open sesame")
    assert (refused.status_code, int(refused.headers["retry-after"]) > 600) == (429, True)


def test_failed_logins_of_all_addresses_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("var_plugin.app.gate.time.monotonic", lambda: clock)
    throttle = LoginThrottle()
    for number in range(200):
        assert throttle.wait_seconds("198.51.100.1") == 0
        throttle.begin(f"203.0.113.{number}")
    assert throttle.wait_seconds("198.51.100.1") > 600
    clock = 901.0
    assert throttle.wait_seconds("198.51.100.1") == 0, "a failure counts for 15 minutes"


def test_credentials_are_checked_as_a_pair() -> None:
    check = credential_check(USERS)
    assert check("ann", "open sesame")
    assert check("bob", "other")
    for name, password in (("ann", "other"), ("bob", ""), ("", ""), ("ann:open", " sesame"), ("carl", "other")):
        assert not check(name, password)


def test_a_message_with_a_url_as_file_is_refused(address: str) -> None:
    file = {"path": "http://127.0.0.1:9/secret.png", "meta": {"_type": "gradio.FileData"}}
    body = {"fn_index": 0, "data": [{"text": "", "files": [file]}], "session_hash": "x"}
    for route in ("queue/join", "run/predict"):
        refused = httpx.post(f"{address}/gradio_api/{route}", json=body)
        assert (refused.status_code, "was not uploaded" in refused.text) == (400, True)
        as_text = httpx.post(f"{address}/gradio_api/{route}", content=json.dumps(body))
        assert as_text.status_code == 400
    nested = httpx.post(f"{address}/gradio_api/queue/join", content="[" * 100_000 + "]" * 100_000)
    assert nested.status_code == 400


def test_a_large_body_is_refused(address: str) -> None:
    assert httpx.post(f"{address}/gradio_api/queue/join", content=b"0" * 2_000_000).status_code == 413


def test_an_upload_without_a_length_is_refused(address: str) -> None:
    chunked = httpx.post(f"{address}/gradio_api/upload", content=iter([b"0" * 10]))
    assert chunked.status_code == 411


def test_a_read_only_page_accepts_small_attachments_only(read_only: str) -> None:
    assert upload(read_only, 1_000).status_code == 200
    assert upload(read_only, 60 * 2**20).status_code == 413


def test_uploads_leave_free_disk_space(read_only: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9 + 500))
    refused = upload(read_only, 1_000)
    assert (refused.status_code, "disk is nearly full" in refused.text) == (507, True)


def test_the_quota_counts_files_and_uploads_in_progress(tmp_path: Path) -> None:
    quota = UploadQuota(tmp_path, 1_000, owned=True)
    (tmp_path / "waiting").write_bytes(b"0" * 400)
    quota.reserve(500)
    with pytest.raises(RefusedRequestError):
        quota.reserve(200)
    quota.release(500)
    quota.reserve(200)


def test_old_attachments_are_deleted_for_new_uploads(tmp_path: Path) -> None:
    import os

    old = tmp_path / "hash" / "old.png"
    old.parent.mkdir()
    old.write_bytes(b"0" * 900)
    os.utime(old, (time.time() - 7_200,) * 2)
    UploadQuota(tmp_path, 1_000, owned=False).clean(0)
    assert old.exists(), "a folder of other programs is not cleaned"
    UploadQuota(tmp_path, 1_000, owned=True).reserve(500)
    assert not old.exists()


def test_a_taken_port_is_refused(two_cameras: Index) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InvalidInputError, match=f"port {port}.*in use.*--port"):
            check_address("127.0.0.1", port)
        with pytest.raises(InvalidInputError), running_page(two_cameras, PageOptions(port=port)):
            pass
    for host, port in (("203.0.113.7", 7860), ("no host", 7860), ("127.0.0.1", 70_000)):
        with pytest.raises(InvalidInputError):
            check_address(host, port)


def test_upload_sizes_are_parsed() -> None:
    assert parse_size("500mb") == 500 * 2**20
    assert PageOptions(max_upload="2 GB").max_file_bytes == 2 * 2**30
    assert PageOptions(max_upload="2gb", read_only=True).max_file_bytes == 50 * 2**20
    for wrong in ("", "0mb", "much", "-1gb", "1 apple"):
        with pytest.raises(InvalidInputError):
            parse_size(wrong)
