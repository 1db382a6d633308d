"""The tab Ask: chat with cards and chips, player, anomaly curve."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from var_plugin.app import export, formatting
from var_plugin.app.cards import chip_row, downloads, player, player_failed, player_waiting
from var_plugin.app.chat import build_chips, handle_message, open_moment, remove_filter, repeat_question
from var_plugin.app.session import Session, Turn
from var_plugin.app.state import AppState
from var_plugin.app.timeline import curve
from var_plugin.errors import VarPluginError

logger = logging.getLogger(__name__)

EXAMPLES = ("anything unusual?", "a person on a bicycle", "somebody running", "a car")
_EMPTY_PLAYER = '<div class="vp-empty">The moment plays here.</div>'
_CLICKS = ("chip", "play-id", "play", "right", "wrong")

Update = dict[Any, Any]
Action = Callable[[Session], Session]


class Inbox:
    """First-in, first-out queue of user actions that are not handled yet."""

    def __init__(self) -> None:
        self._actions: deque[Action] = deque()
        self._received = 0
        self._latest_click = 0

    @property
    def is_empty(self) -> bool:
        """Whether no action is waiting."""
        return not self._actions

    def put(self, action: Action) -> int:
        """Append an action. Return the number of actions received so far."""
        self._actions.append(action)
        self._received += 1
        return self._received

    def is_late(self, click: int) -> bool:
        """Return whether a click with a higher number was received before this one."""
        latest, self._latest_click = self._latest_click, max(self._latest_click, click)
        return click < latest

    def take(self) -> Action | None:
        """Remove and return the oldest action, or None if the queue is empty."""
        return self._actions.popleft() if self._actions else None


@dataclass(frozen=True)
class AskTab:
    """The components of the tab that events update."""

    chat: gr.Chatbot
    chips: gr.HTML
    message: gr.MultimodalTextbox
    player: gr.HTML
    downloads: gr.HTML
    curve: gr.Plot

    @property
    def outputs(self) -> list[Any]:
        """The components that an answer may update, besides the session."""
        return [self.chat, self.chips, self.player, self.downloads, self.curve]


def build_ask_tab(state: AppState) -> AskTab:
    """Create the components of the tab."""
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
                render_markdown=False,  # messages, model answers and camera names are plain text: no links, no images
                placeholder="### What are you looking for?\nDescribe it, or attach an image, audio or video.",
                examples=[{"text": example} for example in EXAMPLES],
                elem_id="vp-chat",
            )
            chips = gr.HTML(elem_id="vp-request")
            message = gr.MultimodalTextbox(
                label="Your message",
                show_label=False,
                placeholder="Describe a moment, or narrow the results: only after 2 pm",
                file_count="multiple",
                sources=["upload", "microphone"],
                autofocus=True,
                max_plain_text_length=1000,
                elem_id="vp-message",
            )
            lines = [
                formatting.describe_suite(state.index.suite.description),
                formatting.describe_model(state.options.model),
            ]
            gr.HTML("".join(f'<p class="vp-downloads">{escape(line)}</p>' for line in lines if line))
        with gr.Column(scale=5, min_width=320, elem_id="vp-side"):
            current = gr.HTML(_EMPTY_PLAYER, elem_id="vp-player")
            links = gr.HTML()
            plot = gr.Plot(show_label=False, visible=False, elem_classes="vp-plot", elem_id="vp-curve")
    return AskTab(chat, chips, message, current, links, plot)


def connect(tab: AskTab, state: AppState, session: gr.State, bridge: gr.HTML, added: Sequence[Any]) -> None:
    """Connect messages, examples and clicks to their handlers.

    Gradio drops an event while the handler of the previous event runs, for example while a clip is cut. Each handler
    therefore only puts an action into the inbox and changes `ticket`. The handler of `ticket` works through the inbox.
    The handlers are coroutines, because threads could swap two quick clicks.

    Each kind of event has its own handler. One handler for all kinds cannot use `event.target`: Gradio replaces a
    component by another object with the same id when a handler updates it.

    Args:
        tab: the tab.
        state: the shared state of the page.
        session: the session of the visitor.
        bridge: the component whose click events carry clicks on cards, chips and plots.
        added: the events after which footage was added.
    """
    inbox = gr.State(Inbox())
    ticket = gr.Number(0, visible="hidden", label="Actions received")

    async def put_message(message: dict[str, Any], inbox: Inbox) -> tuple[dict[str, Any], int]:
        action = partial(handle_message, state, text=message.get("text") or "", files=message.get("files") or [])
        # Clear the box at once, so that the next message can be typed meanwhile.
        return {"text": "", "files": []}, inbox.put(action)

    async def put_example(event: gr.EventData, inbox: Inbox) -> int:
        return inbox.put(partial(handle_message, state, text=event.value["text"], files=[]))

    async def put_click(event: gr.EventData, inbox: Inbox, request: gr.Request) -> Any:
        if event.action not in _CLICKS:  # a click in another tab
            return gr.skip()
        is_late = inbox.is_late(int(event.number))
        return inbox.put(partial(_handle_click, state, str(event.action), str(event.id), request.username, is_late))

    async def put_repeat(inbox: Inbox) -> int:
        return inbox.put(partial(repeat_question, state))

    async def put_clear(inbox: Inbox) -> int:
        return inbox.put(lambda _: Session())

    def handle_actions(inbox: Inbox, before: Session) -> Iterator[Update]:
        yield {session: before}  # a generator without any yield would clear every output
        rendered = before
        while (action := inbox.take()) is not None:
            after = _run(action, before)
            yield {session: after, **_conversation_updates(tab, state, before, after)}
            before = after
            if inbox.is_empty:
                yield from _player_updates(tab, state, rendered, after)
                rendered = after

    immediate: dict[str, Any] = {
        "queue": False,
        "show_progress": "hidden",
        "trigger_mode": "multiple",
        "api_visibility": "private",
    }
    tab.message.submit(put_message, [tab.message, inbox], [tab.message, ticket], **immediate)
    tab.chat.example_select(put_example, [inbox], [ticket], **immediate)
    tab.chat.clear(put_clear, [inbox], [ticket], **immediate)
    bridge.click(put_click, [inbox], [ticket], **immediate)
    for event in added:
        event.then(put_repeat, [inbox], [ticket], **immediate)
    ticket.change(
        handle_actions,
        [inbox, session],
        [session, *tab.outputs],
        show_progress="minimal",
        trigger_mode="always_last",
        concurrency_limit=8,
        api_visibility="private",
    )


def _run(action: Action, before: Session) -> Session:
    """Return the session after an action. An unexpected error becomes an answer, and the conversation continues."""
    try:
        return action(before)
    except Exception as error:
        logger.exception("an action on the page failed")
        return before.with_reply(Turn(""), formatting.unexpected_error(error))


def _handle_click(
    state: AppState, action: str, target: str, user: str | None, is_late: bool, session: Session
) -> Session:
    """Return the session after a click. A late click does not replace the moment of a later one in the player."""
    if action == "chip":
        return remove_filter(state, session, target)
    if action == "play-id":
        return session if is_late else open_moment(state, session, target)
    moment = state.media.moment(target)
    if moment is None:
        return session
    if action in ("right", "wrong"):
        state.feedback.add(moment, session.request, action == "right", user)
    return session if is_late else session.select(moment)


def _conversation_updates(tab: AskTab, state: AppState, before: Session, after: Session) -> Update:
    """Return the updates of chat, chips and links, and the placeholder of the player."""
    updates: Update = {}
    if after.turns != before.turns:
        updates[tab.chat] = _messages(after)
        updates[tab.chips] = chip_row(build_chips(state, after))
        updates[tab.downloads] = _download_links(state, after)
    moment = after.selected
    if moment is None:
        return {**updates, tab.player: _EMPTY_PLAYER, tab.curve: gr.Plot(visible=False)}
    if moment != before.selected:
        token, scope = state.media.token(moment), state.index.suite.anomaly_scope
        updates[tab.player] = player_waiting(moment, token, state.options.zone, scope)
    return updates


def _player_updates(tab: AskTab, state: AppState, before: Session, after: Session) -> Iterator[Update]:
    """Yield the updates of curve and player for the selected moment. Cutting the clip may take seconds."""
    moment = after.selected
    if moment is None:
        return
    zone, token, scope = state.options.zone, state.media.token(moment), state.index.suite.anomaly_scope
    updates: Update = {}
    if moment != before.selected:
        updates[tab.curve] = gr.Plot(curve(state.index, moment, after.moments), visible=True)
    try:
        html = player(
            moment, token, state.media.clip(moment), zone, state.feedback.judgement(moment, after.request), scope
        )
    except VarPluginError as error:
        html = player_failed(moment, token, zone, scope, formatting.clean_text(error.what.rpartition("/")[2]))
    yield {**updates, tab.player: html}


def _messages(session: Session) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in session.turns:
        question = " ".join(filter(None, [turn.message, *(f"📎 {name}" for name in turn.files)]))
        if question:
            messages.append({"role": "user", "content": _as_html(question)})
        messages.append({"role": "assistant", "content": _as_html(turn.answer)})
        if turn.cards:
            messages.append({"role": "assistant", "content": gr.HTML(turn.cards)})
    return messages


def _as_html(text: str) -> str:
    """Return plain text for the chat, which interprets HTML in messages even if it does not render Markdown."""
    return escape(formatting.clean_text(text), quote=False)


def _download_links(state: AppState, session: Session) -> str:
    if not session.moments:
        return ""
    csv, json = (state.media.add_download(export_as(session.moments)) for export_as in (export.to_csv, export.to_json))
    return downloads(csv, json)
