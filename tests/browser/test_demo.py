"""The page with the demo footage and the real `lite` suite. Its screenshots are used in the README."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from tests.browser.conftest import ask, cards, playing, screenshot
from var_plugin.api import open_index
from var_plugin.demo.run import DemoReport

Visit = Callable[..., Page]
Serve = Callable[..., str]


def test_the_page_answers_questions_about_the_demo(demo: tuple[Path, DemoReport], visit: Visit, serve: Serve) -> None:
    with open_index(demo[0] / "index.db") as index:
        page = visit(serve(index), height=900)
        ask(page, "anything unusual?")
        screenshot(page, "demo-unusual")
        ask(page, "a fire on the pavement beside a bicycle")
        assert "camera bicycle-stand" in cards(page)[0]
        assert playing(page)["start"] <= 82
        screenshot(page, "demo-answer")
        ask(page, "only before 8 am")
        assert "camera taxi-rank" in cards(page)[0]
        screenshot(page, "demo-follow-up")


def test_an_audio_file_is_a_query(demo: tuple[Path, DemoReport], visit: Visit, serve: Serve) -> None:
    import gradio

    recording = Path(gradio.__file__).parent / "media_assets" / "audio" / "sax.wav"
    with open_index(demo[0] / "index.db") as index:
        page = visit(serve(index))
        ask(page, "", files=[recording])
        assert "camera main-street" in cards(page)[0]
        screenshot(page, "demo-sound")
