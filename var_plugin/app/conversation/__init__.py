"""Parser of chat messages. It needs neither a language model nor Gradio.

`parse_message` takes a message and the previous request and returns the next request. docs/page.md documents the
grammar. tests/app/follow_ups.json and tests/app/phrases.json list phrases with their expected requests.
"""

from __future__ import annotations

from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.parser import ParseResult, parse_message
from var_plugin.app.conversation.request import ChatRequest

__all__ = ["ChatRequest", "Context", "ParseResult", "parse_message"]
