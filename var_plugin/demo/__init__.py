"""Demo footage with events at known times, composed from media of installed packages."""

from __future__ import annotations

from var_plugin.demo.footage import DemoVideo, compose
from var_plugin.demo.script import DEMO_QUERIES, DemoQuery

__all__ = ["DEMO_QUERIES", "DemoQuery", "DemoVideo", "compose"]
