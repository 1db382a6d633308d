from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import ask, cards, comes_into_view, keep, playing
from var_plugin.app.media_registry import Shelf
from var_plugin.media.clips import Clip
from var_plugin.types import Moment

Visit = Callable[..., Page]


def chips(page: Page) -> list[str]:
    return [" ".join(chip.removesuffix("×").split()) for chip in page.locator(".vp-chip").all_inner_texts()]


def test_ask_then_follow_up(visit: Visit, colors: str) -> None:
    page = visit(colors)
    keep(page, "welcome")
    ask(page, "green")
    assert [card.split(", ")[0] for card in cards(page)[:2]] == [
        "Play moment 1: camera north-gate",
        "Play moment 2: camera south-yard",
    ]
    assert "0:08 – 0:16" in cards(page)[0]
    first = playing(page)
    assert first["start"] == 8
    assert 8 <= first["at"] < 16, "it plays from the start of the moment"
    keep(page, "answer")

    ask(page, "only after 2 pm")
    assert {card.split(", ")[0].split(": ")[1] for card in cards(page)} == {"camera south-yard"}
    assert chips(page) == ["looking for green", "after Sun 01 Nov 2026, 14:00:00 UTC"]
    assert playing(page)["start"] == 24
    keep(page, "follow-up")
    comes_into_view(page, "#vp-chat .user-row")
    comes_into_view(page, "#vp-chat .vp-cards >> nth=-1 >> .vp-card >> nth=0")

    page.locator(".vp-chip button").last.click()
    page.wait_for_function("() => document.querySelectorAll('.vp-chip').length === 1")
    page.wait_for_function("() => document.querySelectorAll('.vp-cards').length === 3")
    assert "north-gate" in cards(page)[0]


def test_a_click_plays_another_moment(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    playing(page)
    page.locator(".vp-card").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('video.vp-video')?.dataset.start === '24.000'")
    assert 24 <= playing(page)["at"] < 32
    page.wait_for_function("() => document.querySelector('video.vp-video').paused", timeout=30_000)
    ends = page.eval_on_selector("video.vp-video", "v => v.currentTime + Number(v.dataset.clipStart)")
    assert ends <= 32.3, "and stops where it ends"


def test_a_click_on_the_curve_plays_there(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green on the north camera")
    playing(page)
    plot = page.locator("#vp-curve .js-plotly-plot .nsewdrag").first
    box = plot.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.wait_for_function("() => document.querySelector('video.vp-video')?.dataset.start === '24.000'")
    assert 24 <= playing(page)["at"] < 32


def test_messages_sent_while_a_clip_is_made_are_all_answered(
    visit: Visit, colors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Shelf.clip

    def slowly(shelf: Shelf, moment: Moment) -> Clip:
        time.sleep(1.5)
        return make(shelf, moment)

    monkeypatch.setattr(Shelf, "clip", slowly)
    page = visit(colors)
    for sent, text in enumerate(["green", "only after 2 pm", "only before 5 pm", "on the south camera"]):
        page.fill("#vp-message textarea", text)
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#vp-message textarea').value === ''")
        if sent == 0:
            cards(page)
    page.wait_for_function("() => document.querySelectorAll('#vp-chat .vp-cards').length === 4")
    assert page.locator("#vp-chat .user-row").count() == 4
    assert len(chips(page)) == 4, "each went on from the one before"
    page.locator(".vp-cards").first.locator(".vp-card").nth(0).click()
    page.locator(".vp-cards").first.locator(".vp-card").nth(1).click()
    page.wait_for_function("() => document.querySelector('video.vp-video')?.dataset.start === '24.000'")
    page.wait_for_timeout(3_500)
    assert playing(page)["start"] == 24, "the later of two clicks holds"
    assert len(chips(page)) == 4


def test_an_image_and_a_clip_as_questions(visit: Visit, colors: str, tmp_path: Path) -> None:
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
    keep(page, "image")
    ask(page, "more like the first")
    assert chips(page)[0].startswith("like south-yard 0:16 – 0:24")


def test_words_of_no_script_it_knows(visit: Visit, colors: str) -> None:
    page = visit(colors)
    assert "understands English" in page.inner_text("#vp-ask")
    ask(page, "一个骑自行车的人")
    assert "knows English only" in page.inner_text("#vp-chat")


def test_marks_and_downloads(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    playing(page)
    page.click("[data-vp=right]")
    page.wait_for_selector("[data-vp=right][aria-pressed=true]")
    keep(page, "marked")
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


def test_nothing_within_conditions(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "green")
    ask(page, "the day before")
    assert "Nothing like that within these conditions" in page.inner_text("#vp-chat")
    keep(page, "nothing")
    ask(page, "go back")
    assert chips(page) == ["looking for green"]


def test_two_people_do_not_mix(visit: Visit, colors: str) -> None:
    first, second = visit(colors), visit(colors)
    ask(first, "green on the north camera")
    ask(second, "red on the south camera")
    ask(first, "after 8 am")
    ask(second, "after 2 pm")
    assert chips(first)[:2] == ["looking for green", "camera north-gate"]
    assert chips(second)[:2] == ["looking for red", "camera south-yard"]
    assert "green" not in second.inner_text("#vp-chat")


def test_on_a_phone_and_in_the_dark(visit: Visit, colors: str) -> None:
    phone = visit(colors, width=390, height=844)
    ask(phone, "green")
    playing(phone)
    comes_into_view(phone, "video.vp-video")
    comes_into_view(phone, ".vp-card >> nth=0 >> .vp-thumb")
    assert phone.evaluate("() => document.documentElement.scrollWidth") <= 390, "nothing sticks out"
    keep(phone, "phone")
    dark = visit(colors, dark=True)
    ask(dark, "green")
    playing(dark)
    keep(dark, "dark")
    background = dark.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(", "))) < 200


def test_what_is_said_is_text(visit: Visit, colors: str) -> None:
    page = visit(colors)
    ask(page, "<img src=x onerror=\"document.title='broken in'\"> green")
    assert page.title() != "broken in"
