from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from var_plugin.errors import InvalidInputError
from var_plugin.index.filters import (
    UNKNOWN_TIME,
    check_text,
    clock_time,
    compile_filter,
    conditions,
    expression,
    literal,
    stored_metadata,
    to_epoch_ms,
)
from var_plugin.index.milvus.client import Store
from var_plugin.index.milvus.snapshot import Snapshot, encode_texts, table_columns
from var_plugin.index.schema import segment_schema
from var_plugin.types import Filter

HOSTILE = [
    "north",
    'x" or video_id != "',
    "x' or 1 == 1",
    "\\",
    '\\"',
    "a\\\\b",
    "%",
    "{camera}",
    "日本語",
    "é",
    "🎥",
    "] or [",
    "null",
    "true",
    "// --",
    " ",
]
STARTS = {"v0": 0, "v1": 3_000, "v2": UNKNOWN_TIME, "v3": 20_000, "v4": 21_500}
"""Clock times at which the videos begin, in milliseconds."""
ROWS = [
    {
        "id": str(i),
        "video_id": f"v{i % 5}",
        "camera": HOSTILE[i % len(HOSTILE)],
        "kind": ("uniform", "anomaly", "video")[i % 3],
        "start_ms": 1_000 * (i % 7),
        "end_ms": 1_000 * (i % 7) + (500, 4_000, 30_000)[i % 3],
        "key_ms": 0,
        "recorded_at": UNKNOWN_TIME if i % 5 == 2 else STARTS[f"v{i % 5}"] + 1_000 * (i % 7),
        "anomaly": i / 48,
        "novelty": 0.0,
        "events": [{}, {"fire": 0.5}, {"fire": 0.49, "traffic accident": 0.9}, {"fall": 1.0, "fire": 1.0}][i % 4],
        "trained": {},
        "reason": "",
        "metadata": {"place": HOSTILE[-1 - i % len(HOSTILE)], "floor": i % 3, "lit": i % 2 == 0},
        "vector": [1.0, 0.0],
    }
    for i in range(48)
]


def matches(metadata: dict, key: str, value: object) -> bool:
    """Return whether a metadata value equals the stored one, including its type. A missing key matches nothing."""
    stored = metadata.get(key)
    return isinstance(stored, bool) == isinstance(value, bool) and stored == value


STORED = [row | {"metadata": stored_metadata(row["metadata"])} for row in ROWS]
COPY = Snapshot(
    table_columns(
        encode_texts(
            pa.Table.from_pylist(
                [row | {name: json.dumps(row[name]) for name in ("metadata", "events", "trained")} for row in STORED]
            )
            .drop_columns(["vector"])
            .sort_by("video_id")
        )
    ),
    frozenset(("metadata", "events", "trained")),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("filters") / "rows.db")
    opened.ensure("rows", lambda: segment_schema(2), vector="vector", metric="IP")
    opened.write("rows", STORED)
    yield opened
    opened.close()


texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30))
times = st.one_of(st.none(), st.integers(0, 50_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC)))
positions = st.one_of(st.none(), st.integers(-1, 16).map(lambda halves: halves / 2), st.floats(-1e9, 1e9))
scores = st.one_of(st.none(), st.floats(0, 1))
filters = st.builds(
    Filter,
    cameras=st.none() | st.lists(texts, min_size=1, max_size=4).map(tuple),
    video_ids=st.none() | st.lists(st.sampled_from(["v0", "v1", 'v" or "'])).filter(bool).map(tuple),
    kinds=st.none() | st.lists(st.sampled_from(["fire", "traffic accident", "fall", "theft"]), min_size=1).map(tuple),
    segment_kinds=st.none() | st.lists(st.sampled_from(["uniform", "anomaly", "video"]), min_size=1).map(tuple),
    after=times,
    before=times,
    after_second=positions,
    before_second=positions,
    min_anomaly=scores,
    max_anomaly=scores,
    metadata=st.one_of(
        st.just({}),
        st.fixed_dictionaries({}, optional={"place": texts, "floor": st.integers(-1, 3), "lit": st.booleans()}),
    ),
)


def satisfies(row: dict, condition: Filter, excluded: list[str]) -> bool:
    """Evaluate a filter in plain Python."""
    has_time = row["recorded_at"] != UNKNOWN_TIME
    recorded_until = row["recorded_at"] + row["end_ms"] - row["start_ms"]
    return (
        (condition.cameras is None or row["camera"] in condition.cameras)
        and (condition.video_ids is None or row["video_id"] in condition.video_ids)
        and (condition.kinds is None or any(row["events"].get(kind, 0.0) >= 0.5 for kind in condition.kinds))
        and (condition.segment_kinds is None or row["kind"] in condition.segment_kinds)
        and row["video_id"] not in excluded
        and (condition.after is None or (has_time and recorded_until > condition.after.timestamp() * 1000))
        and (condition.before is None or (has_time and row["recorded_at"] < condition.before.timestamp() * 1000))
        and (condition.after_second is None or row["end_ms"] > round(condition.after_second * 1000))
        and (condition.before_second is None or row["start_ms"] < round(condition.before_second * 1000))
        and (condition.min_anomaly is None or row["anomaly"] >= condition.min_anomaly)
        and (condition.max_anomaly is None or row["anomaly"] <= condition.max_anomaly)
        and all(matches(row["metadata"], key, value) for key, value in condition.metadata.items())
    )


TOKENS = [
    '"', "'", "\\", "\\\\", " or ", " and ", "not ", "(", ")", "[", "]", "==", "!=", "1", "%", "{", "}", "camera",
    "metadata", "\n", "\x00", "\u2028", "é", "🎥",
]  # fmt: skip
hostile_texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=30),
    st.lists(st.sampled_from(TOKENS), max_size=8).map("".join),
)
scalars = st.one_of(hostile_texts, st.integers(), st.floats(), st.booleans())
anything = st.recursive(
    st.one_of(st.none(), scalars, st.binary(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(hostile_texts, inner, max_size=3)),
    max_leaves=5,
)
keys = st.one_of(st.sampled_from(["place", "floor", "lit", "absent"]), hostile_texts)
structures = st.fixed_dictionaries(
    {},
    optional={
        "cameras": st.one_of(st.lists(hostile_texts, max_size=3), anything),
        "video_ids": st.one_of(st.lists(st.one_of(st.sampled_from(["v0", "v1"]), hostile_texts), max_size=3), anything),
        "kinds": st.one_of(st.lists(st.one_of(st.just("fire"), hostile_texts), max_size=2), anything),
        "segment_kinds": st.one_of(st.lists(st.sampled_from(["uniform", "anomaly", "video"]), max_size=2), anything),
        "after": st.one_of(times, anything),
        "before_second": st.one_of(positions, anything),
        "min_anomaly": st.one_of(scores, anything),
        "metadata": st.one_of(st.dictionaries(keys, scalars, max_size=2), anything),
    },
)


def running(condition: Filter) -> dict[str, int]:
    """Return the position of each video at `after`, from the catalog."""
    if condition.after is None:
        return {}
    after = round(condition.after.timestamp() * 1000)
    return {video: after - start for video, start in STARTS.items() if start != UNKNOWN_TIME and start < after}


def check(store: Store, condition: Filter, excluded: list[str]) -> None:
    compiled = conditions(condition, excluded_videos=excluded, running_at_start=running(condition))
    ids = {row["id"] for row in store.rows("rows", expression(compiled), ["id"])}
    assert ids == {row["id"] for row in COPY.rows(compiled, ["id"])}
    assert ids == {row["id"] for row in ROWS if satisfies(row, condition, excluded)}


def check_structure(store: Store, structure: dict) -> bool:
    """Check that a structure is refused before the store gets it, or matches like plain Python. Return which."""
    try:
        condition = Filter.model_validate(structure)
        compile_filter(condition)
    except (ValidationError, InvalidInputError):
        return False
    check(store, condition, [])
    return True


small = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
large = settings(max_examples=5_000, suppress_health_check=[HealthCheck.function_scoped_fixture])


@small
@given(filters, st.lists(st.sampled_from(["v0", "v3"]), max_size=2))
def test_milvus_lite_filters_like_plain_python(store: Store, condition: Filter, excluded: list[str]) -> None:
    check(store, condition, excluded)


@small
@given(structures)
def test_hostile_structures_match_like_plain_python(store: Store, structure: dict) -> None:
    check_structure(store, structure)


@pytest.mark.slow
def test_hostile_strings_in_filters_match_like_plain_python(store: Store) -> None:
    counts: Counter[str] = Counter()

    @large
    @given(filters, st.lists(st.sampled_from(["v0", "v3"]), max_size=2))
    def valid(condition: Filter, excluded: list[str]) -> None:
        check(store, condition, excluded)
        counts["filters"] += 1

    valid()
    logging.getLogger(__name__).info("%s", dict(counts))
    assert counts.total() >= 5_000


@pytest.mark.slow
def test_random_structures_are_refused_or_filter_correctly(store: Store) -> None:
    counts: Counter[str] = Counter()

    @large
    @given(structures)
    def strange(structure: dict) -> None:
        counts["found by" if check_structure(store, structure) else "refused"] += 1

    strange()
    logging.getLogger(__name__).info("%s", dict(counts))
    assert counts.total() >= 5_000
    assert min(counts.values()) > 300


def test_each_hostile_camera_name_matches_only_itself(store: Store) -> None:
    for camera in HOSTILE:
        rows = store.rows("rows", compile_filter(Filter(cameras=(camera,))), ["camera"])
        assert {row["camera"] for row in rows} == {camera}


@pytest.mark.parametrize("bound", ["after", "before"])
def test_an_unknown_time_matches_no_time_condition(store: Store, bound: str) -> None:
    """This includes bounds beyond the number that represents an unknown time."""
    for year in (1960, 2100):
        check(store, Filter.model_validate({bound: datetime(year, 1, 1, tzinfo=UTC)}), [])


@pytest.mark.parametrize("value", [True, False, 1, 0, 1.0, 0.0, "true", "1"])
def test_booleans_and_numbers_are_different_values(store: Store, value: object) -> None:
    """Python and Milvus Lite treat false as 0."""
    for key in ("floor", "lit", "place"):
        check(store, Filter.model_validate({"metadata": {key: value}}), [])


@pytest.mark.parametrize(("after", "expected"), [(19, {"v0", "v1", "v3", "v4"}), (60, set())])
def test_segments_that_include_a_time_match_after_it(store: Store, after: int, expected: set[str]) -> None:
    """Segments of v0 and v1 start seconds before the bound."""
    condition = Filter(after=datetime.fromtimestamp(after, UTC))
    check(store, condition, [])
    compiled = conditions(condition, running_at_start=running(condition))
    assert {row["video_id"] for row in COPY.rows(compiled, ["video_id"])} == expected


def test_an_empty_filter_matches_everything() -> None:
    assert compile_filter(Filter()) == ""


@pytest.mark.parametrize("text", ["a\nb", "\x00", "\x7f", "\ud800", "x" * 1_001])
def test_texts_that_cannot_be_stored_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        check_text(text)


@pytest.mark.parametrize(
    "metadata", [{'a"] or ["': 1}, {"": 1}, {"1a": 1}, {"a b": 1}, {"a": "x\ny"}, {"a": float("nan")}], ids=str
)
def test_metadata_that_cannot_be_stored_is_refused(metadata: dict) -> None:
    with pytest.raises(InvalidInputError):
        compile_filter(Filter(metadata=metadata))


def test_empty_and_endless_lists_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="matches nothing"):
        compile_filter(Filter(cameras=()))
    with pytest.raises(InvalidInputError, match="the limit"):
        compile_filter(Filter(cameras=tuple(map(str, range(10_001)))))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50))
def test_a_string_literal_is_one_json_string(text: str) -> None:
    assert json.loads(literal(text)) == text


def test_clock_times_need_a_zone() -> None:
    with pytest.raises(InvalidInputError, match="time zone"):
        to_epoch_ms(datetime(2026, 11, 1, 14))
    noon = datetime(2026, 11, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    assert clock_time(to_epoch_ms(noon)) == noon
    assert clock_time(UNKNOWN_TIME) is None
    with pytest.raises(InvalidInputError, match="cannot be stored"):
        to_epoch_ms(datetime(1, 1, 1, tzinfo=UTC))
    check_filter = Filter(after=datetime.min.replace(tzinfo=UTC), before=datetime.max.replace(tzinfo=UTC))
    assert len(conditions(check_filter)) == 3, "a filter may reach as far as it likes"


def test_filters_with_unknown_fields_or_without_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="camera"):
        Filter(camera="north")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="timezone"):
        Filter(after=datetime(2026, 11, 1))
    assert np.isfinite(Filter(min_anomaly=0.5).min_anomaly or 0)
    with pytest.raises(ValueError, match="finite"):
        Filter(min_anomaly=float("nan"))
