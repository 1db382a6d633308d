from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from var_plugin.errors import InvalidInputError
from var_plugin.index.index import Hit
from var_plugin.retrievers.moments import (
    Peak,
    Scored,
    best_of_each_video,
    find_peaks,
    moment_id,
    parse_moment_id,
    select_peaks,
)


def scored(start: float, score: float, *, end: float | None = None, video: str = "v", anomaly: float = 0.0) -> Scored:
    end = start + 8 if end is None else end
    hit = Hit(video, "north", "uniform", start, end, (start + end) / 2, -1, anomaly, score)
    return Scored(hit, {"scene": score})


def listed(segments: list[Scored], *, share: float, longest: float) -> list[Peak]:
    return list(find_peaks(segments, score_ratio=share, max_seconds=longest))


def spans(peaks: list[Peak]) -> list[tuple[float, float]]:
    return [(peak.start, peak.end) for peak in peaks]


def test_a_moment_includes_neighbours_with_similar_scores() -> None:
    segments = [scored(0, 1), scored(8, 4.1), scored(16, 5), scored(24, 4.5), scored(32, 3.9)]
    peaks = listed(segments, share=0.8, longest=60)
    assert spans(peaks)[0] == (8, 32)
    assert peaks[0].best.hit.start == 16


def test_adjacent_segments_are_suppressed_and_others_are_moments() -> None:
    segments = [scored(0, 2), scored(8, 5), scored(16, 2.5), scored(24, 2.4)]
    assert spans(listed(segments, share=0.8, longest=60)) == [(8, 16), (24, 32)]


def test_a_moment_does_not_extend_over_a_gap() -> None:
    assert spans(listed([scored(0, 5), scored(16, 5)], share=0.8, longest=60)) == [(0, 8), (16, 24)]


def test_the_length_of_a_moment_is_limited() -> None:
    peaks = listed([scored(8 * i, 5 - i / 100) for i in range(20)], share=0.5, longest=40)
    assert max(end - start for start, end in spans(peaks)) == 40


def test_a_single_long_segment_is_kept_whole() -> None:
    assert spans(listed([scored(0, 5, end=200)], share=0.8, longest=60)) == [(0, 200)]


def test_segments_below_the_background_are_not_joined() -> None:
    assert spans(listed([scored(0, -1), scored(8, -1.1)], share=0.8, longest=60)) == [(0, 8)]


def test_the_anomaly_score_of_a_moment_is_its_maximum() -> None:
    (peak,) = listed([scored(0, 5, anomaly=0.2), scored(8, 4.5, anomaly=0.9)], share=0.8, longest=60)
    assert peak.strongest.anomaly == 0.9


def test_one_video_does_not_hide_the_others() -> None:
    loud = [scored(20 * i, 10 - i / 100, video="loud") for i in range(50)]
    peaks = listed([*loud, scored(0, 3, video="a"), scored(0, 2, video="b")], share=0.8, longest=60)
    chosen = select_peaks(peaks, 5, per_video=3)
    assert [peak.best.hit.video_id for peak in chosen] == ["loud", "loud", "loud", "a", "b"]


def test_a_single_video_can_fill_the_answer() -> None:
    peaks = listed([scored(20 * i, 10 - i) for i in range(6)], share=0.8, longest=60)
    assert len(select_peaks(peaks, 5, per_video=3)) == 5


segments = st.lists(
    st.tuples(st.integers(0, 60), st.floats(-5, 10), st.sampled_from("abc")), unique_by=lambda s: (s[0], s[2])
)


@given(segments, st.floats(0.1, 1.0), st.floats(8, 100))
def test_moments_of_a_video_do_not_touch_and_contain_their_peak(
    drawn: list[tuple[int, float, str]], share: float, longest: float
) -> None:
    peaks = listed([scored(8.0 * i, score, video=v) for i, score, v in drawn], share=share, longest=longest)
    assert [peak.best.score for peak in peaks] == sorted((peak.best.score for peak in peaks), reverse=True)
    assert {peak.best.hit.video_id for peak in peaks} == {video for _, _, video in drawn}
    for peak in peaks:
        assert peak.start <= peak.best.hit.start < peak.best.hit.end <= peak.end
        assert peak.end - peak.start <= max(longest, 8.0)
    for one in peaks:
        for other in peaks:
            if one is not other and one.best.hit.video_id == other.best.hit.video_id:
                assert one.end < other.start or other.end < one.start


@given(segments, st.integers(1, 10), st.integers(1, 3))
def test_as_many_moments_as_possible_are_chosen(drawn: list[tuple[int, float, str]], k: int, per_video: int) -> None:
    peaks = listed([scored(8.0 * i, score, video=v) for i, score, v in drawn], share=0.8, longest=60)
    chosen = select_peaks(peaks, k, per_video=per_video)
    assert len(chosen) == min(k, len(peaks))
    assert [peak.best.score for peak in chosen] == sorted((peak.best.score for peak in chosen), reverse=True)
    videos = {peak.best.hit.video_id for peak in peaks}
    chosen_videos = {peak.best.hit.video_id for peak in chosen}
    assert len(chosen_videos) >= min(len(videos), -(-k // per_video))


def test_the_best_space_gives_the_score() -> None:
    hit = scored(0, 0).hit
    assert Scored(hit, {"scene": 1.0, "sound": 2.5}).score == pytest.approx(2.5)


def test_a_weight_scales_the_score_of_its_space() -> None:
    both = Scored(scored(0, 0).hit, {"scene": 1.0, "sound": 2.5}, {"sound": 0.2})
    assert both.score == pytest.approx(1.0)
    assert both.matched == {"scene": 1.0, "sound": 2.5}


def test_one_moment_per_video_is_its_best() -> None:
    peaks = listed([scored(0, 5), scored(40, 9), scored(0, 7, video="w")], share=0.8, longest=60)
    assert [(peak.best.hit.video_id, peak.start) for peak in best_of_each_video(peaks)] == [("v", 40), ("w", 0)]


@given(st.text(min_size=1).filter(str.isprintable), st.integers(0, 10**9), st.integers(1, 10**6))
def test_moment_ids_encode_spans(video: str, start: int, length: int) -> None:
    name = moment_id(video, start / 1000, (start + length) / 1000)
    assert parse_moment_id(name) == (video, start / 1000, (start + length) / 1000)


@pytest.mark.parametrize("text", ["", "v", "v-1", "v-2-1", "v-1-1", "-1-2", "v-1.5-2", "v-1-2 ", f"v-0-{'9' * 13}"])
def test_invalid_moment_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not the id of a moment"):
        parse_moment_id(text)


def test_a_moment_has_the_best_score_of_each_space() -> None:
    """Segments of two spaces over one event have different bounds."""
    scene, sound, far = (Scored(scored(start, 0).hit, matched) for start, matched in
                        ((0, {"scene": 4.0}), (4, {"sound": 3.0}), (80, {"sound": 9.0})))  # fmt: skip
    last, first = listed([scene, sound, far], share=0.5, longest=60)[::-1]
    assert first.matched == {"sound": 9.0}
    assert last.matched == {"scene": 4.0, "sound": 3.0}
