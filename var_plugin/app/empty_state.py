"""What a first visitor sees: the demo footage where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from var_plugin.app.footage_tab import watched
from var_plugin.app.ingest_queue import from_demo
from var_plugin.app.state import Desk
from var_plugin.tools.base import committed_videos


@dataclass(frozen=True)
class Welcome:
    """The offer of demo footage; `added` is the event of adding it, None on a read-only page."""

    offer: gr.Column
    progress: gr.HTML
    added: Any


def build_welcome(desk: Desk, page: gr.Blocks) -> Welcome:
    """Offer the demo footage on an empty index."""
    with gr.Column(visible=False, elem_id="vp-welcome") as offer:
        if desk.options.read_only:
            gr.Markdown("### There is no footage yet\nThis page is read-only: whoever runs it adds the footage.")
        else:
            gr.Markdown(
                "### There is no footage yet\nAdd your own in the tab **Footage**, or look around with four short "
                "cameras that are composed on the spot (a minute or two)."
            )
            button = gr.Button("Try it with the demo footage", variant="primary", elem_id="vp-demo")
        progress = gr.HTML(elem_id="vp-demo-progress")

    def start() -> Iterator[str]:
        yield from watched(desk, from_demo)

    added = None
    if not desk.options.read_only:
        added = button.click(start, None, [progress], show_progress="hidden", api_visibility="private")
    page.load(lambda: offered(desk), None, [offer], show_progress="hidden", api_visibility="private")
    return Welcome(offer, progress, added)


def offered(desk: Desk) -> Any:
    """Return the update that shows the offer while there is no footage, and hides it afterwards."""
    return gr.Column(visible=not committed_videos(desk.index))
