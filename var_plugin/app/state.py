"""The state that all parts of the page share."""

from __future__ import annotations

from dataclasses import dataclass

from var_plugin.api import Index
from var_plugin.app.assistant import Assistant
from var_plugin.app.feedback import FeedbackStore
from var_plugin.app.ingest_queue import IngestQueue
from var_plugin.app.media_registry import MediaRegistry
from var_plugin.app.options import PageOptions
from var_plugin.watch.saved_alerts import SavedAlerts


@dataclass(frozen=True)
class AppState:
    """Objects shared by all visitors. `Session` holds the state of one visitor."""

    index: Index
    options: PageOptions
    media: MediaRegistry
    feedback: FeedbackStore
    queue: IngestQueue
    alerts: SavedAlerts
    assistant: Assistant | None = None
