"""The tab Unusual in Chromium: the page opens on it, filters, play in the card, marks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import DAY, ask, cards, open_tab, screenshot
from tests.colors import AnyWords, suite_with
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index

Visit = Callable[..., Page]
Serve = Callable[..., str]

_CARDS = "#vp-feed .vp-card"


@pytest.fixture(scope="module")
def three_cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras that are blue but for 8 s, on two days, and one video without a recording time."""
    folder = tmp_path_factory.mktemp("unusual")
    film = Film(folder / "films")
    with open_index(folder / "index.db", suite=suite_with(AnyWords())) as index:
        for camera, day, color in (("north", 1, "yellow"), ("south", 2, "red"), ("yard", None, "green")):
            path = film(f"{camera}.mp4", seconds=80, fps=2, paint=scene(*["blue"] * 5, color, *["blue"] * 4))
            assert index.add(path, camera=camera, recorded_at=day and DAY.replace(day=day, hour=9)).ok
    return folder / "index.db"


@pytest.fixture
def unusual_index(three_cameras: Path, tmp_path: Path) -> Iterator[Index]:
    """A copy of the index of three cameras."""
    with open_index(shutil.copytree(three_cameras, tmp_path / "index.db"), suite=suite_with(AnyWords())) as index:
        yield index


def choose(page: Page, filter_id: str, option: str) -> None:
    page.click(f"#{filter_id} input")
    page.locator(f"#{filter_id} [role=option], [role=listbox] [role=option]").filter(has_text=option).first.click()


def count_cards(page: Page, number: int) -> None:
    page.wait_for_function("n => document.querySelectorAll('#vp-feed .vp-card').length === n", arg=number)


def headings(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator("#vp-feed h3").all_inner_texts()]


def test_the_page_opens_on_unusual_moments(visit: Visit, serve: Serve, unusual_index: Index) -> None:
    page = visit(serve(unusual_index), tab=None, width=1440)
    page.wait_for_selector(_CARDS)
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Unusual"
    assert headings(page) == [
        "Monday, 02 November 2026 1 unusual moment",
        "Sunday, 01 November 2026 1 unusual moment",
        "Recording time unknown 1 unusual moment",
    ]
    assert "1 minute of footage has no recording time" in page.inner_text("#vp-feed-summary")
    screenshot(page, "unusual")

    page.locator(_CARDS).nth(1).click()
    page.wait_for_function("() => document.querySelector('#vp-feed .vp-playing video')?.readyState >= 2")
    assert page.eval_on_selector("#vp-feed .vp-playing video", "v => v.dataset.start") == "40.000"
    screenshot(page, "unusual-playing")

    choose(page, "vp-feed-camera", "south")
    count_cards(page, 1)
    choose(page, "vp-feed-kind", "unlike this camera")
    count_cards(page, 1)
    choose(page, "vp-feed-day", "Sun 01 Nov")
    count_cards(page, 0)
    assert "No unusual moments with these filters" in page.inner_text("#vp-feed-summary")

    open_tab(page, "Ask")
    ask(page, "yellow")
    assert "camera north" in cards(page)[0]


def test_the_feed_is_filtered_by_a_range_of_days(visit: Visit, serve: Serve, unusual_index: Index) -> None:
    page = visit(serve(unusual_index), tab=None)
    count_cards(page, 3)
    assert page.locator("#vp-feed-last-day").is_hidden(), "a range begins with a day"
    choose(page, "vp-feed-day", "Sun 01 Nov")
    count_cards(page, 1)
    choose(page, "vp-feed-last-day", "Mon 02 Nov")
    count_cards(page, 2)
    screenshot(page, "unusual-days")
    choose(page, "vp-feed-day", "Mon 02 Nov")
    count_cards(page, 1)
    assert page.locator("#vp-feed-last-day").is_hidden(), "there is no later day"
    choose(page, "vp-feed-day", "Recording time unknown")
    page.wait_for_selector("#vp-feed h3:has-text('Recording time unknown')")
    choose(page, "vp-feed-day", "All days")
    count_cards(page, 3)


def test_one_camera_has_no_filter_for_cameras(visit: Visit, serve: Serve, film: Film, tmp_path: Path) -> None:
    path = film("north.mp4", seconds=80, fps=2, paint=scene(*["blue"] * 5, "yellow", *["blue"] * 4))
    with open_index(tmp_path / "one.db", suite=suite_with(AnyWords())) as index:
        assert index.add(path, camera="north", recorded_at=DAY.replace(hour=9)).ok
        page = visit(serve(index), tab=None)
        page.wait_for_selector(_CARDS)
        assert headings(page) == ["Sunday, 01 November 2026 1 unusual moment"]
        assert page.locator("#vp-feed-camera, #vp-feed-last-day").locator("visible=true").count() == 0
        assert page.locator("#vp-feed-day, #vp-feed-kind").locator("visible=true").count() == 2
        assert "recording time" not in page.inner_text("#vp-feed-summary")
        screenshot(page, "unusual-one-camera")
        open_tab(page, "Timeline")
        page.wait_for_selector("#vp-overview .scatterlayer .trace", state="attached")
        screenshot(page, "over-time-one-camera")


def test_footage_without_recording_times_is_listed(visit: Visit, serve: Serve, film: Film, tmp_path: Path) -> None:
    with open_index(tmp_path / "undated.db", suite=suite_with(AnyWords())) as index:
        for camera, color in (("north", "yellow"), ("south", "red")):
            path = film(f"{camera}.mp4", seconds=80, fps=2, paint=scene(*["blue"] * 5, color, *["blue"] * 4))
            assert index.add(path, camera=camera).ok
        page = visit(serve(index), tab=None)
        page.wait_for_selector(_CARDS)
        assert headings(page) == ["Recording time unknown 2 unusual moments"]
        assert "3 minutes of footage have no recording time" in page.inner_text("#vp-feed-summary")
        screenshot(page, "unusual-undated")
        assert page.locator("#vp-feed-day").is_hidden(), "there are no days"
        page.locator(_CARDS).first.click()
        page.wait_for_function("() => document.querySelector('#vp-feed .vp-playing video')?.readyState >= 2")
        open_tab(page, "Timeline")
        page.wait_for_selector("text=so there is no timeline")
        assert page.locator("#vp-overview").is_hidden()
        screenshot(page, "over-time-undated")


def test_a_moment_that_is_normal_leaves_the_feed(visit: Visit, serve: Serve, unusual_index: Index) -> None:
    page = visit(serve(unusual_index), tab=None)
    page.wait_for_selector(_CARDS)
    page.locator("#vp-feed [data-vp=mark-normal]").first.click()
    count_cards(page, 2)
    assert all("Monday" not in heading for heading in headings(page))
    page.click("#vp-examples button:has-text('What is normal')")
    page.wait_for_selector("#vp-examples-list li:has-text('south')")
    screenshot(page, "unusual-examples")
    page.fill("#vp-example-text textarea, #vp-example-text input", "green")
    page.click("#vp-example-add")
    page.wait_for_selector("#vp-examples-list li:has-text('green')")
    page.locator("#vp-examples-list [data-vp=remove-example]").first.click()
    page.wait_for_selector("#vp-feed h3:has-text('Monday')")
    open_tab(page, "Ask")
    ask(page, "yellow")
    assert "camera north" in cards(page)[0]


def test_the_feed_fits_a_phone_and_dark_mode(visit: Visit, serve: Serve, unusual_index: Index) -> None:
    page = visit(serve(unusual_index, read_only=True), tab=None, width=390, height=844, dark=True)
    page.wait_for_selector(_CARDS)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, "nothing overflows"
    assert page.locator("[data-vp=mark-normal], #vp-examples").count() == 0, "a read-only page has no marks"
    page.locator(_CARDS).first.click()
    page.wait_for_function("() => document.querySelector('#vp-feed .vp-playing video')?.readyState >= 2")
    screenshot(page, "unusual-phone-dark")


def test_an_empty_index_offers_the_demo(visit: Visit, serve: Serve, empty_index: Index) -> None:
    page = visit(serve(empty_index), tab=None)
    page.wait_for_selector("#vp-welcome")
    page.wait_for_function("() => document.querySelector('#vp-feed-summary').innerText.includes('no footage yet')")
    screenshot(page, "unusual-empty")


def test_alerts_are_saved_edited_and_removed(
    visit: Visit, serve: Serve, unusual_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAR_PLUGIN_ALERTS", str(tmp_path / "alerts.json"))
    page = visit(serve(unusual_index), tab=None)
    page.wait_for_selector(_CARDS)
    page.click("#vp-alerts button:has-text('Alerts')")
    page.wait_for_selector("#vp-alerts-list:has-text('no alerts yet')")
    page.fill("#vp-alert-name textarea, #vp-alert-name input", "night")
    page.click("#vp-alert-save")
    page.wait_for_selector("#vp-alerts-status:has-text('no receiver')")
    page.fill("#vp-alert-receiver textarea, #vp-alert-receiver input", "https://hooks.example.org/alert")
    page.click("#vp-alert-save")
    page.wait_for_selector("#vp-alerts-list li:has-text('night')")
    assert "Saved." in page.inner_text("#vp-alerts-status")
    assert "any anomaly, score >= 0.5" in page.inner_text("#vp-alerts-list")
    screenshot(page, "alerts")
    page.click("#vp-alerts-list [data-vp=edit-alert]")
    page.wait_for_function(
        "() => document.querySelector('#vp-alert-receiver textarea, #vp-alert-receiver input').value === ''"
    )
    page.click("#vp-alerts-list [data-vp=try-alert]")
    page.wait_for_selector("#vp-alerts-status:has-text('14 days')")
    page.click("#vp-alerts-list [data-vp=remove-alert]")
    page.wait_for_selector("#vp-alerts-list:has-text('no alerts yet')")
