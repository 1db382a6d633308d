"""Measure how fast the page answers: python benchmarks/page_answer.py demo-footage [--visitors 9].

Serves the page with the index of `var-plugin demo` and sends the demo's queries in Chromium, each visitor on a new
page. The browser's clock measures the time from pressing Enter until the answer and its cards are painted. The search
alone is measured in the same process. The first question of the server has its own row.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from var_plugin.api import Index, open_index
from var_plugin.app.options import PageOptions
from var_plugin.app.serve import running_page
from var_plugin.demo.script import DEMO_QUERIES

# Two animation frames after the answer was added, the browser has painted it. Its cards are added in the same update.
_WATCH = """() => {
  window.vpPainted = 0;
  document.addEventListener('keydown', event => {
    if (event.key === 'Enter') window.vpPressed = performance.now();
  }, true);
  new MutationObserver((_, observer) => {
    if (!document.querySelector('#vp-chat [data-testid=bot]')) return;
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => { window.vpPainted = performance.now(); }));
  }).observe(document.body, {childList: true, subtree: true});
}"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder that `var-plugin demo` wrote")
    parser.add_argument("--visitors", type=int, default=9, help="number of visitors after the first")
    arguments = parser.parse_args()
    questions = [query.text for query in DEMO_QUERIES]
    questions = [questions[number % len(questions)] for number in range(arguments.visitors + 1)]
    with (
        open_index(arguments.folder / "index.db") as index,
        running_page(index, PageOptions()) as address,
        chromium() as browser,
    ):
        first, *others = [ask(browser, address, question) for question in questions]
        alone = [search(index, question) for question in questions]
    rows = [("first question of the server", [first]), ("first question of a visitor", others), ("search alone", alone)]
    lines = ["| | median s | slowest s | of |", "|---|--:|--:|--:|"]
    lines += [f"| {name} | {np.median(seconds):.2f} | {max(seconds):.2f} | {len(seconds)} |" for name, seconds in rows]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    sys.stdout.write("\n".join([*lines, "", f"{os.cpu_count()} cores, load average {load}"]) + "\n")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the installed browser."""
    program = os.environ.get("VAR_PLUGIN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium, or set VAR_PLUGIN_CHROMIUM to its path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def ask(browser: Browser, address: str, question: str) -> float:
    """Return the seconds from pressing Enter to the painted answer, on a new page."""
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("#vp-message textarea")
    page.wait_for_timeout(2000)  # people do not type at once
    page.evaluate(_WATCH)
    page.fill("#vp-message textarea", question)
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.vpPainted > 0")
    seconds: float = page.evaluate("() => (window.vpPainted - window.vpPressed) / 1000")
    page.close()
    return seconds


def search(index: Index, question: str) -> float:
    """Return the seconds of a search with everything loaded."""
    started = time.perf_counter()
    index.search(question)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
