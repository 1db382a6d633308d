"""What every part of the page works with: one index, its marks, what was shown, what is being added."""

from __future__ import annotations

from dataclasses import dataclass

from var_plugin.api import Index
from var_plugin.app.assistant import Assistant
from var_plugin.app.feedback import Marks
from var_plugin.app.ingest_queue import Adder
from var_plugin.app.media_registry import Shelf
from var_plugin.app.options import PageOptions


@dataclass(frozen=True)
class Desk:
    """Shared by all visitors; what belongs to one of them is in a `Session`."""

    index: Index
    options: PageOptions
    shelf: Shelf
    marks: Marks
    adder: Adder
    assistant: Assistant | None = None
