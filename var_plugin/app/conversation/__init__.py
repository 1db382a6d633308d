"""What a person says, turned into what is looked for: without a language model, and without Gradio.

`understand` takes a message and the request before it and returns the request that it makes. The grammar is documented
in docs/page.md and held by the table in tests/app/follow_ups.json.
"""

from __future__ import annotations

from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.parser import Understood, understand
from var_plugin.app.conversation.request import Request

__all__ = ["Context", "Request", "Understood", "understand"]
