"""The tab Unusual, which the page opens on: a feed of unusual moments, and what is normal or an alarm."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

import gradio as gr

from var_plugin.app import cards, formatting
from var_plugin.app.alerts_panel import build_alerts_panel
from var_plugin.app.state import AppState
from var_plugin.app.unusual import PAGE_SIZE, UNKNOWN_DAY, Feed, Selection, load_feed
from var_plugin.errors import VarPluginError
from var_plugin.index.examples import ExampleKind
from var_plugin.retrievers.text import sanitize_name

logger = logging.getLogger(__name__)

_MARKS: dict[str, ExampleKind] = {"mark-normal": "normal", "mark-alarm": "alarm"}
_SCORING = '<p role="status">Scoring the footage again …</p>'
_ONE_DAY = "That day only"
_PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class UnusualTab:
    """What other events need to draw the feed again."""

    draw: Callable[..., list[Any]]
    inputs: list[Any]
    outputs: list[Any]


def build_unusual_tab(state: AppState, page: gr.Blocks, tab: gr.Tab, bridge: gr.HTML) -> UnusualTab:
    """Create and connect the tab. The feed is drawn once the page is open, and whenever the tab is opened."""
    gr.Markdown("### Unusual recently", elem_id="vp-unusual-title")
    with gr.Row(elem_id="vp-feed-filters"):
        camera, day, last_day, kind = (
            gr.Dropdown([(default, "")], value="", label=label, min_width=150, elem_id=f"vp-feed-{name}")
            for label, name, default in (
                ("Camera", "camera", "All cameras"),
                ("Day", "day", "All days"),
                ("To day", "last-day", _ONE_DAY),
                ("Kind", "kind", "All kinds"),
            )
        )
    status = gr.HTML(elem_id="vp-feed-status")
    summary = gr.HTML(elem_id="vp-feed-summary")
    listing = gr.HTML(elem_id="vp-feed")
    more = gr.Button("More", visible=False, size="sm", elem_id="vp-feed-more")
    limit = gr.State(PAGE_SIZE)
    filters = [camera, day, last_day, kind]
    outputs = [listing, summary, *filters, more]

    def draw(limit: int, *values: str) -> list[Any]:
        selection = Selection(*(value or "" for value in values))
        feed = load_feed(state.index, selection, state.options.zone, limit)
        return _updates(state, feed, selection)

    def draw_first(*values: str) -> list[Any]:
        return [PAGE_SIZE, *draw(PAGE_SIZE, *values)]

    def draw_more(limit: int, *values: str) -> list[Any]:
        return [limit + PAGE_SIZE, *draw(limit + PAGE_SIZE, *values)]

    inputs = [limit, *filters]
    page.load(draw, inputs, outputs, queue=False, **_PRIVATE)  # shown before anything that waits in the queue
    tab.select(draw, inputs, outputs, **_PRIVATE)
    for box in filters:
        box.input(draw_first, filters, [limit, *outputs], **_PRIVATE)
    more.click(draw_more, inputs, [limit, *outputs], **_PRIVATE)
    if not state.options.read_only:
        _build_marks(state, bridge, UnusualTab(draw, inputs, outputs), status)
        build_alerts_panel(state, bridge)
    return UnusualTab(draw, inputs, outputs)


def _build_marks(state: AppState, bridge: gr.HTML, feed: UnusualTab, status: gr.HTML) -> None:
    """Create the list of what is normal or an alarm, and connect the buttons that change it."""
    with gr.Accordion("What is normal, and what is an alarm", open=False, elem_id="vp-examples") as section:
        gr.HTML(
            '<p class="vp-downloads">Footage like a normal example gets a lower anomaly score. Footage like an alarm '
            "is listed with the kind “alarm”. Mark moments above, or describe them here.</p>"
        )
        listing = gr.HTML(elem_id="vp-examples-list")
        with gr.Row():
            text = gr.Textbox(
                label="Sentence", placeholder="people queueing at the till", max_length=300, elem_id="vp-example-text"
            )
            camera = gr.Dropdown([("All cameras", "")], value="", label="Camera", elem_id="vp-example-camera")
            kind = gr.Radio([("normal", "normal"), ("alarm", "alarm")], value="normal", label="This is")
        add = gr.Button("Add", size="sm", elem_id="vp-example-add")

    def show_examples() -> tuple[str, Any]:
        names = sorted({video.camera for video in state.index.videos()})
        choices = [("All cameras", ""), *((sanitize_name(name), name) for name in names)]
        return cards.examples_list(state.index.examples()), gr.Dropdown(choices=choices)

    def change(action: Callable[[], Any], *values: Any) -> Iterator[list[Any]]:
        """Change the examples, which scores the footage again. Show the feed with the new scores."""
        unchanged = [gr.skip()] * (len(feed.outputs) + 2)
        yield [_SCORING, *unchanged]
        try:
            action()
        except Exception as error:
            logger.exception("an example could not be changed")
            reason = str(error) if isinstance(error, VarPluginError) else formatting.unexpected_error(error)
            problem = f'<p class="vp-problem" role="alert">Not changed: {escape(formatting.clean_text(reason))}</p>'
            yield [problem, *unchanged]
            return
        yield ["", *show_examples(), *feed.draw(*values)]

    def clicked(event: gr.EventData, *values: Any) -> Iterator[Any]:
        if event.action == "remove-example":
            yield from change(lambda: state.index.remove_example(str(event.id)), *values)
        elif event.action in _MARKS and (moment := state.media.moment(str(event.id))):
            mark, moment_id = _MARKS[event.action], moment.id
            yield from change(lambda: state.index.add_example(mark, moment=moment_id), *values)
        else:
            yield gr.skip()

    def add_sentence(text: str, camera: str, kind: ExampleKind, *values: Any) -> Iterator[list[Any]]:
        yield from change(lambda: state.index.add_example(kind, text, camera=camera or None), *values)

    outputs = [status, listing, camera, *feed.outputs]
    queued: dict[str, Any] = {
        **_PRIVATE,
        "trigger_mode": "multiple",
        "concurrency_id": "examples",
        "concurrency_limit": 1,
    }
    bridge.click(clicked, feed.inputs, outputs, **queued)
    added = add.click(add_sentence, [text, camera, kind, *feed.inputs], outputs, **queued)
    added.then(lambda: "", None, [text], **_PRIVATE)
    section.expand(show_examples, None, [listing, camera], queue=False, **_PRIVATE)


def _updates(state: AppState, feed: Feed, selection: Selection) -> list[Any]:
    """Return the updates of listing, summary, filters and the button "more"."""
    html = cards.feed(
        feed,
        state.media.token,
        state.options.zone,
        state.index.suite.anomaly_scope,
        can_mark=not state.options.read_only,
    )
    summary = formatting.summarize_feed(feed, selection)
    cameras = [("All cameras", ""), *((sanitize_name(name), name) for name in feed.cameras)]
    days = [("All days", ""), *map(_day_choice, feed.recorded_days)]
    first, last = selection.days or (date.max, date.max)
    last_days = [(_ONE_DAY, ""), *(_day_choice(day) for day in feed.recorded_days if day > first)]
    if feed.undated_seconds or selection.day == UNKNOWN_DAY:
        days.append(("Recording time unknown", UNKNOWN_DAY))
    kinds = [("All kinds", ""), *((f"{kind} ({number})", kind) for kind, number in feed.kinds.most_common())]
    if selection.kind and selection.kind not in feed.kinds:
        kinds.append((f"{selection.kind} (0)", selection.kind))
    remaining = feed.total - feed.shown
    return [
        html,
        f"<p>{escape(summary)}</p>",
        gr.Dropdown(choices=cameras, visible=len(feed.cameras) > 1),
        gr.Dropdown(choices=days, visible=bool(feed.recorded_days)),
        gr.Dropdown(
            choices=last_days,
            value=selection.last_day if last > first else "",
            visible=len(last_days) > 1,
        ),
        gr.Dropdown(choices=kinds, visible=feed.has_footage),
        gr.Button(f"More ({remaining})", visible=remaining > 0),
    ]


def _day_choice(day: date) -> tuple[str, str]:
    return f"{day:%a %d %b %Y}", day.isoformat()
