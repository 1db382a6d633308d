"""After every click the conversation goes on: the next message is answered, and no message is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from playwright.sync_api import FilePayload, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser.conftest import ask, cards, playing, screenshot, wait_until_visible
from tests.films import Film
from tests.ingest.test_add import scene

Visit = Callable[..., Page]
Serve = Callable[..., str]
Click = Callable[[Page], None]


def tab(page: Page, name: str) -> None:
    page.click(f"button[role=tab]:has-text('{name}')")


def click_curve(page: Page) -> None:
    playing(page)
    # A click on a curve that is being redrawn has no effect, so the click is repeated.
    for _ in range(10):
        box = page.locator("#vp-curve .js-plotly-plot .nsewdrag").first.bounding_box()
        assert box
        page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
        with suppress(PlaywrightTimeout):
            page.wait_for_function(
                "() => document.querySelector('.vp-video')?.dataset.start === '24.000'", timeout=10_000
            )
            return
    raise AssertionError("a click on the curve has no effect")


def click_diamond(page: Page) -> None:
    tab(page, "Timeline")
    page.wait_for_selector("#vp-overview .scatterlayer path.point", state="attached")
    diamond = page.locator("#vp-overview .scatterlayer .trace").last.locator("path.point").first
    box = diamond.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab(page, "Ask")


def open_tab(name: str) -> Click:
    def click(page: Page) -> None:
        tab(page, name)
        page.wait_for_selector(f"[role=tab][aria-selected=true]:has-text('{name}')")
        tab(page, "Ask")

    return click


def refresh(page: Page) -> None:
    tab(page, "Footage")
    page.click("text=Refresh")
    page.wait_for_selector("#vp-videos table")
    tab(page, "Ask")


def dismiss_delete(page: Page) -> None:
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


def judge(judgement: str) -> Click:
    def click(page: Page) -> None:
        playing(page)
        page.click(f"[data-vp={judgement}]")
        page.wait_for_selector(f"[data-vp={judgement}][aria-pressed=true]")

    return click


def send(text: str) -> Click:
    return lambda page: ask(page, text)


def remove_chip(page: Page) -> None:
    before = page.locator("#vp-chat .vp-cards").count()
    page.locator(".vp-chip button").last.click()
    page.wait_for_function("n => document.querySelectorAll('#vp-chat .vp-cards').length > n", arg=before)


def export_feedback(page: Page) -> None:
    tab(page, "Footage")
    page.click("text=Refresh")
    with page.expect_download():
        page.click("text=evaluation data (JSON)")
    tab(page, "Ask")


def remove_attachment(page: Page) -> None:
    file = FilePayload(name="a.png", mimeType="image/png", buffer=b"no image")
    page.set_input_files("#vp-message input[type=file]", files=[file])
    page.wait_for_selector("#vp-message .thumbnail-item")
    page.locator("#vp-message .thumbnail-item button, #vp-message button.delete-button").first.click()
    page.wait_for_function("() => !document.querySelector('#vp-message .thumbnail-item')")


CLICKS: dict[str, Click] = {
    "a card": lambda page: page.locator(".vp-card").nth(1).click(),
    "the curve": click_curve,
    "right": judge("right"),
    "wrong": judge("wrong"),
    "the video": lambda page: page.click("video.vp-video"),
    "unusual": open_tab("Unusual"),
    "timeline": open_tab("Timeline"),
    "a diamond of the timeline": click_diamond,
    "footage": open_tab("Footage"),
    "refresh": refresh,
    "delete, dismissed": dismiss_delete,
    "add without a file": add_nothing,
    "CSV": download("#vp-side >> text=CSV"),
    "JSON": download("#vp-side >> text=JSON"),
    "clip": download("#vp-side >> text=↓ clip"),
    "the evaluation data": export_feedback,
    "an attachment, removed": remove_attachment,
    "play the second": send("play the second"),
    "next": send("next"),
    "more like the first": send("more like the first"),
    "go back": send("go back"),
    "remove a chip": remove_chip,
    "anything unusual": send("anything unusual?"),
    "start over": send("start over"),
}


def questions(page: Page) -> list[str]:
    return [row.strip() for row in page.locator("#vp-chat .user-row").all_inner_texts()]


def assert_chat_works(page: Page, clicked: str) -> None:
    """Ask a question and check that its answer appears below the earlier messages."""
    before = questions(page)
    ask(page, "green")
    after = questions(page)
    assert after[:-1] == before, f"the conversation is lost after a click on {clicked}"
    assert after[-1].endswith("green"), f"no question appears after a click on {clicked}"
    assert "north-gate" in cards(page)[0], f"no answer after a click on {clicked}"


def test_the_chat_works_after_every_click(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    for name, click in CLICKS.items():
        cards(page)
        click(page)
        assert_chat_works(page, name)
    screenshot(page, "after-every-click")


def test_the_tabs_are_in_one_row(visit: Visit, colors: str) -> None:
    page = visit(colors)
    assert page.locator("[role=tablist]").count() == 1
    assert page.locator("[role=tablist] [role=tab]:visible").all_inner_texts() == [
        "Unusual",
        "Ask",
        "Timeline",
        "Footage",
    ]


def test_clear_starts_a_new_conversation(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    ask(page, "on the south camera")
    cards(page)
    page.locator("#vp-chat button[aria-label*=lear]").click()
    page.wait_for_function("() => !document.querySelector('#vp-chat .user-row, .vp-chip, video.vp-video')")
    screenshot(page, "cleared")
    assert_chat_works(page, "the clear button")
    ask(page, "red")
    assert questions(page) == ["green", "red"]


def test_the_chat_works_after_every_example(visit: Visit, colors: str) -> None:
    page = visit(colors)
    for position in range(4):
        page.locator("#vp-chat .example").nth(position).click()
        cards(page)
        assert_chat_works(page, f"example {position}")
        page.locator("#vp-chat button[aria-label*=lear]").click()
        page.wait_for_selector("#vp-chat .user-row", state="detached")


def test_the_chat_works_after_uploading_and_deleting(visit: Visit, colors: str, film: Film) -> None:
    page = visit(colors)
    ask(page, "green")
    tab(page, "Footage")
    page.set_input_files("#vp-upload input[type=file]", film("porch.mp4", seconds=8, fps=5, paint=scene("yellow")))
    page.wait_for_selector("#vp-upload .file-preview")
    page.click("#vp-add")
    delete = page.locator("#vp-videos .vp-delete[aria-label='Delete porch.mp4']")
    delete.wait_for()
    tab(page, "Ask")
    assert_chat_works(page, "add")
    ask(page, "yellow")
    assert "camera porch" in cards(page)[0]
    tab(page, "Footage")
    page.once("dialog", lambda dialog: dialog.accept())
    delete.click()
    delete.wait_for(state="detached")
    tab(page, "Ask")
    assert_chat_works(page, "delete")


def test_unusable_attachments_are_answered(visit: Visit, colors: str, film: Film) -> None:
    names = ("notes.txt", "report.pdf", "broken.png", "song.png", "no ending", "empty.wav", "empty.png", "empty.mp4")
    film("song.mp4", seconds=1, tone=440.0, images=False).rename(film.folder / "song.png")
    page = visit(colors)
    ask(page, "green")
    for name in names:
        path = film.folder / name
        if name.startswith("empty"):
            path.touch()
        elif name != "song.png":
            path.write_bytes(b"%PDF-1.7 neither an image nor audio")
        ask(page, "", files=[path])
        wait_until_visible(page, "#vp-chat [data-testid=bot]")
        answer = page.locator("#vp-chat [data-testid=bot]").last.inner_text()
        assert name in answer
        if name.startswith("empty"):
            assert "is empty" in answer
        else:
            assert "attach one of these" in answer or "The search failed" in answer
        screenshot(page, f"attachment-{path.name}")
        assert_chat_works(page, name)
