"""Measure how fast the page shows its feed and its timeline on a large index.

    python benchmarks/page_feed.py [--rows 100000] [--folder FOLDER] [--visitors 5]

The index is that of anomaly_rows.py; FOLDER is kept. The functions of the server are timed alone first. Then Chromium
opens the page, each time as a new visitor, and opens the tab Timeline. Its clock measures until the cards and the
curves are painted. The synthetic footage has no files, so the cards have no thumbnails.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
from anomaly_rows import fill
from page_answer import chromium
from playwright.sync_api import Browser

import var_plugin as vp
from var_plugin.app.options import PageOptions
from var_plugin.app.serve import running_page
from var_plugin.app.timeline import overview
from var_plugin.app.unusual import Selection, load_feed

# Two animation frames after the elements exist, the browser has painted them. The clock starts with the navigation.
_WATCH = """() => {
  const watch = (name, selector) => {
    const observer = new MutationObserver(() => {
      if (window[name] || !document.querySelector(selector)) return;
      requestAnimationFrame(() => requestAnimationFrame(() => { window[name] = window[name] || performance.now(); }));
    });
    observer.observe(document, {childList: true, subtree: true});
  };
  watch('vpTabs', '[role=tab]');
  watch('vpFeed', '#vp-feed .vp-card');
  watch('vpTimeline', '#vp-overview .scatterlayer .trace');
}"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--visitors", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        with vp.open_index(folder / "anomalies.db", suite="lite", create=True) as index:
            fill(index, arguments.rows)
            for collection in ("footage__scene", "footage__videos"):
                index._inner._store.snapshots.refresh(collection, force=True)
            rows = measure(index, arguments.visitors)
    lines = ["| | median s | slowest s | of |", "|---|--:|--:|--:|"]
    lines += [f"| {name} | {np.median(seconds):.2f} | {max(seconds):.2f} | {len(seconds)} |" for name, seconds in rows]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    sys.stdout.write("\n".join([*lines, "", f"{os.cpu_count()} cores, load average {load}"]) + "\n")


def measure(index: vp.Index, visitors: int) -> list[tuple[str, list[float]]]:
    """Return the seconds of each measurement by name."""
    feed = [timed(load_feed, index, Selection(), UTC) for _ in range(visitors)]
    timeline = [timed(overview, index, [], UTC) for _ in range(visitors)]
    with running_page(index, PageOptions()) as address, chromium() as browser:
        visits = [visit(browser, address) for _ in range(visitors + 1)]
    return [
        ("server: feed", feed),
        ("server: timeline", timeline),
        ("first visitor: opening the page to its feed", [visits[0][1]]),
        ("opening the page to its tabs", [tabs for tabs, _, _ in visits[1:]]),
        ("opening the page to its feed", [cards for _, cards, _ in visits[1:]]),
        ("opening the tab Timeline to its curves", [curves for _, _, curves in visits[1:]]),
    ]


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def visit(browser: Browser, address: str) -> tuple[float, float, float]:
    """Return the seconds from opening the page to its tabs, to its feed, and from a click on Timeline to its curves."""
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(f"({_WATCH})()")
    page.goto(address)
    page.wait_for_function("() => window.vpFeed && window.vpTabs")
    tabs, cards = page.evaluate("() => [window.vpTabs, window.vpFeed]")
    page.wait_for_timeout(2000)  # people do not click at once
    clicked = page.evaluate("() => performance.now()")
    page.click("button[role=tab]:has-text('Timeline')")
    page.wait_for_function("() => window.vpTimeline")
    curves = page.evaluate("() => window.vpTimeline") - clicked
    page.close()
    return tabs / 1000, cards / 1000, curves / 1000


if __name__ == "__main__":
    main()
