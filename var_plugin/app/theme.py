"""How the page looks, in light and in dark, on a desk and on a phone; nothing is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).parent / "assets"

CSS = (ASSETS / "page.css").read_text()
BRIDGE = (ASSETS / "bridge.js").read_text()


def theme() -> gr.themes.Base:
    """Return the page's theme; its fonts are the reader's own."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.amber,
        neutral_hue=gr.themes.colors.slate,
        font=fonts,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
