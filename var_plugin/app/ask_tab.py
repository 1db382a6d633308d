"""The first tab: the chat with its cards and chips, the player, the curve."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from var_plugin.app import export as results
from var_plugin.app import formatting as words
from var_plugin.app.cards import chip_row, downloads, player, player_failed, player_waiting
from var_plugin.app.chat import ask_again, chips_of, drop, say, view
from var_plugin.app.session import Session, Turn
from var_plugin.app.state import Desk
from var_plugin.app.timeline import curve
from var_plugin.errors import VarPluginError

logger = logging.getLogger(__name__)

EXAMPLES = ("anything unusual?", "a person on a bicycle", "somebody running", "a car")
_NOTHING = '<div class="vp-empty">The moment plays here.</div>'

Update = dict[Any, Any]
Action = Callable[[Session], Session]


class Inbox:
    """What a person did and the page has not answered yet, oldest first."""

    def __init__(self) -> None:
        self._actions: deque[Action] = deque()
        self._received = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything has been taken."""
        return not self._actions

    def put(self, action: Action) -> int:
        """Append an action; return how many there have been so far."""
        self._actions.append(action)
        self._received += 1
        return self._received

    def take(self) -> Action | None:
        """Remove the oldest action and return it; None where there is none."""
        return self._actions.popleft() if self._actions else None


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
                autoscroll=False,  # the bridge scrolls to the question, not to the last card
                buttons=[],
                feedback_options=None,
                group_consecutive_messages=False,
                render_markdown=False,  # what people, a model and names of cameras say is text: no link, no image
                placeholder="### What are you looking for?\nDescribe it, or attach an image, audio or video.",
                examples=[{"text": example} for example in EXAMPLES],
                elem_id="vp-chat",
            )
            chips = gr.HTML(elem_id="vp-asked")
            message = gr.MultimodalTextbox(
                label="Your message",
                show_label=False,
                placeholder="Describe a moment, or go on: only after 2 pm",
                file_count="multiple",
                sources=["upload", "microphone"],
                autofocus=True,
                max_plain_text_length=1000,
                elem_id="vp-message",
            )
            lines = [words.suite_line(desk.index.suite.description), words.model_line(desk.options.model)]
            gr.HTML("".join(f'<p class="vp-downloads">{escape(line)}</p>' for line in lines if line))
        with gr.Column(scale=5, min_width=320, elem_id="vp-side"):
            shown = gr.HTML(_NOTHING, elem_id="vp-now")
            links = gr.HTML()
            plot = gr.Plot(show_label=False, visible=False, elem_classes="vp-plot", elem_id="vp-curve")
    return AskTab(chat, chips, message, shown, links, plot)


def connect(tab: AskTab, desk: Desk, session: gr.State, bridge: gr.HTML, added: Sequence[Any]) -> None:
    """Answer messages, examples and clicks in their order; `added` are the events of adding footage.

    Gradio drops an event while its predecessor still runs, as it does while a clip is cut. The handler of an event
    therefore only puts an action into the inbox and changes `ticket`, whose one handler works through the inbox. These
    handlers are coroutines: in threads, two quick clicks could change places.

    Each kind of event has its own handler. One handler for all could not tell them apart by `event.target`: Gradio
    replaces a component by another object of the same id when a handler updates it.
    """
    inbox = gr.State(Inbox())
    ticket = gr.Number(0, visible="hidden", label="Actions received")

    async def put_message(message: dict[str, Any], inbox: Inbox) -> tuple[dict[str, Any], int]:
        action = partial(say, desk, text=message.get("text") or "", files=message.get("files") or [])
        # The box is emptied at once, so that the next message can be typed while this one is answered.
        return {"text": "", "files": []}, inbox.put(action)

    async def put_example(event: gr.EventData, inbox: Inbox) -> int:
        return inbox.put(partial(say, desk, text=event.value["text"], files=[]))

    async def put_click(event: gr.EventData, inbox: Inbox, request: gr.Request) -> int:
        return inbox.put(partial(_clicked, desk, str(event.action), str(event.id), request.username))

    async def put_news(inbox: Inbox) -> int:
        return inbox.put(partial(ask_again, desk))

    async def put_clear(inbox: Inbox) -> int:
        return inbox.put(lambda _: Session())

    def answer(inbox: Inbox, before: Session) -> Iterator[Update]:
        yield {session: before}  # a generator that yields nothing, as where all is answered, would empty every output
        drawn = before
        while (action := inbox.take()) is not None:
            after = _after(action, before)
            yield {session: after, **_told(tab, desk, before, after)}
            before = after
            if inbox.is_empty:
                yield from _in_view(tab, desk, drawn, after)
                drawn = after

    at_once: dict[str, Any] = {
        "queue": False,
        "show_progress": "hidden",
        "trigger_mode": "multiple",
        "api_visibility": "private",
    }
    tab.message.submit(put_message, [tab.message, inbox], [tab.message, ticket], **at_once)
    tab.chat.example_select(put_example, [inbox], [ticket], **at_once)
    tab.chat.clear(put_clear, [inbox], [ticket], **at_once)
    bridge.click(put_click, [inbox], [ticket], **at_once)
    for event in added:
        event.then(put_news, [inbox], [ticket], **at_once)
    ticket.change(
        answer,
        [inbox, session],
        [session, *tab.outputs],
        show_progress="minimal",
        trigger_mode="always_last",
        concurrency_limit=8,
        api_visibility="private",
    )


def _after(action: Action, before: Session) -> Session:
    """Return the session after an action; an unexpected error becomes a message, so that the chat goes on."""
    try:
        return action(before)
    except Exception as error:
        logger.exception("an action on the page failed")
        return before.told(Turn("", (), "", ""), words.unexpected(error))


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
        html = player_failed(moment, token, zone, scope, words.valid(error.what.rpartition("/")[2]))
    yield {**updates, tab.player: html}


def _messages(session: Session) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in session.turns:
        said = " ".join(filter(None, [turn.said, *(f"📎 {name}" for name in turn.files)]))
        if said:
            messages.append({"role": "user", "content": words.valid(said)})
        messages.append({"role": "assistant", "content": words.valid(turn.told)})
        if turn.cards:
            messages.append({"role": "assistant", "content": gr.HTML(turn.cards)})
    return messages


def _links(desk: Desk, session: Session) -> str:
    if not session.shown:
        return ""
    made: Sequence[str] = [desk.shelf.offer(make(session.shown)) for make in (results.as_csv, results.as_json)]
    return downloads(*made)
