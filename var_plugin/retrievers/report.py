"""A report on anomalies as one HTML file: per day and camera the strongest moments, with thumbnails and curves.

The file is self-contained: images and styles are inside it, and it loads nothing from the network.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template

from var_plugin.errors import InvalidInputError
from var_plugin.index.catalog import Entry
from var_plugin.index.index import VideoIndex
from var_plugin.index.rows import CurvePoint
from var_plugin.media.files import atomic_write
from var_plugin.retrievers.anomalies import anomalies
from var_plugin.retrievers.text import explain, kinds_of, sanitize_name
from var_plugin.types import Filter, Moment, Value

_CURVE_WIDTH, _CURVE_HEIGHT = 320, 40
_MAX_MOMENTS = 2_000
_SUFFIXES = (".html", ".htm")

Group = tuple[date | None, str]
"""Day, or None if the clock time is unknown, and camera."""


class Report(Value):
    """A written report."""

    path: Path
    moments: int
    days: int
    cameras: int
    without_thumbnail: int


def write_report(
    index: VideoIndex,
    out: Path,
    *,
    filter: Filter | None = None,  # noqa: A002  (the usual name in vector stores)
    kinds: Sequence[str] | None = None,
    min_score: float = 0.3,
    per_day: int = 5,
    zone: tzinfo = UTC,
) -> Report:
    """Write the strongest moments of each day and camera to an HTML file, the newest day first.

    Args:
        index: index to read.
        out: file to write, with the extension .html or .htm. It is replaced if it exists.
        filter: conditions on the moments.
        kinds: kinds of events; a moment must have one of them.
        min_score: minimum anomaly score.
        per_day: maximum number of moments per day and camera.
        zone: time zone of the days and times.

    Raises:
        InvalidInputError: the filter cannot be expressed, or the file cannot be written or is no HTML file.
        StoreError: the store failed.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise InvalidInputError(
            f"{out} is not the name of an HTML file",
            why="a report would replace a file of another kind",
            fix=f"use the extension {_SUFFIXES[0]}",
        )
    strongest = anomalies(index, k=_MAX_MOMENTS, filter=filter, kinds=kinds, min_score=min_score)
    groups: dict[Group, list[Moment]] = defaultdict(list)
    for moment in strongest:
        day = moment.recorded_at.astimezone(zone).date() if moment.recorded_at else None
        if len(groups[day, moment.camera]) < per_day:
            groups[day, moment.camera].append(moment)
    listed = [moment for moments in groups.values() for moment in moments]
    entries = index.entries(sorted({moment.video_id for moment in listed}))
    images = {
        moment.id: _image(index, entries[moment.video_id], moment.peak)
        for moment in listed
        if moment.video_id in entries
    }
    curves = index.curves(list(entries))
    by_day = groupby(sorted(groups.items(), key=_newest_first), key=lambda item: item[0][0])
    sections = [_section(day, list(cameras), images, curves, zone) for day, cameras in by_day]
    page = _PAGE.substitute(
        title="Unusual moments",
        written=f"{datetime.now(zone):%Y-%m-%d %H:%M %Z}",
        summary=escape(_summary(listed, len(strongest))),
        scope=escape(index.suite.anomaly_scope),
        sections="\n".join(sections) or "<p>No moment reaches the minimum score.</p>",
    )
    with atomic_write(out) as partial:
        partial.write_text(page, encoding="utf-8")
    return Report(
        path=out,
        moments=len(listed),
        days=len({day for day, _ in groups}),
        cameras=len({camera for _, camera in groups}),
        without_thumbnail=sum(images.get(moment.id) is None for moment in listed),
    )


def _newest_first(item: tuple[Group, list[Moment]]) -> tuple[bool, int, str]:
    (day, camera), _ = item
    return day is None, -day.toordinal() if day else 0, camera


def _summary(listed: Sequence[Moment], total: int) -> str:
    weaker = f"; {total - len(listed)} weaker ones are left out" if total > len(listed) else ""
    limit = f" Only the {total} strongest moments were considered." if total >= _MAX_MOMENTS else ""
    return f"{len(listed)} moments{weaker}.{limit}"


def _section(
    day: date | None,
    groups: Iterable[tuple[Group, Sequence[Moment]]],
    images: dict[str, bytes | None],
    curves: dict[str, list[CurvePoint]],
    zone: tzinfo,
) -> str:
    """Return the moments of one day, grouped by camera."""
    heading = f"{day:%A, %d %B %Y}" if day else "Recording time unknown"
    cameras = ""
    for (_, camera), moments in groups:
        cards = "\n".join(
            _card(moment, images.get(moment.id), curves.get(moment.video_id, []), zone) for moment in moments
        )
        cameras += f'<div><h3>{escape(sanitize_name(camera))}</h3><div class="cards">{cards}</div></div>'
    return f'<section><h2>{escape(heading)}</h2><div class="cameras">{cameras}</div></section>'


def _card(moment: Moment, image: bytes | None, curve: Sequence[CurvePoint], zone: tzinfo) -> str:
    start, end = (timedelta(seconds=round(seconds)) for seconds in (moment.start, moment.end))
    clock = f"{moment.recorded_at.astimezone(zone):%H:%M:%S}, " if moment.recorded_at else ""
    return _CARD.substitute(
        image=_image_element(image),
        kinds=escape(", ".join(kinds_of(moment))),
        score=f"{moment.anomaly_score:.2f}",
        when=escape(f"{clock}{start} to {end} of {sanitize_name(Path(moment.uri).name)}"),
        reason=escape(explain(moment)),
        curve=_curve(moment, curve),
        id=escape(moment.id),
    )


def _image(index: VideoIndex, entry: Entry, seconds: float) -> bytes | None:
    """Return the JPEG of a frame, or None if the footage cannot be read."""
    try:
        # Read at once: the cache removes files when it is full.
        return thumbnail.read_bytes() if (thumbnail := index.thumbnail(entry, seconds)) else None
    except FileNotFoundError:  # another process removed it
        return None


def _image_element(image: bytes | None) -> str:
    if image is None:
        return '<div class="none">The footage cannot be read.</div>'
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(image).decode()}" alt="">'


def _curve(moment: Moment, curve: Sequence[CurvePoint]) -> str:
    """Return the anomaly score over the video as an SVG, with the moment marked."""
    length = max((point.end for point in curve), default=moment.end) or 1.0
    points = " ".join(
        f"{_CURVE_WIDTH * time / length:.1f},{_CURVE_HEIGHT * (1 - point.anomaly):.1f}"
        for point in curve
        for time in (point.start, point.end)
    )
    left, width = _CURVE_WIDTH * moment.start / length, max(2.0, _CURVE_WIDTH * (moment.end - moment.start) / length)
    return (
        f'<svg viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" role="img" aria-label="anomaly score over the video">'
        f'<rect x="{left:.1f}" width="{width:.1f}" height="{_CURVE_HEIGHT}"/><polyline points="{points}"/></svg>'
    )


_CARD = Template("""<article id="$id">
$image
<h4>$kinds <b title="anomaly score">$score</b></h4>
<p>$when</p>
<p class="small">$reason</p>
$curve
</article>""")

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8884; --mark: #e8590c44; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { border-bottom: 1px solid var(--line); font-size: 1.1rem; margin-top: 2rem; padding-bottom: .3rem; }
h3 { font-size: 1rem; margin: .5rem 0; overflow-wrap: anywhere; }
h4 { display: flex; font-size: 1rem; gap: .5rem; justify-content: space-between; margin: .5rem 0 0; }
p { margin: .2rem 0; overflow-wrap: anywhere; }
.cameras, .cards { display: flex; flex-wrap: wrap; gap: 1rem; }
article { border: 1px solid var(--line); border-radius: .5rem; box-sizing: border-box; padding: .7rem; width: 18rem; }
@media (max-width: 40rem) { .cameras > div, article { width: 100%; } }
img, .none { aspect-ratio: 16 / 9; background: #8882; border-radius: .3rem; object-fit: contain; width: 100%; }
.none { align-items: center; display: flex; justify-content: center; }
.small { font-size: .85rem; }
svg { display: block; margin-top: .4rem; width: 100%; }
rect { fill: var(--mark); }
polyline { fill: none; stroke: currentColor; stroke-width: 1.2; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$summary Written $written.</p>
<p class="small">The score is $scope.</p>
$sections
</body>
</html>
""")
