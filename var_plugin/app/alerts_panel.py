"""The alerts on the page: list, save, try and remove. `var-plugin watch` raises them for new footage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr
from pydantic import ValidationError

from var_plugin.app import cards, formatting
from var_plugin.app.state import AppState
from var_plugin.errors import InvalidInputError, VarPluginError, field_errors
from var_plugin.retrievers.text import sanitize_name
from var_plugin.types import Filter
from var_plugin.watch.alerts import HISTORY_DAYS, IndexFootage, dry_run
from var_plugin.watch.saved_alerts import DEFAULT_ANOMALY_THRESHOLD, DEFAULT_QUERY_THRESHOLD, SavedAlert, SavedAlerts
from var_plugin.watch.time_of_day import parse_time_of_day

logger = logging.getLogger(__name__)

_EXPLANATION = (
    '<p class="vp-downloads">var-plugin watch checks new footage and notifies the receiver of an alert when a moment '
    "meets its conditions. An alert without a sentence or a kind is raised for any anomaly. Programs can be set as "
    "receivers on the command line only.</p>"
)
_PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_MINUTE = 60.0


@dataclass(frozen=True)
class AlertForm:
    """The form of an alert, as it is filled in. Numbers are texts, because an empty number field of Gradio is 0."""

    name: str
    text: str
    kinds: Sequence[str]
    cameras: Sequence[str]
    threshold: str
    per_day: str
    cool_down: str
    """Minutes."""
    time_of_day: str
    receiver: str
    """A web address or an MQTT topic. Empty: that of the alert of the same name."""

    def to_alert(self, saved: Sequence[SavedAlert], zone: str) -> SavedAlert:
        """Return the alert.

        Args:
            saved: the saved alerts. Without a receiver, the form takes those of the alert of the same name.
            zone: name of the time zone of the time of day.

        Raises:
            InvalidInputError: a value is invalid.
        """
        name, receiver = self.name.strip(), self.receiver.strip()
        before = next((alert for alert in saved if alert.name == name), None)
        receivers: dict[str, Any] = {}
        if receiver:
            receivers["mqtt" if receiver.startswith(("mqtt://", "mqtts://")) else "webhook"] = receiver
        elif before is not None:
            receivers = before.model_dump(include={"webhook", "mqtt", "command"})
        else:
            raise InvalidInputError("the alert has no receiver", fix="give a web address, or mqtt://HOST/TOPIC")
        text = self.text.strip() or None
        example = before.example if before is not None and text is None and not self.kinds else None
        is_query = text is not None or example is not None
        conditions = (before.filter if before else Filter()).model_copy(
            update={"cameras": tuple(self.cameras) or None, "kinds": tuple(self.kinds) or None}
        )
        default = DEFAULT_QUERY_THRESHOLD if is_query else DEFAULT_ANOMALY_THRESHOLD
        threshold = _number("the minimum score", self.threshold)
        try:
            return SavedAlert(
                name=name,
                text=text,
                example=example,
                threshold=default if threshold is None else threshold,
                per_day=_number("the maximum number of alerts per day", self.per_day),
                filter=conditions,
                time_of_day=parse_time_of_day(self.time_of_day, zone) if self.time_of_day.strip() else None,
                cool_down=_MINUTE * (_number("the number of minutes between alerts", self.cool_down) or 0),
                **receivers,
            )
        except ValidationError as error:
            raise InvalidInputError(str(field_errors(error)[0])) from error

    @classmethod
    def of(cls, alert: SavedAlert) -> AlertForm:
        """Return the form of a saved alert. Its receiver is left empty, because it may contain a password."""
        span = alert.time_of_day
        return cls(
            name=alert.name,
            text=alert.text or "",
            kinds=list(alert.filter.kinds or ()),
            cameras=list(alert.filter.cameras or ()),
            threshold=f"{alert.threshold:g}",
            per_day=f"{alert.per_day:g}" if alert.per_day else "",
            cool_down=f"{alert.cool_down / _MINUTE:g}" if alert.cool_down else "",
            time_of_day=f"{span.start:%H:%M}-{span.end:%H:%M}" if span else "",
            receiver="",
        )

    def values(self) -> list[Any]:
        """Return the values in the order of the fields."""
        return [getattr(self, name) for name in self.__dataclass_fields__]


def save_alert(saved: SavedAlerts, state: AppState, form: AlertForm) -> str:
    """Save the alert of a form and return what was done.

    Raises:
        InvalidInputError: a value is invalid, or the alerts cannot be written.
    """
    alert = form.to_alert(saved.alerts, str(state.options.zone))
    alert.check_suite(state.index.suite)
    saved.save(alert)
    return f"Saved. {describe_history(state, alert)}"


def describe_history(state: AppState, alert: SavedAlert) -> str:
    """Return how many alerts the footage of the last days would have raised."""
    runs = dry_run(alert, IndexFootage(state.index), HISTORY_DAYS, datetime.now(UTC))
    if not runs:
        return f"No footage of the last {HISTORY_DAYS} days has a clock time, so the alert cannot be tried on it."
    counts = ", ".join(
        f"{sum(run.alerts.values())}{' or more' if run.is_incomplete else ''} on {sanitize_name(run.threshold.camera)}"
        for run in runs
    )
    return f"In the last {HISTORY_DAYS} days, {sanitize_name(alert.name)} would have raised: {counts}."


def build_alerts_panel(state: AppState, bridge: gr.HTML) -> None:
    """Create and connect the panel."""
    saved = state.alerts
    with gr.Accordion("Alerts", open=False, elem_id="vp-alerts") as section:
        gr.HTML(_EXPLANATION)
        listing, status = gr.HTML(elem_id="vp-alerts-list"), gr.HTML(elem_id="vp-alerts-status")
        with gr.Row():
            name = gr.Textbox(label="Name", max_length=100, elem_id="vp-alert-name")
            text = gr.Textbox(label="Sentence", placeholder="a person climbs over a fence", max_length=300)
            kinds = gr.Dropdown(list(state.index.suite.event_kinds), multiselect=True, label="Kinds", value=[])
            cameras = gr.Dropdown([], multiselect=True, label="Cameras", value=[], elem_id="vp-alert-cameras")
        with gr.Row():
            threshold = gr.Textbox(
                label="Minimum score",
                max_length=20,
                placeholder=f"{DEFAULT_QUERY_THRESHOLD:g} for a sentence, else {DEFAULT_ANOMALY_THRESHOLD:g}",
            )
            per_day = gr.Textbox(label="Maximum alerts per day", placeholder="no limit", max_length=20)
            cool_down = gr.Textbox(label="Minutes between alerts", placeholder="0", max_length=20)
            hours = gr.Textbox(label="Time of day", placeholder="22:00-06:00", max_length=20)
        receiver = gr.Textbox(
            label="Receiver",
            placeholder="https://example.org/hook or mqtt://broker/topic; empty: the saved receiver",
            max_length=1000,
            elem_id="vp-alert-receiver",
        )
        save = gr.Button("Save alert", size="sm", elem_id="vp-alert-save")
    fields = [name, text, kinds, cameras, threshold, per_day, cool_down, hours, receiver]

    def show() -> tuple[str, Any]:
        try:
            names = sorted({video.camera for video in state.index.videos()})
            return cards.alerts_list(saved.alerts), gr.Dropdown(choices=[(sanitize_name(n), n) for n in names])
        except VarPluginError as error:
            return _problem(error), gr.skip()

    def report(action: Callable[[], str]) -> list[Any]:
        """Run an action. Return its outcome, the list of alerts, and the cameras."""
        try:
            outcome = f'<p role="status">{escape(action())}</p>'
        except Exception as error:
            logger.exception("an alert could not be changed")
            outcome = _problem(error)
        return [outcome, *show()]

    def save_form(*values: Any) -> list[Any]:
        return report(lambda: save_alert(saved, state, AlertForm(*values)))

    def remove(alert: str) -> str:
        saved.remove(alert)
        return f"Removed: {sanitize_name(alert)}."

    def clicked(event: gr.EventData) -> Any:
        unchanged = [gr.skip()] * len(fields)
        alert = str(event.id) if event.action in ("try-alert", "edit-alert", "remove-alert") else ""
        if event.action == "try-alert":
            return [*report(lambda: describe_history(state, saved.named(alert))), *unchanged]
        if event.action == "remove-alert":
            return [*report(lambda: remove(alert)), *unchanged]
        if event.action == "edit-alert":
            values = unchanged
            try:
                values = AlertForm.of(saved.named(alert)).values()
            except VarPluginError as error:
                return [_problem(error), *show(), *unchanged]
            return ["", *show(), *values]
        return gr.skip()

    outputs = [status, listing, cameras]
    save.click(save_form, fields, outputs, **_PRIVATE)
    bridge.click(clicked, None, [*outputs, *fields], trigger_mode="multiple", **_PRIVATE)
    section.expand(show, None, [listing, cameras], queue=False, **_PRIVATE)  # needs no open event stream


def _number(name: str, text: str) -> float | None:
    """Return the number in a field, or None if the field is empty."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise InvalidInputError(f"{name} is '{text}'", why="it is not a number", fix="write it as 2 or 0.5") from None


def _problem(error: Exception) -> str:
    reason = str(error) if isinstance(error, VarPluginError) else formatting.unexpected_error(error)
    return f'<p class="vp-problem" role="alert">Not changed: {escape(formatting.clean_text(reason))}</p>'
