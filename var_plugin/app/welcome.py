"""What a first visitor sees: the demo footage where there is none, and examples that fit the footage there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from var_plugin.app.adding import from_demo
from var_plugin.app.desk import Desk
from var_plugin.app.footage_tab import watched
from var_plugin.retrievers.tools.scope import committed_videos


def build_welcome(desk: Desk, page: gr.Blocks) -> None:
    """Offer the demo footage on an empty index."""
    with gr.Column(visible=False, elem_id="vp-welcome") as offer:
        told = "### There is no footage yet\nAdd your own in the tab **Footage**"
        if desk.options.read_only:
            gr.Markdown("### There is no footage yet")
        else:
            gr.Markdown(
                f"{told}, or look around with four short cameras that are composed on the spot (a minute or two)."
            )
            button = gr.Button("Try it with the demo footage", variant="primary", elem_id="vp-demo")
            progress = gr.HTML(elem_id="vp-demo-progress")

            def start() -> Iterator[tuple[Any, str]]:
                for html in watched(desk, from_demo):
                    yield gr.skip(), html
                yield gr.Column(visible=not committed_videos(desk.index)), gr.skip()

            button.click(start, None, [offer, progress], show_progress="hidden", api_visibility="private")

    def visible() -> Any:
        return gr.Column(visible=not committed_videos(desk.index))

    page.load(visible, None, [offer], show_progress="hidden", api_visibility="private")
