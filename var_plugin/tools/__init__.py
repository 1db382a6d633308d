"""Tools for assistants. `tools.langchain` and `tools.mcp` expose them."""

from __future__ import annotations

from var_plugin.tools.anomalies import LIST_ANOMALIES
from var_plugin.tools.cameras import LIST_CAMERAS
from var_plugin.tools.moments import GET_MOMENT, SEARCH_MOMENTS, SIMILAR_MOMENTS
from var_plugin.tools.timeline import SUMMARISE_TIMELINE

TOOLS = (LIST_ANOMALIES, SEARCH_MOMENTS, SIMILAR_MOMENTS, GET_MOMENT, LIST_CAMERAS, SUMMARISE_TIMELINE)
