"""The page in Chromium, over an index of test videos with known colours. Tests store screenshots."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.colors import AnyWords, suite_with
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.app.options import PageOptions
from var_plugin.app.serve import running_page

CHROMIUM = os.environ.get("VAR_PLUGIN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
IMAGES = Path(os.environ.get("VAR_PLUGIN_SCREENSHOTS", "runs/screenshots"))
_NOT_LOADING = "() => !document.querySelector('#vp-chat [aria-label=\"Loading response\"]')"
DAY = datetime(2026, 11, 1, tzinfo=UTC)


# One per module, not per session: Playwright's synchronous API runs an event loop, which would block asynchronous
# tests of other modules.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


# A visitor is a page: Gradio keeps a session per page, and the page stores nothing in the browser. Pages of one context
# share its cache, so that the scripts of Gradio and Plotly are loaded and compiled once per module.
@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    with closing(browser.new_context()) as context:
        yield context


@pytest.fixture
def visit(context: BrowserContext) -> Iterator[Callable[..., Page]]:
    """Return a function that opens an address and a tab as a new visitor.

    The page opens on the tab Unusual; `tab=None` stays there. Page errors and foreign requests fail the test.
    """
    problems: list[str] = []
    with ExitStack() as stack:

        def open_page(
            address: str, *, width: int = 1400, height: int = 950, dark: bool = False, tab: str | None = "Ask"
        ) -> Page:
            page = stack.enter_context(closing(context.new_page()))
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if dark else "light")
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    problems.append(f"request to another host: {request.url}")
                    if re.match(r"(?:http|ws)s?://(?!127\.0\.0\.1)", request.url)
                    else None
                ),
            )
            page.goto(address)
            if tab:
                open_tab(page, tab)
            if tab == "Ask":
                page.wait_for_selector("#vp-message textarea")
            return page

        yield open_page
    assert problems == []


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a function that serves the page for an index until the test ends and returns its address."""
    with ExitStack() as stack:

        def start(index: Index, **options: object) -> str:
            return stack.enter_context(running_page(index, PageOptions(**options)))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="session")
def colors_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index with a morning and an afternoon camera. Each video has four colours of 8 s."""
    folder = tmp_path_factory.mktemp("colors")
    film = Film(folder / "a secret place")
    with open_index(folder / "index.db", suite=suite_with(AnyWords())) as index:
        for camera, hour, names in (
            ("north-gate", 9, ("red", "green", "blue", "white")),
            ("south-yard", 15, ("blue", "white", "red", "green")),
        ):
            path = film(f"{camera}.mp4", seconds=32, fps=5, paint=scene(*names), tone=440.0)
            assert index.add(path, camera=camera, recorded_at=DAY.replace(hour=hour)).ok
        yield index


@pytest.fixture(scope="session")
def colors(colors_index: Index) -> Iterator[str]:
    """The address of the page with two cameras."""
    with running_page(colors_index, PageOptions()) as address:
        yield address


@pytest.fixture(scope="session")
def colors_read_only(colors_index: Index) -> Iterator[str]:
    """The address of the read-only page with two cameras."""
    with running_page(colors_index, PageOptions(read_only=True)) as address:
        yield address


@pytest.fixture
def empty_index(tmp_path: Path) -> Iterator[Index]:
    """An empty index."""
    with open_index(tmp_path / "index.db", suite=suite_with(AnyWords())) as index:
        yield index


def open_tab(page: Page, name: str) -> None:
    """Open a tab of the page."""
    page.click(f"button[role=tab]:has-text('{name}')")


def ask(page: Page, text: str, *, files: list[Path] | None = None) -> None:
    """Send a message and wait for its complete answer. Loading bubbles count as answers, so wait for those first."""
    page.wait_for_function(_NOT_LOADING)
    answers = page.locator("#vp-chat [data-testid=bot]").count()
    if files:
        page.set_input_files("#vp-message input[type=file]", [str(file) for file in files])
        page.wait_for_function(
            "n => document.querySelectorAll('#vp-message .thumbnail-item').length === n", arg=len(files)
        )
    page.fill("#vp-message textarea", text)
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#vp-message textarea').value === ''")
    page.wait_for_function(
        "before => document.querySelectorAll('#vp-chat [data-testid=bot]').length > before", arg=answers
    )
    page.wait_for_function(_NOT_LOADING)


def cards(page: Page) -> list[str]:
    """Return the labels of the cards of the last answer once they are drawn."""
    last = page.locator("#vp-chat [data-testid=bot]").last
    last.locator(".vp-card").first.wait_for()
    return last.locator(".vp-card").evaluate_all("cards => cards.map(card => card.getAttribute('aria-label'))")


def playing(page: Page) -> dict[str, float]:
    """Return position and start of the player in seconds of the whole video, once it plays."""
    page.wait_for_function("() => document.querySelector('video.vp-video')?.readyState >= 2")
    return page.eval_on_selector(
        "video.vp-video",
        "v => ({at: v.currentTime + Number(v.dataset.clipStart), start: Number(v.dataset.start)})",
    )  # fmt: skip


def wait_until_visible(page: Page, selector: str) -> None:
    """Wait until the last matching element is completely visible in the window and in the chat."""
    page.locator(selector).last.wait_for()
    page.wait_for_function(
        """element => {
          const box = element.getBoundingClientRect();
          const chat = element.closest('.bubble-wrap')?.getBoundingClientRect();
          const top = Math.max(0, chat?.top ?? 0), bottom = Math.min(innerHeight, chat?.bottom ?? innerHeight);
          return box.top >= top - 1 && box.bottom <= bottom + 1;
        }""",
        arg=page.locator(selector).last.element_handle(),
    )


def screenshot(page: Page, name: str) -> None:
    """Store a screenshot of the page once its images and plots are drawn."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    page.wait_for_function(
        """() => {
          const drawn = element => element.checkVisibility() && element.getBoundingClientRect().top < innerHeight;
          return [...document.images].filter(drawn).every(image => image.complete)
            && [...document.querySelectorAll('.vp-plot')].filter(drawn).every(plot => plot.querySelector('.main-svg'));
        }"""
    )
    page.screenshot(path=str(IMAGES / f"{name}.png"))
