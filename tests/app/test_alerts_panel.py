"""The alerts on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from var_plugin.app.alerts_panel import AlertForm, describe_history, save_alert
from var_plugin.app.cards import alerts_list
from var_plugin.app.state import AppState
from var_plugin.errors import InvalidInputError
from var_plugin.types import Filter
from var_plugin.watch.saved_alerts import DEFAULT_ANOMALY_THRESHOLD, DEFAULT_QUERY_THRESHOLD, SavedAlert, SavedAlerts

HOOK = "https://ann:secret@hooks.example.org/alert?key=1"
EMPTY = AlertForm("", "", [], [], "", "", "", "", "")


def test_a_form_becomes_an_alert() -> None:
    form = AlertForm(" night ", "a ladder", [], ["gate"], "", "2", "10", "22:00-06:00", "mqtt://broker/alerts")
    alert = form.to_alert((), "UTC")
    assert (alert.name, alert.text, alert.threshold, alert.per_day) == ("night", "a ladder", DEFAULT_QUERY_THRESHOLD, 2)
    assert (alert.cool_down, alert.filter.cameras, alert.mqtt) == (600, ("gate",), "mqtt://broker/alerts")
    assert alert.time_of_day
    assert (alert.time_of_day.start.hour, alert.time_of_day.end.hour) == (22, 6)
    assert replace(EMPTY, name="any", receiver=HOOK).to_alert((), "UTC").threshold == DEFAULT_ANOMALY_THRESHOLD


def test_a_form_without_a_receiver_keeps_that_of_the_saved_alert() -> None:
    saved = SavedAlert(
        name="night", threshold=0.7, webhook=HOOK, command=("notify", "it"), filter=Filter(min_anomaly=0.4)
    )
    form = AlertForm.of(saved)
    assert form.receiver == ""
    assert AlertForm(*form.values()).to_alert([saved], "UTC") == saved
    with pytest.raises(InvalidInputError, match="no receiver"):
        replace(form, name="other").to_alert([saved], "UTC")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": ""}, "name"),
        ({"time_of_day": "late"}, "not a time of day"),
        ({"per_day": "99"}, "per_day"),
        ({"cool_down": "long"}, "the number of minutes between alerts is 'long'"),
        ({"threshold": "nan"}, "threshold"),
    ],
)
def test_invalid_values_are_named(change: dict[str, object], reason: str) -> None:
    form = replace(EMPTY, name="night", receiver=HOOK)
    with pytest.raises(InvalidInputError, match=reason):
        replace(form, **change).to_alert((), "UTC")  # type: ignore[arg-type]


def test_saving_tells_what_past_footage_would_have_raised(state: AppState) -> None:
    outcome = save_alert(state.alerts, state, replace(EMPTY, name="night", text="green", receiver=HOOK))
    assert outcome.startswith("Saved. ")
    assert [alert.name for alert in state.alerts.alerts] == ["night"]
    assert "14 days" in describe_history(state, state.alerts.named("night"))
    with pytest.raises(InvalidInputError, match="not a kind of event"):
        save_alert(state.alerts, state, replace(EMPTY, name="fire", kinds=["no such kind"], receiver=HOOK))
    with pytest.raises(InvalidInputError, match="not an http or https address"):
        save_alert(state.alerts, state, replace(EMPTY, name="file", receiver="file:///etc/passwd"))


def test_the_list_shows_no_secrets_and_no_markup(tmp_path: Path) -> None:
    saved = SavedAlerts(tmp_path / "alerts.json")
    saved.save(SavedAlert(name="<b>night</b>", text="<script>", threshold=3, webhook=HOOK, command=("say", "secret")))
    html = alerts_list(saved.alerts)
    assert "secret" not in html
    assert "key=1" not in html
    assert "<script>" not in html
    assert "<b>" not in html
    assert "hooks.example.org" in html
    assert "the program say" in html
