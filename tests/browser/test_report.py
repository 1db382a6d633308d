"""The report of unusual moments in Chromium: days, cameras, a phone, dark mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from tests.browser.conftest import DAY, screenshot
from tests.colors import AnyWords, suite_with
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import open_index

Visit = Callable[..., Page]


def test_the_report_fits_screens_and_loads_nothing(visit: Visit, film: Film, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with open_index(tmp_path / "index.db", suite=suite_with(AnyWords())) as index:
        for camera, day, color in (
            ("north", 1, "yellow"), ("north", 2, "red"), ("a <b>yard</b> with a rather long name", 2, "green"),
            ("south", 2, "white"), ("south", None, "red"),
        ):  # fmt: skip
            before = 5 if day else 6  # the same file twice would be one video
            path = film(
                f"{camera[:5]}{day}.mp4", seconds=80, fps=2, paint=scene(*["blue"] * before, color, *["blue"] * 4)
            )
            assert index.add(path, camera=camera, recorded_at=day and DAY.replace(day=day, hour=9)).ok
        written = index.report(report)
    assert (written.moments, written.cameras, written.days, written.without_thumbnail) == (5, 3, 3, 0)
    for name, size, dark in (("", (1400, 950), False), ("-phone", (390, 844), False), ("-dark", (1400, 950), True)):
        page = visit(report.as_uri(), width=size[0], height=size[1], dark=dark, tab=None)
        page.wait_for_function("() => [...document.images].every(image => image.naturalWidth > 0)")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0], "nothing overflows"
        assert page.locator("h2").all_inner_texts() == [
            "Monday, 02 November 2026",
            "Sunday, 01 November 2026",
            "Recording time unknown",
        ]
        first = page.locator("section").first
        assert first.locator("h3").all_inner_texts() == ["a _b_yard_/b_ with a rather long name", "north", "south"]
        assert "Very unlike the other footage of this camera" in first.locator("article").first.inner_text()
        tops = first.locator("article").evaluate_all("cards => cards.map(card => card.getBoundingClientRect().top)")
        assert len(set(tops)) == (3 if name == "-phone" else 1), "cameras share a row where there is space"
        screenshot(page, f"report{name}")
