"""The tab Timeline: the anomaly score of each camera over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from var_plugin.app import formatting
from var_plugin.app.cards import player, player_failed, player_waiting
from var_plugin.app.session import Session
from var_plugin.app.state import AppState
from var_plugin.app.timeline import overview
from var_plugin.errors import VarPluginError


def build_overview_tab(state: AppState, tab: gr.Tab, session: gr.State, bridge: gr.HTML) -> None:
    """Create the tab. It is drawn when it is opened, with the moments of the last answer."""
    gr.HTML(
        '<p class="vp-downloads">The curves show the anomaly score of each camera. '
        f"The score is {state.index.suite.anomaly_scope}. Diamonds are the moments of the last answer. "
        "Click a point to play it below. Drag to zoom, double-click to show everything.</p>"
    )
    plot = gr.Plot(show_label=False, elem_classes="vp-plot", elem_id="vp-overview")
    omitted = gr.Markdown()
    current = gr.HTML(elem_id="vp-overview-player")

    def draw(session: Session) -> tuple[Any, str]:
        figure, omitted = overview(state.index, session.moments, state.options.zone)
        return gr.Plot(figure, visible=figure is not None), omitted

    def play(clicked: gr.EventData) -> Iterator[Any]:
        if clicked.action != "play-in-timeline":
            yield gr.skip()
            return
        try:
            moment = state.index.moment(str(clicked.id))
        except VarPluginError:  # it was deleted meanwhile
            yield ""
            return
        token, zone, scope = state.media.token(moment), state.options.zone, state.index.suite.anomaly_scope
        yield player_waiting(moment, token, zone, scope, can_judge=False)
        try:
            yield player(moment, token, state.media.clip(moment), zone, None, scope, can_judge=False)
        except VarPluginError as error:
            reason = formatting.clean_text(error.what.rpartition("/")[2])
            yield player_failed(moment, token, zone, scope, reason, can_judge=False)

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab.select(draw, [session], [plot, omitted], **private)
    bridge.click(play, None, [current], trigger_mode="multiple", **private)
