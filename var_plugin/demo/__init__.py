"""Demo footage with events at known times, composed on the spot from media that installed packages carry."""

from __future__ import annotations

from var_plugin.demo.footage import DemoVideo, compose
from var_plugin.demo.script import DEMO_QUERIES, DemoQuery

__all__ = ["DEMO_QUERIES", "DemoQuery", "DemoVideo", "compose"]
