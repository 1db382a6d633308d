"""The tab Footage and the empty index, in Chromium."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Dialog, Page

from tests.browser.conftest import ask, cards, playing, screenshot
from tests.colors import DESCRIPTION, NAMES, AnyWords, MeanColor, build
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.app.ingest_queue import IngestJob, upload_folder
from var_plugin.encoders.base import ImageArray, Vectors, l2_normalize
from var_plugin.encoders.suite import SpaceEncoders, Suite

Visit = Callable[..., Page]
Serve = Callable[..., str]


def tab(page: Page, name: str) -> None:
    page.click(f"button[role=tab]:has-text('{name}')")


def test_an_uploaded_video_is_found_and_deleted(visit: Visit, serve: Serve, empty_index: Index, film: Film) -> None:
    """Browsers cannot play MJPEG, so the moment is re-encoded."""
    path = film("porch.mov", seconds=24, fps=5, paint=scene("blue", "green", "blue"), codec="mjpeg")
    page = visit(serve(empty_index))
    page.wait_for_selector("#vp-welcome")
    screenshot(page, "empty")
    tab(page, "Footage")
    page.set_input_files("#vp-upload input[type=file]", str(path))
    page.wait_for_selector("#vp-upload .file-preview")
    page.fill("#vp-recorded input, #vp-recorded textarea", "2026-11-01 07:00")
    page.click("#vp-add")
    page.wait_for_function("() => document.querySelector('#vp-adding').innerText.includes('stored')")
    page.wait_for_function("() => document.querySelector('#vp-videos').innerText.includes('porch.mov')")
    screenshot(page, "footage")
    assert "01 Nov 2026, 07:00:00 UTC" in page.inner_text("#vp-videos")
    (stored,) = upload_folder().rglob("*.mov")

    tab(page, "Ask")
    ask(page, "green")
    assert "camera porch" in cards(page)[0]
    player = playing(page)
    assert (player["start"], 8 <= player["at"] < 16) == (8, True)

    tab(page, "Footage")
    questions: list[str] = []

    def accept(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.accept()

    page.once("dialog", accept)
    page.click(".vp-delete")
    page.wait_for_function("() => document.querySelector('#vp-videos').innerText.includes('no footage')")
    assert questions == ["Delete porch.mov from the index? The uploaded file is deleted from disk, too."]
    assert not stored.exists()
    assert empty_index.videos() == []
    tab(page, "Ask")
    page.wait_for_selector("#vp-welcome", state="visible")
    ask(page, "red")
    assert page.locator("#vp-chat .user-row").all_inner_texts() == ["green", "red"]


def test_a_question_is_answered_once_there_is_footage(
    visit: Visit, serve: Serve, empty_index: Index, film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film("porch.mp4", seconds=16, fps=5, paint=scene("blue", "green"))
    monkeypatch.setattr("var_plugin.app.empty_state.jobs_from_demo", lambda: [IngestJob(path, "porch")])
    page = visit(serve(empty_index))
    ask(page, "green")
    assert "no footage yet" in page.locator("#vp-chat [data-testid=bot]").last.inner_text()
    page.click("#vp-demo")
    assert "camera porch" in cards(page)[0]
    assert "There is footage now" in page.inner_text("#vp-chat")
    page.wait_for_selector("#vp-welcome", state="hidden")
    ask(page, "blue")
    screenshot(page, "after-demo")
    assert page.locator("#vp-chat .user-row").all_inner_texts() == ["green", "blue"]
    tab(page, "Footage")
    page.wait_for_function("() => document.querySelector('#vp-videos').innerText.includes('porch.mp4')")


class StopsAtYellow(MeanColor):
    """Blocks on a yellow image until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        vectors = super().encode(images)
        if (vectors @ l2_normalize(np.array([NAMES["yellow"]], np.float32)).T > 0.95).any():
            assert self.go.wait(60)
        return vectors


def test_questions_are_answered_while_a_video_is_indexed(
    visit: Visit, serve: Serve, film: Film, tmp_path: Path
) -> None:
    folder = film("cams/first.mp4", seconds=16, fps=5, paint=scene("green", "red")).parent
    film("cams/second.mp4", seconds=24, fps=5, paint=scene("blue", "yellow", "green"))
    images = StopsAtYellow()
    suite = Suite(DESCRIPTION, {"scene": SpaceEncoders(build()["scene"].space, text=AnyWords(), image=images)})
    with open_index(tmp_path / "index.db", suite=suite) as index:
        page = visit(serve(index))
        tab(page, "Footage")
        page.fill("#vp-folder input, #vp-folder textarea", str(folder))
        page.click("#vp-add")
        try:
            page.wait_for_function("() => document.querySelector('#vp-adding').innerText.includes('stored')")
            page.wait_for_selector("#vp-adding [role=progressbar]")
            screenshot(page, "adding")
            tab(page, "Ask")
            ask(page, "green")
            labels = cards(page)
            assert all("camera first" in card for card in labels), labels
            assert playing(page)["start"] == 0
            assert page.locator("#vp-adding [role=progressbar]").count() == 1, "the second video is not finished"
        finally:
            images.go.set()
        tab(page, "Footage")
        page.wait_for_function("() => document.querySelector('#vp-adding').innerText.split('stored').length === 3")


def test_a_folder_with_an_unreadable_file(visit: Visit, serve: Serve, empty_index: Index, film: Film) -> None:
    good = film("yard/good.mp4", seconds=16, fps=5, paint=scene("red", "green"))
    (good.parent / "broken.mp4").write_bytes(b"no video at all" * 100)
    page = visit(serve(empty_index))
    tab(page, "Footage")
    page.fill("#vp-folder input, #vp-folder textarea", str(good.parent))
    page.click("#vp-add")
    page.wait_for_function("() => document.querySelector('#vp-adding').innerText.includes('stored')")
    progress = page.inner_text("#vp-adding")
    assert "failed" in progress
    assert "cannot read" in progress
    assert str(good.parent) not in progress
    page.fill("#vp-folder input, #vp-folder textarea", str(good.parent / "nowhere"))
    page.click("#vp-add")
    page.wait_for_selector("#vp-adding .vp-problem")


def test_a_read_only_page_has_no_controls_for_footage(visit: Visit, colors_read_only: str) -> None:
    page = visit(colors_read_only)
    tab(page, "Footage")
    page.wait_for_selector("#vp-videos table")
    assert page.locator("#vp-add, .vp-delete").count() == 0


def test_a_click_on_the_timeline_plays_a_moment_in_place(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green on the south camera")
    playing(page)
    tab(page, "Timeline")
    page.wait_for_selector("#vp-overview .scatterlayer path.point", state="attached")
    screenshot(page, "over-time")
    diamond = page.locator("#vp-overview .scatterlayer .trace").last.locator("path.point").first
    box = diamond.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#vp-overview-player video[aria-label='Clip of camera south-yard']")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Timeline"
    screenshot(page, "over-time-playing")
