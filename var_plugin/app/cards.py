"""Moments, chips and the player as HTML. Every text that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from html import escape

from var_plugin.app import formatting as words
from var_plugin.app.conversation.request import Chip
from var_plugin.media.clips import Clip
from var_plugin.retrievers.text import sanitize_name
from var_plugin.types import Moment


def cards(moments: Sequence[Moment], tokens: Sequence[str], zone: tzinfo, scope: str) -> str:
    """Return an answer's moments as a list of buttons; each plays its own. `scope`: what the anomaly score knows."""
    items = "".join(
        f'<li>{_card(rank, moment, token, zone, scope)}</li>'
        for rank, (moment, token) in enumerate(zip(moments, tokens, strict=True), 1)
    )  # fmt: skip
    return f'<ol class="vp-cards" aria-label="Moments found">{items}</ol>'


def _card(rank: int, moment: Moment, token: str, zone: tzinfo, scope: str) -> str:
    camera, when, where = escape(sanitize_name(moment.camera)), escape(words.clock(moment, zone)), words.span(moment)
    sure = words.sureness(moment)
    told = f"Play moment {rank}: camera {camera}, {when}, {where}, {sure}, anomaly {moment.anomaly_score:.2f}"
    return (
        f'<button type="button" class="vp-card" data-vp="play" data-vp-id="{token}" aria-label="{told}">'
        f'<span class="vp-thumb"><img src="media/{token}/image.jpg" alt="" loading="lazy">'
        f'<span class="vp-rank">{rank}</span><span class="vp-span">{where}</span></span>'
        f'<span class="vp-camera">{camera}</span><span class="vp-when">{when}</span>'
        f'<span class="vp-facts"><span title="{_sureness_title(moment)}">{sure}</span>{anomaly_bar(moment, scope)}</span></button>'  # noqa: E501
    )


def anomaly_bar(moment: Moment, scope: str) -> str:
    """Return the anomaly score as a number and a small bar that names its scope."""
    score = moment.anomaly_score
    return (
        f'<span class="vp-anomaly" title="Anomaly score, {escape(scope)}">anomaly {score:.2f}'
        f'<span class="vp-bar" aria-hidden="true"><span style="width:{score:.0%}"></span></span></span>'
    )


def _sureness_title(moment: Moment) -> str:
    if moment.confidence is not None:
        return "how often a match like this was right, on labelled footage or by the marks on this page"
    return "deviations above footage that has nothing to do with it; not a probability"


def chip_row(chips: Sequence[Chip]) -> str:
    """Return what was understood, each part with a button that removes it."""
    if not chips:
        return ""
    items = "".join(
        f'<li class="vp-chip"><span class="vp-chip-label">{escape(chip.label)}</span> '
        f"{escape(sanitize_name(chip.value))}"
        f'<button type="button" data-vp="chip" data-vp-id="{escape(chip.key)}" '
        f'aria-label="Remove: {escape(chip.label)} {escape(sanitize_name(chip.value))}">×</button></li>'
        for chip in chips
    )
    return f'<ul class="vp-chips" aria-label="What is asked for">{items}</ul>'


def player(moment: Moment, token: str, clip: Clip, zone: tzinfo, mark: bool | None, scope: str) -> str:
    """Return the moment in view: its clip, from where it begins to where it ends, and what is known about it."""
    begins, ends = max(0.0, moment.start - clip.start), clip.end - clip.start
    source = f"media/{token}/clip.mp4#t={begins:.2f},{ends:.2f}"
    video = (
        f'<video class="vp-video" src="{source}" poster="media/{token}/image.jpg" controls autoplay muted playsinline '
        f'data-start="{moment.start:.3f}" data-clip-start="{clip.start:.3f}" '
        f'aria-label="Clip of camera {escape(sanitize_name(moment.camera))}"></video>'
    )
    return f'<div class="vp-player">{video}{_caption(moment, token, zone, mark, scope)}</div>'


def player_waiting(moment: Moment, token: str, zone: tzinfo, scope: str) -> str:
    """Return what stands in the player's place while the clip is made."""
    image = f'<img class="vp-video" src="media/{token}/image.jpg" alt="Frame of the moment; its clip follows">'
    return f'<div class="vp-player" aria-busy="true">{image}{_caption(moment, token, zone, None, scope)}</div>'


def player_failed(moment: Moment, token: str, zone: tzinfo, scope: str, why: str) -> str:
    """Return what stands in the player's place where there is no clip."""
    told = f'<p class="vp-problem" role="alert">This moment cannot be played: {escape(why)}</p>'
    return f'<div class="vp-player">{told}{_caption(moment, token, zone, None, scope)}</div>'


def _caption(moment: Moment, token: str, zone: tzinfo, mark: bool | None, scope: str) -> str:
    facts = " · ".join(filter(None, [words.span(moment), words.sureness(moment)]))
    buttons = "".join(
        f'<button type="button" class="vp-mark" data-vp="{name}" data-vp-id="{token}" aria-pressed="{str(mark is right).lower()}">'  # noqa: E501
        f"{label}</button>"
        for name, label, right in (("right", "✓ right", True), ("wrong", "✗ wrong", False))
    )
    return (
        f'<div class="vp-caption"><strong>{escape(sanitize_name(moment.camera))}</strong> '
        f"<span>{escape(words.clock(moment, zone))}</span><br>{facts} · {anomaly_bar(moment, scope)}"
        f'<div class="vp-actions" role="group" aria-label="Is this moment what was asked for?">{buttons}'
        f'<a class="vp-mark" href="media/{token}/clip.mp4" download="moment-{token[:6]}.mp4">↓ clip</a></div></div>'
    )


def downloads(csv: str, json: str) -> str:
    """Return links to an answer as files."""
    return (
        f'<p class="vp-downloads">Download these moments: <a href="{escape(csv)}" download>CSV</a> · '
        f'<a href="{escape(json)}" download>JSON</a></p>'
    )
