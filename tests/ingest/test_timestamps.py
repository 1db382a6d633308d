from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from var_plugin.config import CameraClock, Settings
from var_plugin.errors import InvalidInputError
from var_plugin.ingest.timestamps import camera_clock, recorded_at
from var_plugin.types import ClockOrigin

BERLIN = CameraClock(zone=ZoneInfo("Europe/Berlin"))
NOON = datetime(2025, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    [
        "20251101_130000.mp4", "20251101130000.mp4", "2025-11-01T13-00-00.mp4", "2025-11-01 13.00.00.mkv",
        "ch01_20251101130000.dav", "north_20251101-130000-0001.ts", "cam_20251101130000_20251101130500.mp4",
        "2025-11-01_13-00-00_motion.mp4", "2025-11-01T12-00-00Z.mp4", "20251101_140000+0200.mp4",
    ],
)  # fmt: skip
def test_file_names_of_cameras_are_read(name: str) -> None:
    result = recorded_at(Path(name), clock=BERLIN)
    assert (result.at, result.origin) == (NOON, ClockOrigin(certainty="derived", source="file name"))


@pytest.mark.parametrize("name", ["north.mp4", "clip_12345678.mp4", "20251341_130000.mp4", "120251101130000.mp4"])
def test_other_numbers_are_not_read_as_times(name: str) -> None:
    result = recorded_at(Path(name), clock=BERLIN)
    assert (result.at, result.origin.certainty) == (None, "unknown")
    assert result.origin.notes


def test_a_local_time_without_zone_is_unknown_with_a_note() -> None:
    result = recorded_at(Path("20251101_130000.mp4"))
    assert result.at is None
    assert result.origin.notes == ("the file name says 2025-11-01 13:00:00, but not in which time zone",)
    assert recorded_at(Path("20251101_120000Z.mp4")).at == NOON


def test_an_explicit_time_wins_over_sidecar_and_header(tmp_path: Path) -> None:
    file = tmp_path / "20251101_130000.mp4"
    header = "2020-01-01T00:00:00.000000Z"
    clock = CameraClock(zone=BERLIN.zone, offset=timedelta(minutes=-5))
    time = NOON + timedelta(days=1)
    assert recorded_at(file, explicit=time, created_at=lambda: header, clock=clock).at == time
    (tmp_path / "20251101_130000.json").write_text('{"recorded_at": "2025-11-03T13:00:00+01:00"}')
    derived = recorded_at(file, created_at=lambda: header, clock=clock)
    assert (derived.at, derived.origin.source, derived.origin.certainty) == (
        NOON + timedelta(days=2),
        "sidecar",
        "known",
    )
    (tmp_path / "20251101_130000.mp4.json").write_text('{"recorded_at": "2025-11-04T13:00:00+01:00"}')
    assert recorded_at(file, clock=clock).at == NOON + timedelta(days=3), "the one that names the whole file"


def test_the_clock_offset_of_a_camera_is_corrected() -> None:
    fast = CameraClock(zone=BERLIN.zone, offset=timedelta(minutes=-5))
    assert recorded_at(Path("20251101_130500.mp4"), clock=fast).at == NOON
    assert recorded_at(Path("a.mp4"), created_at=lambda: "2025-11-01T12:05:00.000000Z", clock=fast).at == NOON


def test_the_header_is_used_last_and_invalid_headers_give_a_note() -> None:
    result = recorded_at(Path("20251101_130000.mp4"), created_at=lambda: "2025-11-01T12:00:00Z")
    assert (result.at, result.origin.source) == (NOON, "container")
    assert "not in which time zone" in result.origin.notes[0]
    for header in ("1970-01-01T00:00:00Z", "1904-01-01T00:00:00Z", "2999-01-01T00:00:00Z"):
        result = recorded_at(Path("a.mp4"), created_at=lambda header=header: header)
        assert result.at is None
        assert "not possible" in result.origin.notes[0]
    assert recorded_at(Path("a.mp4"), created_at=lambda: "yesterday").at is None


def test_ambiguous_hours_of_daylight_saving_are_uncertain() -> None:
    twice = recorded_at(Path("20251026_023000.mp4"), clock=BERLIN)
    assert twice.at == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert "wrong by an hour" in twice.origin.notes[0]
    assert not recorded_at(Path("20251026_043000.mp4"), clock=BERLIN).origin.notes


def test_a_custom_pattern_is_used() -> None:
    day_first = r"(?P<day>\d\d)(?P<month>\d\d)(?P<year>\d{4})-(?P<hour>\d\d)h(?P<minute>\d\d)m(?P<second>\d\d)"
    clock = CameraClock(zone=BERLIN.zone, pattern=re.compile(day_first))
    assert recorded_at(Path("x-01112025-13h00m00.mp4"), clock=clock).at == NOON
    with pytest.raises(ValidationError, match="lacks the groups second"):
        CameraClock(pattern=re.compile(day_first.replace("<second>", "<s>")))


def test_each_camera_can_have_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAR_PLUGIN_ZONE", "Europe/Berlin")
    monkeypatch.setenv("VAR_PLUGIN_CAMERAS", '{"north": {"offset": -300}, "east": {"zone": "Asia/Tokyo"}}')
    configured = Settings()
    assert recorded_at(Path("20251101_130500.mp4"), clock=camera_clock(configured, "north")).at == NOON
    assert recorded_at(Path("20251101_210000.mp4"), clock=camera_clock(configured, "east")).at == NOON
    assert recorded_at(Path("20251101_130000.mp4"), clock=camera_clock(configured, "south")).at == NOON


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"", b'{"frame": 1}\n{"frame": 2}\n', b"\xff\xfe{\0}", b"\xe9", b"[" * 30_000 + b"]" * 30_000,
        b'{"recorded_at": "noon"}', b'{"recorded_at": 7}', b'{"recorded_at": null}', b'{"recorded_at": ["2025"]}',
        b'{"recorded_at": "2025-11-01T12:00"}', b'{"recorded_at": "0001-01-01T00:00:00+23:59"}',
        b'{"recorded_at": "9999-12-31T23:59:59-23:59"}',
    ],
)  # fmt: skip
def test_json_without_a_time_gives_a_note_only(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "20251101_120000Z.json").write_bytes(content)
    recorded = recorded_at(tmp_path / "20251101_120000Z.mp4")
    assert (recorded.at, recorded.origin.source) == (NOON, "file name")
    assert "20251101_120000Z.json" in recorded.origin.notes[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_a_sidecar_may_have_a_byte_order_mark_or_another_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.mp4.json").write_bytes('{"recorded_at": "2025-11-01T13:00:00+01:00"}'.encode(encoding))
    assert recorded_at(tmp_path / "a.mp4").at == NOON


def test_a_damaged_sidecar_does_not_hide_the_other_one(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.json").write_text("{")
    (tmp_path / "a.json").write_text('{"recorded_at": "2025-11-01T12:00Z"}')
    recorded = recorded_at(tmp_path / "a.mp4")
    assert (recorded.at, recorded.origin.certainty) == (NOON, "known")
    assert "a.mp4.json" in recorded.origin.notes[0]


def test_large_and_special_files_are_not_sidecars(tmp_path: Path) -> None:
    film = tmp_path / "20251101_120000Z.mp4"
    sidecar = film.with_suffix(".json")
    os.mkfifo(sidecar)
    assert recorded_at(film).at == NOON, "a pipe is not waited for"
    sidecar.unlink()
    sidecar.mkdir()
    assert recorded_at(film).at == NOON
    sidecar.rmdir()
    sidecar.symlink_to(sidecar)
    assert recorded_at(film).at == NOON
    sidecar.unlink()
    with sidecar.open("wb") as huge:
        huge.truncate(8 << 30)
    assert recorded_at(film).at == NOON
    assert recorded_at(tmp_path / ("a" * 251 + ".mp4")).at is None, "a name too long for a sidecar"


def test_other_json_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"labels": []}')
    assert recorded_at(tmp_path / "a.mp4").at is None


def test_an_explicit_time_without_zone_or_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no time zone"):
        recorded_at(Path("a.mp4"), explicit=datetime(2025, 11, 1))
    for time in (datetime.min.replace(tzinfo=timezone(timedelta(hours=23))), datetime.max.replace(tzinfo=UTC)):
        with pytest.raises(InvalidInputError, match="is out of range"):
            recorded_at(Path("a.mp4"), explicit=time)


@given(
    st.datetimes(timezones=st.none() | st.sampled_from([UTC, timezone(timedelta(hours=-23, minutes=-59))])),
    st.sampled_from([timedelta(), timedelta.max, timedelta.min, timedelta(days=-1)]),
)
def test_any_header_time_is_accepted(time: datetime, offset: timedelta) -> None:
    for zone in (None, ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Apia")):
        clock = CameraClock.model_construct(zone=zone, offset=offset)
        recorded = recorded_at(Path("a.mp4"), created_at=time.isoformat, clock=clock)
        assert recorded.at is None or datetime(1990, 1, 1, tzinfo=UTC) <= recorded.at
