"""Access to the running page over HTTP, without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from mcp import Client

from var_plugin.api import Index
from var_plugin.app.chat_search import answer_request
from var_plugin.app.conversation import ChatRequest
from var_plugin.app.media_registry import MediaRegistry
from var_plugin.app.options import PageOptions, parse_users
from var_plugin.app.serve import running_page
from var_plugin.errors import InvalidInputError
from var_plugin.tools import TOOLS

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def serve(two_cameras: Index) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running_page(two_cameras, PageOptions(**options))).rstrip("/")


@pytest.fixture(scope="module")
def address(serve: Serve) -> str:
    return serve(max_upload="1mb", mcp=True)


def test_the_page_listens_on_loopback_only(address: str) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)


@pytest.mark.parametrize(
    "options",
    [{"host": "0.0.0.0"}, {"share": True}, {"mcp": True, "users": (("ann", "pw"),)}],  # noqa: S104
)
def test_options_that_open_the_page_by_accident_are_refused(options: dict[str, object], two_cameras: Index) -> None:
    with pytest.raises(InvalidInputError), running_page(two_cameras, PageOptions(**options)):  # type: ignore[arg-type]
        pass


def test_users_are_parsed_as_names_and_passwords() -> None:
    assert parse_users(" ann:a:b , bob:c") == (("ann", "a:b"), ("bob", "c"))
    for wrong in ("ann", "ann:", ":pw"):
        with pytest.raises(InvalidInputError):
            parse_users(wrong)


def test_events_of_the_page_are_no_public_endpoints(address: str) -> None:
    info = httpx.get(f"{address}/gradio_api/info").json()
    assert info["named_endpoints"] == info["unnamed_endpoints"] == {}


@pytest.mark.parametrize(
    "path",
    [
        "media/unknown/clip.mp4", "media/unknown/image.jpg", "media/unknown/moments.csv",
        "media/..%2f..%2fetc%2fpasswd/clip.mp4", "gradio_api/file=/etc/passwd",
        "gradio_api/file=pyproject.toml", "gradio_api/file={secret}", "docs", "openapi.json",
    ],
)  # fmt: skip
def test_files_cannot_be_reached(path: str, address: str, two_cameras: Index) -> None:
    secret = two_cameras.videos()[0].uri
    assert httpx.get(f"{address}/{path.format(secret=secret)}").status_code in (401, 403, 404)


def test_large_uploads_are_refused(address: str) -> None:
    response = httpx.post(f"{address}/gradio_api/upload", files={"files": ("big.mp4", b"0" * 2_000_000)})
    assert response.status_code == 413


def test_every_path_needs_the_login(serve: Serve) -> None:
    guarded = serve(users=(("ann", "open sesame"),))
    for path in ("gradio_api/info", "gradio_api/file=/etc/passwd"):
        assert httpx.get(f"{guarded}/{path}").status_code == 401
    assert "Find the moment" not in httpx.get(guarded).text
    with httpx.Client() as client:
        wrong = client.post(f"{guarded}/login", data={"username": "ann", "password": "guess"})
        assert wrong.status_code == 400
        assert client.post(f"{guarded}/login", data={"username": "ann", "password": "open sesame"}).status_code == 200
        assert client.get(f"{guarded}/gradio_api/info").status_code == 200


def test_a_media_token_needs_the_login(two_cameras: Index) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    moment = answer_request(two_cameras, ChatRequest(text="green", cameras=("north",))).moments[0]
    for allowed, status in ((True, 200), (False, 404)):
        media = MediaRegistry(two_cameras, lambda _, allowed=allowed: allowed)
        client = TestClient(Starlette(routes=[*media.routes()]))
        for file in ("clip.mp4", "image.jpg"):
            assert client.get(f"/media/{media.token(moment)}/{file}").status_code == status


async def test_mcp_offers_the_tools_of_the_package_only(address: str) -> None:
    async with Client(f"{address}/gradio_api/mcp") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == [tool.name for tool in TOOLS]
        result = await client.call_tool("search_moments", {"query": "green", "limit": 1})
        assert not result.is_error


def test_mcp_is_off_by_default(serve: Serve) -> None:
    assert httpx.post(f"{serve()}/gradio_api/mcp", json={}).status_code in (404, 405)


def test_clips_are_short_and_support_range_requests(two_cameras: Index) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    media = MediaRegistry(two_cameras, lambda _: True)
    client = TestClient(Starlette(routes=[*media.routes()]))
    yard = answer_request(two_cameras, ChatRequest(text="blue", limit=9)).moments
    longest = max(yard, key=lambda moment: moment.end - moment.start).model_copy(
        update={"start": 0.0, "end": 120.0, "id": "x"}
    )
    clip = media.clip(longest)
    assert clip.end - clip.start <= 60.5
    part = client.get(f"/media/{media.token(longest)}/clip.mp4", headers={"Range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)


def test_clips_respect_the_cache_quota(two_cameras: Index, small_cache: Path) -> None:
    media = MediaRegistry(two_cameras, lambda _: True)
    clips = [media.clip(moment) for moment in answer_request(two_cameras, ChatRequest(text="green", limit=9)).moments]
    assert len(clips) > 1
    assert [*small_cache.glob("*/*")] == [clips[-1].path]


def test_deleting_a_video_deletes_uploaded_files_only(index: Index, tmp_path: Path) -> None:
    from var_plugin.app.ingest_queue import delete_upload, upload_folder
    from var_plugin.private_files import mark_folder

    uploaded, elsewhere = upload_folder() / "deleted" / "a.mp4", tmp_path / "b.mp4"
    link = upload_folder() / "linked" / "c.mp4"
    for path in (uploaded, elsewhere, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    uploaded.write_bytes(b"x")
    elsewhere.write_bytes(b"x")
    link.symlink_to(elsewhere)
    mark_folder(upload_folder())
    for path in (uploaded, elsewhere, link, upload_folder() / "deleted" / ".." / ".." / "b.mp4", Path("a\0b")):
        delete_upload(path)
    assert not uploaded.exists()
    assert not uploaded.parent.exists()
    assert elsewhere.exists()
    (upload_folder() / ".var-plugin").unlink()
    uploaded.parent.mkdir()
    uploaded.write_bytes(b"x")
    delete_upload(uploaded)
    assert uploaded.exists(), "nothing is deleted in a folder without its marker file"
