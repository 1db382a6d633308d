"""The first tab: the chat with its cards and chips, the player, the curve."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from var_plugin.app import results, words
from var_plugin.app.asking import chips_of, drop, say, view
from var_plugin.app.cards import chip_row, downloads, player, player_failed, player_waiting
from var_plugin.app.desk import Desk
from var_plugin.app.session import Session
from var_plugin.app.timeline import curve
from var_plugin.errors import VarPluginError

EXAMPLES = ("anything unusual?", "a person on a bicycle", "somebody running", "a car")
_ACCEPTED = ["image", "audio", "video"]
_NOTHING = '<div class="vp-empty">The moment plays here.</div>'

Update = dict[Any, Any]
Inbox = deque[Callable[[Session], Session]]


@dataclass(frozen=True)
class AskTab:
    """The tab's components that events change."""

    chat: gr.Chatbot
    chips: gr.HTML
    message: gr.MultimodalTextbox
    player: gr.HTML
    downloads: gr.HTML
    curve: gr.Plot

    @property
    def outputs(self) -> list[Any]:
        """Everything that an answer may change, besides the session."""
        return [self.chat, self.chips, self.player, self.downloads, self.curve]


def build_ask_tab(desk: Desk) -> AskTab:
    """Lay the tab out."""
    with gr.Row(elem_id="vp-ask"):
        with gr.Column(scale=6, min_width=320):
            chat = gr.Chatbot(
                label="Conversation",
                show_label=False,
                height="56vh",
                autoscroll=False,  # the bridge brings the question into view, not the last card
                buttons=[],
                feedback_options=None,
                group_consecutive_messages=False,
                placeholder="### What are you looking for?\nDescribe it, or send a picture, a sound or a clip.",
                examples=[{"text": example} for example in EXAMPLES],
                elem_id="vp-chat",
            )
            chips = gr.HTML(elem_id="vp-asked")
            message = gr.MultimodalTextbox(
                label="Your message",
                show_label=False,
                placeholder="Describe a moment, or go on: only after 2 pm",
                file_types=_ACCEPTED,
                file_count="multiple",
                sources=["upload", "microphone"],
                autofocus=True,
                max_plain_text_length=1000,
                elem_id="vp-message",
            )
            gr.HTML(f'<p class="vp-downloads">{words.suite_line(desk.index.suite.description)}</p>')
        with gr.Column(scale=5, min_width=320, elem_id="vp-side"):
            shown = gr.HTML(_NOTHING, elem_id="vp-now")
            links = gr.HTML()
            plot = gr.Plot(show_label=False, visible=False, elem_classes="vp-plot", elem_id="vp-curve")
    return AskTab(chat, chips, message, shown, links, plot)


def connect(tab: AskTab, desk: Desk, session: gr.State, bridge: gr.HTML) -> None:
    """Let messages, examples and clicks be answered, in their order.

    Gradio drops an event whose forerunner still runs, as it does while a clip is made. So whatever a person does is put
    into an inbox at once, and one handler answers all that is in it.
    """

    def put(event: gr.EventData, message: dict[str, Any], inbox: Inbox, request: gr.Request) -> Update:
        if event.target is tab.message:
            inbox.append(partial(say, desk, text=message.get("text") or "", files=message.get("files") or []))
            # The box is emptied at once, so that the next message can be typed while this one is answered.
            return {tab.message: {"text": "", "files": []}}
        if event.target is bridge:
            inbox.append(partial(_clicked, desk, str(event.action), str(event.id), request.username))
        elif event._data:
            inbox.append(partial(say, desk, text=event.value["text"], files=[]))
        else:
            inbox.append(lambda _: Session())
        return {tab.message: gr.skip()}

    def answer(inbox: Inbox, before: Session) -> Iterator[Update]:
        yield {session: before}  # a generator that yields nothing, as where all is answered, would empty every output
        drawn = before
        while inbox:
            after = inbox.popleft()(before)
            yield {session: after, **_told(tab, desk, before, after)}
            before = after
            if not inbox:
                yield from _in_view(tab, desk, drawn, after)
                drawn = after

    inbox = gr.State(deque())
    gr.on(
        [tab.message.submit, tab.chat.example_select, tab.chat.clear, bridge.click],
        put,
        [tab.message, inbox],
        [tab.message],
        queue=False,
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
    ).then(
        answer,
        [inbox, session],
        [session, *tab.outputs],
        show_progress="minimal",
        trigger_mode="always_last",
        concurrency_limit=8,
        api_visibility="private",
    )


def _clicked(desk: Desk, action: str, which: str, user: str | None, session: Session) -> Session:
    if action == "chip":
        return drop(desk, session, which)
    if action == "play-id":
        return view(desk, session, which)
    moment = desk.shelf.moment(which)
    if moment is None:
        return session
    if action in ("right", "wrong"):
        desk.marks.add(moment, session.request, action == "right", user)
    return session.viewing(moment)


def _told(tab: AskTab, desk: Desk, before: Session, after: Session) -> Update:
    """Return what is there at once."""
    updates: Update = {}
    if after.turns != before.turns:
        updates[tab.chat] = _messages(after)
        updates[tab.chips] = chip_row(chips_of(desk, after))
        updates[tab.downloads] = _links(desk, after)
    moment = after.in_view
    if moment is None:
        return {**updates, tab.player: _NOTHING, tab.curve: gr.Plot(visible=False)}
    if moment != before.in_view:
        token, scope = desk.shelf.token(moment), desk.index.suite.anomaly_scope
        updates[tab.player] = player_waiting(moment, token, desk.options.zone, scope)
    return updates


def _in_view(tab: AskTab, desk: Desk, before: Session, after: Session) -> Iterator[Update]:
    """Yield the moment in view: its curve, and its clip as soon as that is there."""
    moment = after.in_view
    if moment is None:
        return
    zone, token, scope = desk.options.zone, desk.shelf.token(moment), desk.index.suite.anomaly_scope
    updates: Update = {}
    if moment != before.in_view:
        updates[tab.curve] = gr.Plot(curve(desk.index, moment, after.shown), visible=True)
    try:
        html = player(moment, token, desk.shelf.clip(moment), zone, desk.marks.of(moment, after.request), scope)
    except VarPluginError as error:
        html = player_failed(moment, token, zone, scope, error.what.rpartition("/")[2])
    yield {**updates, tab.player: html}


def _messages(session: Session) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in session.turns:
        said = " ".join(filter(None, [turn.said, *(f"📎 {name}" for name in turn.files)]))
        if said:
            messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": turn.told})
        if turn.cards:
            messages.append({"role": "assistant", "content": gr.HTML(turn.cards)})
    return messages


def _links(desk: Desk, session: Session) -> str:
    if not session.shown:
        return ""
    made: Sequence[str] = [desk.shelf.offer(make(session.shown)) for make in (results.as_csv, results.as_json)]
    return downloads(*made)
