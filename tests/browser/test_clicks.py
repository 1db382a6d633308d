"""Whatever a person clicks, the conversation goes on: the next message is answered, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from tests.browser.conftest import ask, cards, keep, playing

Visit = Callable[..., Page]
Serve = Callable[..., str]
Click = Callable[[Page], None]


def tab(page: Page, name: str) -> None:
    page.click(f"button[role=tab]:has-text('{name}')")


def click_curve(page: Page) -> None:
    playing(page)
    box = page.locator("#vp-curve .js-plotly-plot .nsewdrag").first.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.wait_for_timeout(300)


def click_diamond(page: Page) -> None:
    tab(page, "Over time")
    page.wait_for_selector("#vp-overview .scatterlayer path.point", state="attached")
    diamond = page.locator("#vp-overview .scatterlayer .trace").last.locator("path.point").first
    box = diamond.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab(page, "Ask")


def look_at(name: str) -> Click:
    def click(page: Page) -> None:
        tab(page, name)
        page.wait_for_timeout(300)
        tab(page, "Ask")

    return click


def refresh(page: Page) -> None:
    tab(page, "Footage")
    page.click("text=Refresh")
    page.wait_for_selector("#vp-videos table")
    tab(page, "Ask")


def press_delete_and_think_again(page: Page) -> None:
    tab(page, "Footage")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.locator(".vp-delete").first.click()
    tab(page, "Ask")


def add_nothing(page: Page) -> None:
    tab(page, "Footage")
    page.click("#vp-add")
    page.wait_for_function("() => document.querySelector('#vp-adding').innerText.includes('Nothing to add')")
    tab(page, "Ask")


def download(selector: str) -> Click:
    def click(page: Page) -> None:
        playing(page)
        with page.expect_download():
            page.locator(selector).last.click()

    return click


def mark(which: str) -> Click:
    def click(page: Page) -> None:
        playing(page)
        page.click(f"[data-vp={which}]")
        page.wait_for_selector(f"[data-vp={which}][aria-pressed=true]")

    return click


def say(text: str) -> Click:
    return lambda page: ask(page, text)


def remove_chip(page: Page) -> None:
    before = page.locator("#vp-chat .vp-cards").count()
    page.locator(".vp-chip button").last.click()
    page.wait_for_function("n => document.querySelectorAll('#vp-chat .vp-cards').length > n", arg=before)


def remove_attachment(page: Page, picture: Path) -> None:
    page.set_input_files("#vp-message input[type=file]", str(picture))
    page.wait_for_selector("#vp-message .thumbnail-item")
    page.locator("#vp-message .thumbnail-item button, #vp-message button.delete-button").first.click()
    page.wait_for_function("() => !document.querySelector('#vp-message .thumbnail-item')")


CLICKS: dict[str, Click] = {
    "a card": lambda page: page.locator(".vp-card").nth(1).click(),
    "the curve": click_curve,
    "mark right": mark("right"),
    "mark wrong": mark("wrong"),
    "the video": lambda page: page.click("video.vp-video"),
    "over time": look_at("Over time"),
    "a diamond of the timeline": click_diamond,
    "footage": look_at("Footage"),
    "refresh": refresh,
    "delete, dismissed": press_delete_and_think_again,
    "add without a file": add_nothing,
    "CSV": download("text=CSV"),
    "JSON": download("text=JSON"),
    "clip": download("text=↓ clip"),
    "play the second": say("play the second"),
    "next": say("next"),
    "more like the first": say("more like the first"),
    "go back": say("go back"),
    "remove a chip": remove_chip,
    "anything unusual": say("anything unusual?"),
    "start over": say("start over"),
}


def questions(page: Page) -> list[str]:
    return [row.strip() for row in page.locator("#vp-chat .user-row").all_inner_texts()]


def still_answers(page: Page, clicked: str) -> None:
    """Ask in words and check that the answer comes, below everything that was said before."""
    before = questions(page)
    ask(page, "green")
    after = questions(page)
    assert after[:-1] == before, f"the conversation is lost after a click on {clicked}"
    assert after[-1].endswith("green"), f"no question is shown after a click on {clicked}"
    assert "north-gate" in cards(page)[0], f"no answer after a click on {clicked}"


def test_every_click_leaves_the_chat_alive(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    for name, click in CLICKS.items():
        cards(page)
        click(page)
        still_answers(page, name)
    keep(page, "after-every-click")


def test_examples_leave_the_chat_alive(visit: Visit, colors: str) -> None:
    for place in range(4):
        page = visit(colors)
        page.locator("#vp-chat .example").nth(place).click()
        cards(page)
        still_answers(page, f"example {place}")
