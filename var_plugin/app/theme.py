"""Theme, style sheet and script of the page. Nothing is loaded from other hosts."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).parent / "assets"

CSS = (ASSETS / "page.css").read_text()
BRIDGE = (ASSETS / "bridge.js").read_text()


def theme() -> gr.themes.Base:
    """Return the theme, which uses system fonts."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.amber,
        neutral_hue=gr.themes.colors.slate,
        font=fonts,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
