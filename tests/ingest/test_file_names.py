"""Times in the names of recordings. Names that cannot be parsed completely give a note."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from var_plugin.config import CameraClock
from var_plugin.ingest.file_names import time_in_name
from var_plugin.ingest.timestamps import recorded_at

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    [
        # zones
        "2024-01-15T12-00-00Z", "2024-01-15T12-00-00z", "20240115T120000Z", "20240115_120000Z", "20240115T120000.000Z",
        "2024-01-15T12-00-00-000Z", "2024-01-15T12-00-00,000Z", "20240115_120000_UTC", "20240115_120000 GMT",
        "2024-01-15T13-00-00+01-00", "2024-01-15T13-00-00.000+01-00", "2024-01-15 17-30-00 +0530",
        "20240115_130000+0100", "20240115_130000+01", "2024-01-15T13-00-00+01:00", "2024-01-15_13.00.00_GMT+1",
        "2024-01-15 13.00.00 (GMT+1)",
        "2024-01-15 13.00.00 UTC+01:00", "2024-01-15 13.00.00 UTC+0100", "2024-01-15 04.00.00 GMT-8",
        "2024-01-15T07-00-00-0500", "2024-01-15T07-00-00-05-00", "2024-01-15T07:00:00-05:00", "20240115_070000-05:00",
        "2024-01-15 13.00.00 CET", "2024-01-15 13.00.00 Europe-Berlin", "20240115T070000-0500_2", "20240115_120000_Z",
        "20240115_130000(+0100)", "2024-01-15T07-00-00\u22120500", "20240115_130000_cet",
        "20240115_130000_+01_00", "20240115_140000[UTC+2]",
        # halves of the day
        "Front 2024-01-15 1.00.00 PM", "Front 2024-01-15 01.00.00 p.m.", "2024-01-15_01-00-00PM", "20240115_010000_pm",
        "Screen Recording 2024-01-15 at 1.00.00\u202fPM", "2024-01-15 13.00.00 PM", "2024-01-15 04.00.00 AM GMT-8",
        "2024-01-15 1.00.00 下午", "2024-01-15 1.00.00 nachm.",
        # joints and fractions
        "2024_01_15__13_00_00", "2024-01-15, 13.00.00", "20240115130000123", "PXL_20240115_120000123",
        "PXL_20240115_120000123.TS",
        # Unix time
        "1705320000000", "front-1705320000.000000-ab12", "cam_1705320000000",
        # start and end
        "cam_20240115130000_20240115130500", "cam_20240115_130000-20240115_130500",
    ],
)  # fmt: skip
def test_file_names_of_recorders_are_read(name: str) -> None:
    recorded = recorded_at(Path(f"{name}.mp4"), clock=CameraClock(zone=BERLIN))
    assert recorded.at is not None, recorded.origin.notes
    assert abs(recorded.at - NOON) < timedelta(seconds=1)
    assert recorded.origin.notes == ()


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("20240115_120000-0500", "may be its time zone or a number"),
        ("2024-01-15_12-00-00-05-00", "may be its time zone or a number"),
        ("20240115_120000+9999", "unknown time zone: +9999"),
        ("20240115_120000 EST", "unknown time zone: EST"),
        ("20240115_120000_pst", "unknown time zone: pst"),
        ("20240115_120000 W. Europe Standard Time", "unknown time zone: W. Europe Standard Time"),
        ("20240115_120000 IST", "unknown time zone: IST"),
        ("20240115_120000 GMT+99", "unknown time zone: GMT+99"),
        ("20240115_120000 GMT1", "unknown time zone: GMT1"),
        ("20240115_120000_EST5EDT", "unknown time zone: EST"),
        ("20240115_120000_America-New_York", "unknown time zone: America-New_York"),
        ("20240115_120000 Pacific Time", "unknown time zone: Pacific Time"),
        ("2024-01-15_12-00-00 -05", "may be its time zone or a number"),
        ("2024-01-15 15.00.00 AM", "contradict each other"),
        ("2024-01-15 00.30.00 PM", "contradict each other"),
        ("export_20240201_090000_cam_20240115_100000", "several times"),
        ("2024-01-15_10-00-00 exported 2024-02-01_09-00-00", "several times"),
        ("cam_1705320000", "may be a Unix time (2024-01-15 12:00:00+00:00)"),
    ],
)
def test_an_unreadable_name_gives_a_note_and_no_time(name: str, note: str) -> None:
    recorded = recorded_at(Path(f"{name}.mp4"), clock=CameraClock(zone=BERLIN))
    assert recorded.at is None
    assert note in recorded.origin.notes[0]


@pytest.mark.parametrize(
    "name",
    [
        "20240115_130000-0001", "20240115_130000-0030", "20240115_130000_0530",
        "2024-01-15_13-00-00-01", "2024-01-15_13-00-00_motion",
        "20240115_130000-130500", "2024-01-15_13-00-00-13-05-00", "20240115_130000_amsterdam", "20240115_130000 Zoo",
        "20240115_130000_PMR", "20240115_130000_estate",
    ],
)  # fmt: skip
def test_numbers_and_words_after_a_time_are_no_zones(name: str) -> None:
    recorded = recorded_at(Path(f"{name}.mp4"), clock=CameraClock(zone=BERLIN))
    assert (recorded.at, recorded.origin.notes) == (NOON, ())


@pytest.mark.parametrize("name", ["15-01-2024_12-05-30-10", "4006381333931", "9999999999999", "2024", "clip 12.5 1700"])
def test_other_numbers_are_no_times(name: str) -> None:
    assert time_in_name(Path(f"{name}.mp4")).time is None


def test_a_name_without_suffix_is_read() -> None:
    assert time_in_name(Path("2024-01-15 13.00.00")).time == datetime(2024, 1, 15, 13)


_OFFSETS = st.sampled_from([h * 60 + m for h in (*range(-12, -1), *range(1, 14)) for m in (0, 30, 45)]).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)


@given(
    time=st.datetimes(datetime(1990, 1, 2), datetime(2026, 1, 1)).map(lambda time: time.replace(microsecond=0)),
    zone=_OFFSETS,
    date=st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%Y_%m_%d", "%Y.%m.%d"]),
    form=st.sampled_from(["%H-%M-%S", "%H%M%S", "%H.%M.%S", "%I.%M.%S %p", "%I-%M-%S_%p"]),
    before=st.sampled_from(["", "north_", "ch01_", "Front Door "]),
    after=st.sampled_from(["", "_motion", " 2", "_0001"]),
)
@example(datetime(2024, 1, 15), UTC, "%Y%m%d", "%I.%M.%S %p", "", "")
def test_every_time_with_a_zone_is_read(
    time: datetime, zone: timezone, date: str, form: str, before: str, after: str
) -> None:
    offset = f"{time.replace(tzinfo=zone):%z}"[:5]
    name = f"{before}{time.strftime(date)}T{time.strftime(form)}{offset}"
    expected = time.replace(tzinfo=zone)
    read = time_in_name(Path(f"{name}.mp4"))
    assert read.time == expected, read.notes
    local = time_in_name(Path(f"{before}{time.strftime(date)}_{time.strftime(form)}{after}.mp4"))
    assert local.time == time, local.notes


@given(
    st.text(max_size=60), st.sampled_from(["", "2024-01-15T12-00-00", "20240115_120000", "1705320000123"]), st.text()
)
def test_any_name_is_read_without_an_error(before: str, time: str, after: str) -> None:
    name = (before + time + after).replace("/", "").replace("\0", "") + ".mp4"
    read = time_in_name(Path(name), zone=BERLIN)
    assert read.time is None or not read.notes
