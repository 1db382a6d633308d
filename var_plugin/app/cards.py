"""Moments, chips and the player as HTML. All text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from html import escape

from var_plugin.app import formatting
from var_plugin.app.conversation.request import Chip
from var_plugin.app.unusual import MIN_LISTED_ANOMALY, Feed, FeedDay
from var_plugin.index.examples import OwnerExample
from var_plugin.media.clips import Clip
from var_plugin.retrievers.text import explain, kinds_of, sanitize_name
from var_plugin.types import Moment
from var_plugin.watch.saved_alerts import SavedAlert


def cards(moments: Sequence[Moment], tokens: Sequence[str], zone: tzinfo, scope: str, *, by_kind: bool = False) -> str:
    """Return the moments of an answer as a list of buttons that play them.

    Args:
        moments: the moments in display order.
        tokens: the media token of each moment.
        zone: time zone of the clock times.
        scope: which anomalies the anomaly score covers.
        by_kind: put a heading before the moments of each kind, and the reason on each card. Moments of a kind follow
            each other.
    """
    items = ""
    previous = ""
    for rank, (moment, token) in enumerate(zip(moments, tokens, strict=True), 1):
        if by_kind and (kind := kinds_of(moment)[0]) != previous:
            items += f'<li class="vp-kind">{escape(kind)}</li>'
            previous = kind
        items += f"<li>{_card(rank, moment, token, zone, scope, with_reason=by_kind)}</li>"
    return f'<ol class="vp-cards" aria-label="Moments found">{items}</ol>'


def feed(unusual: Feed, tokens: Callable[[Moment], str], zone: tzinfo, scope: str, *, can_mark: bool) -> str:
    """Return the feed of unusual moments. A click on a card plays its moment in the card.

    Args:
        unusual: the moments by day.
        tokens: returns the media token of a moment.
        zone: time zone of the clock times.
        scope: which anomalies the anomaly score covers.
        can_mark: add the buttons that mark a moment as normal or as an alarm.
    """
    return "".join(_feed_day(day, tokens, zone, scope, can_mark) for day in unusual.days)


def examples_list(examples: Sequence[OwnerExample]) -> str:
    """Return what the owner marked as normal or as an alarm, each with a button that removes it."""
    if not examples:
        return "<p>Nothing is marked yet.</p>"
    items = "".join(
        f"<li><strong>{example.kind}</strong> {escape(sanitize_name(example.text))} "
        f"<span>{escape(sanitize_name(example.camera)) if example.camera else 'all cameras'}</span> "
        f'<button type="button" class="vp-action" data-vp="remove-example" data-vp-id="{escape(example.id)}" '
        f'aria-label="Remove: {escape(sanitize_name(example.text))}">remove</button></li>'
        for example in examples
    )
    return f'<ul class="vp-examples">{items}</ul>'


def alerts_list(alerts: Sequence[SavedAlert]) -> str:
    """Return the saved alerts with their conditions and receivers, each with buttons to try, edit and remove it."""
    if not alerts:
        return "<p>There are no alerts yet.</p>"

    def button(action: str, label: str, name: str) -> str:
        return (
            f'<button type="button" class="vp-action" data-vp="{action}" data-vp-id="{escape(name)}" '
            f'aria-label="{label}: {escape(sanitize_name(name))}">{label}</button>'
        )

    def line(text: str) -> str:
        return escape(formatting.clean_text(text))

    items = "".join(
        f"<li><strong>{escape(sanitize_name(alert.name))}</strong> {line(alert.condition.replace('  ', ', '))} "
        f"<span>to {line(', '.join(alert.receivers))}</span> "
        f"{button('try-alert', 'try', alert.name)}{button('edit-alert', 'edit', alert.name)}"
        f"{button('remove-alert', 'remove', alert.name)}</li>"
        for alert in alerts
    )
    return f'<ul class="vp-examples">{items}</ul>'


def anomaly_bar(moment: Moment, scope: str) -> str:
    """Return the anomaly score as a number and a bar, with its scope as tooltip."""
    score = moment.anomaly_score
    return (
        f'<span class="vp-anomaly" title="Anomaly score, {escape(scope)}">anomaly {score:.2f}'
        f'<span class="vp-bar" aria-hidden="true"><span style="width:{score:.0%}"></span></span></span>'
    )


def chip_row(chips: Sequence[Chip]) -> str:
    """Return the parts of the request, each with a button that removes it."""
    if not chips:
        return ""
    items = "".join(
        f'<li class="vp-chip"><span class="vp-chip-label">{escape(chip.label)}</span> '
        f"{escape(sanitize_name(chip.value))}"
        f'<button type="button" data-vp="chip" data-vp-id="{escape(chip.key)}" '
        f'aria-label="Remove: {escape(chip.label)} {escape(sanitize_name(chip.value))}">×</button></li>'
        for chip in chips
    )
    return f'<ul class="vp-chips" aria-label="Current request">{items}</ul>'


def player(
    moment: Moment, token: str, clip: Clip, zone: tzinfo, judgement: bool | None, scope: str, *, can_judge: bool = True
) -> str:
    """Return the selected moment: a player limited to its span, its facts and its buttons.

    Args:
        moment: the moment.
        token: its media token.
        clip: its clip.
        zone: time zone of the clock times.
        judgement: whether the user judged the moment right for the request; None if it was not judged.
        scope: which anomalies the anomaly score covers.
        can_judge: add the buttons for the judgement.
    """
    start, end = max(0.0, moment.start - clip.start), clip.end - clip.start
    source = f"media/{token}/clip.mp4#t={start:.2f},{end:.2f}"
    video = (
        f'<video class="vp-video" src="{source}" poster="media/{token}/image.jpg" controls autoplay muted playsinline '
        f'data-start="{moment.start:.3f}" data-clip-start="{clip.start:.3f}" '
        f'aria-label="Clip of camera {escape(sanitize_name(moment.camera))}"></video>'
    )
    return f'<div class="vp-player">{video}{_caption(moment, token, zone, judgement, scope, can_judge)}</div>'


def player_waiting(moment: Moment, token: str, zone: tzinfo, scope: str, *, can_judge: bool = True) -> str:
    """Return the placeholder of the player while the clip is cut."""
    image = f'<img class="vp-video" src="media/{token}/image.jpg" alt="Frame of the moment; its clip is loading">'
    return (
        f'<div class="vp-player" aria-busy="true">{image}{_caption(moment, token, zone, None, scope, can_judge)}</div>'
    )


def player_failed(moment: Moment, token: str, zone: tzinfo, scope: str, reason: str, *, can_judge: bool = True) -> str:
    """Return the placeholder of the player if there is no clip."""
    message = f'<p class="vp-problem" role="alert">This moment cannot be played: {escape(reason)}</p>'
    return f'<div class="vp-player">{message}{_caption(moment, token, zone, None, scope, can_judge)}</div>'


def downloads(csv: str, json: str) -> str:
    """Return links to the moments of an answer as files."""
    return (
        f'<p class="vp-downloads">Download these moments: <a href="{escape(csv)}" download>CSV</a> · '
        f'<a href="{escape(json)}" download>JSON</a></p>'
    )


def _card(rank: int, moment: Moment, token: str, zone: tzinfo, scope: str, *, with_reason: bool) -> str:
    reason = f'<span class="vp-why">{escape(explain(moment))}</span>' if with_reason else ""
    camera, when = escape(sanitize_name(moment.camera)), escape(formatting.format_clock_time(moment, zone))
    span, match = formatting.format_span(moment), formatting.format_match(moment)
    label = f"Play moment {rank}: camera {camera}, {when}, {span}, {match}, anomaly {moment.anomaly_score:.2f}"
    return (
        f'<button type="button" class="vp-card" data-vp="play" data-vp-id="{token}" aria-label="{label}">'
        f'<span class="vp-thumb"><img src="media/{token}/image.jpg" alt="" loading="lazy">'
        f'<span class="vp-rank">{rank}</span><span class="vp-span">{span}</span></span>'
        f'<span class="vp-camera">{camera}</span><span class="vp-when">{when}</span>'
        f'<span class="vp-facts"><span title="{_match_title(moment)}">{match}</span>'
        f"{anomaly_bar(moment, scope)}</span>{reason}</button>"
    )


def _feed_day(day: FeedDay, tokens: Callable[[Moment], str], zone: tzinfo, scope: str, can_mark: bool) -> str:
    heading = f"{day.day:%A, %d %B %Y}" if day.day else "Recording time unknown"
    items = "".join(f"<li>{_feed_card(moment, tokens(moment), zone, scope, can_mark)}</li>" for moment in day.moments)
    return (
        f'<section class="vp-day"><h3>{heading} <span>{formatting.count(day.count, "unusual moment")}</span></h3>'
        f'<ol class="vp-cards vp-feed" aria-label="Unusual moments: {heading}">{items}</ol></section>'
    )


def _feed_card(moment: Moment, token: str, zone: tzinfo, scope: str, can_mark: bool) -> str:
    camera, when = escape(sanitize_name(moment.camera)), escape(formatting.format_clock_time(moment, zone))
    kind, span = escape(", ".join(kinds_of(moment))), formatting.format_span(moment)
    label = f"Play: camera {camera}, {when}, {span}, {kind}, anomaly {moment.anomaly_score:.2f}"
    card = (
        f'<button type="button" class="vp-card" data-vp-play="{token}" data-start="{moment.start:.3f}" '
        f'aria-label="{label}"><span class="vp-thumb"><img src="media/{token}/image.jpg" alt="" loading="lazy">'
        f'<span class="vp-span">{span}</span></span><span class="vp-camera">{camera}</span>'
        f'<span class="vp-when">{when}</span><span class="vp-facts"><strong>{kind}</strong>'
        f'{anomaly_bar(moment, scope)}</span><span class="vp-why">{escape(explain(moment))}</span></button>'
    )
    if not can_mark:
        return card
    return (
        f'{card}<div class="vp-actions" role="group" aria-label="Is this normal for this camera?">'
        f'<button type="button" class="vp-action" data-vp="mark-normal" data-vp-id="{token}">✗ normal here</button>'
        f'<button type="button" class="vp-action" data-vp="mark-alarm" data-vp-id="{token}">✓ alarm</button></div>'
    )


_MATCH_TITLES = {
    "strong": "stands clearly above the other moments: as a first moment, such a match is right 8 times out of 10",
    "possible": "stands above the other moments, but such matches are often wrong",
    "weak": "hardly differs from the other moments: as a first moment, such a match is wrong 9 times out of 10",
}


def _match_title(moment: Moment) -> str:
    if moment.grade is not None:
        return _MATCH_TITLES[moment.grade]
    return "z-score: standard deviations above the similarity of unrelated footage; not a probability"


def _caption(moment: Moment, token: str, zone: tzinfo, judgement: bool | None, scope: str, can_judge: bool) -> str:
    facts = " · ".join(filter(None, [formatting.format_span(moment), formatting.format_match(moment)]))
    choices = (("right", "✓ right", True), ("wrong", "✗ wrong", False)) if can_judge else ()
    buttons = "".join(
        f'<button type="button" class="vp-action" data-vp="{name}" data-vp-id="{token}" '
        f'aria-pressed="{str(judgement is is_right).lower()}">{label}</button>'
        for name, label, is_right in choices
    )
    why = f'<div class="vp-why">{escape(explain(moment))}</div>' if moment.anomaly_score >= MIN_LISTED_ANOMALY else ""
    group = "Does this moment match the request?" if can_judge else "Actions"
    return (
        f'<div class="vp-caption"><strong>{escape(sanitize_name(moment.camera))}</strong> '
        f"<span>{escape(formatting.format_clock_time(moment, zone))}</span><br>"
        f"{facts} · {anomaly_bar(moment, scope)}{why}"
        f'<div class="vp-actions" role="group" aria-label="{group}">{buttons}'
        f'<a class="vp-action" href="media/{token}/clip.mp4" download="moment-{token[:6]}.mp4">↓ clip</a></div></div>'
    )
