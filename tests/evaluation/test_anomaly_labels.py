from __future__ import annotations

import math
from pathlib import Path

import pytest

from var_plugin.errors import InvalidInputError, MediaNotFoundError
from var_plugin.evaluation.anomaly_labels import Event, VideoLabels, VideoNames, load_labels, xd_kinds


def write(folder: Path, *lines: str, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_videos_are_named_by_path_file_name_or_stem() -> None:
    names = VideoNames(["north/a.mp4", "north/b.avi", "south/b.avi", "v=x.2001__#1_label_A"])
    assert names.find("north/a.mp4") == names.find("a.mp4") == names.find("a") == names.find("a.mkv") == "north/a.mp4"
    assert names.find("v=x.2001__#1_label_A.mp4") == "v=x.2001__#1_label_A"
    assert names.find("c") is None
    assert names.find("south/b.avi") == "south/b.avi"
    with pytest.raises(InvalidInputError, match=r"'b' is the name of 2 videos: north/b.avi, south/b.avi"):
        names.find("b")


def test_spans_of_a_table(tmp_path: Path) -> None:
    path = write(tmp_path, "video,start,end,kind", "a,1.5,4,fire", "a,10,,", "b.mp4,,,", "c,,,normal", "gone,0,1,fall")
    labels = load_labels(path, VideoNames(["a.mp4", "b.mp4", "c.mp4", "extra.mp4"]))
    assert labels.videos == {
        "a.mp4": VideoLabels((Event(1.5, 4, ("fire",)), Event(10, math.inf, ("anomaly",)))),
        "b.mp4": VideoLabels(),
        "c.mp4": VideoLabels(),
        "extra.mp4": VideoLabels(),
    }
    assert labels.missing == ["gone"]
    assert labels.videos["a.mp4"].kinds() == ("fire", "anomaly")


def test_a_table_without_rows_labels_all_videos_as_normal(tmp_path: Path) -> None:
    labels = load_labels(write(tmp_path, "video,start,end"), VideoNames(["a.mp4"]))
    assert labels.videos == {"a.mp4": VideoLabels()}


def test_labels_frame_by_frame_become_spans_of_the_video(tmp_path: Path) -> None:
    path = write(tmp_path, "file,scene,accident_per_frame,other", "clips/a.mp4,x,0011000011,1")
    labels = load_labels(path, VideoNames(["a.mp4"])).videos["a.mp4"]
    assert labels.in_seconds(5.0) == VideoLabels((Event(1, 2, ("accident",)), Event(4, 5, ("accident",))))


def test_annotations_of_ucf_crime(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "Abuse028_x264.mp4  Abuse  165  240  -1  -1  ",
        "Arson011_x264.mp4  Arson  150  420  680  1267  ",
        "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  ",
        "RoadAccidents001_x264.mp4  RoadAccidents  210  300  -1  -1  ",
        name="Temporal_Anomaly_Annotation.txt",
    )
    names = VideoNames(["Abuse/Abuse028_x264.mp4", "Arson011_x264.mp4", "Normal_Videos_003_x264.mp4", "Abuse001.mp4"])
    labels = load_labels(path, names)
    assert labels.videos["Abuse/Abuse028_x264.mp4"] == VideoLabels((Event(164 / 30, 8.0, ("assault",)),))
    assert [event.kinds for event in labels.videos["Arson011_x264.mp4"].events] == [("fire",), ("fire",)]
    assert labels.videos["Normal_Videos_003_x264.mp4"].is_normal
    assert labels.missing == ["RoadAccidents001_x264.mp4"]
    assert labels.unlabelled == ["Abuse001.mp4"]
    assert (labels.benchmark, labels.test_videos) == ("UCF-Crime", 290)


def test_annotations_of_xd_violence(tmp_path: Path) -> None:
    violent = "v=38GQ9L2meyE__#1_label_B6-0-0"
    film = "Bad.Boys.II.2003__#00-06-42_00-10-00_label_B2-G-0"
    path = write(tmp_path, f"{violent} 24 48 240 264", f"{film}.mp4 0 12", name="annotations.txt")
    calm = "A.Beautiful.Mind.2001__#00-25-20_00-29-20_label_A"
    labels = load_labels(path, VideoNames([f"{violent}.mp4", f"{film}.mp4", f"{calm}.mp4", "v=z__#1_label_B1-0-0.mp4"]))
    accident = ("traffic accident",)
    assert labels.videos == {
        f"{violent}.mp4": VideoLabels((Event(1, 2, accident), Event(10, 11, accident))),
        f"{film}.mp4": VideoLabels((Event(0, 0.5, ("shooting", "explosion")),)),
        f"{calm}.mp4": VideoLabels(),
    }
    assert labels.unlabelled == ["v=z__#1_label_B1-0-0.mp4"], "violent, but without times"
    assert (labels.benchmark, labels.test_videos) == ("XD-Violence", 800)


def test_file_names_of_xd_violence_label_whole_videos() -> None:
    labels = load_labels(None, VideoNames(["v=a__#1_label_B1-B5-0.mp4", "v=b__#1_label_A.mp4", "other.mp4"]))
    assert labels.videos["v=a__#1_label_B1-B5-0.mp4"].events == (Event(0, math.inf, ("fighting", "assault")),)
    assert labels.videos["v=b__#1_label_A.mp4"].is_normal
    assert labels.unlabelled == ["other.mp4"]
    assert not labels.is_timed
    with pytest.raises(InvalidInputError, match="no label of XD-Violence"):
        xd_kinds("v=a__#1_label_B9-0-0.mp4")


@pytest.mark.parametrize(
    ("name", "lines", "complaint"),
    [
        ("e.csv", ["video,from,to"], "video, start and end are required"),
        ("e.csv", ["video,start,end", "a,x,2"], "row 2: 'x' and '2' are not times"),
        ("e.csv", ["video,start,end", "a,3,2"], "not a valid span"),
        ("e.csv", ["video,start,end,kind", "a,,,fire"], "'fire' has no times"),
        ("e.csv", ["video,start,end", "b,1,2"], "none of the 1 labelled videos exists: b"),
        ("e.csv", ["video,start,end", "a,1,2", "a.mp4,3,4"], "labelled twice"),
        ("e.csv", ["file,fire_per_frame", "a,0120"], "one 0 or 1 per frame"),
        ("u.txt", ["a.mp4 Abuse 165 240 -1 -1", "b.mp4 Abuse 165"], "neither those of UCF-Crime"),
        ("u.txt", ["a.mp4 Abuse 165 240 -1"], "not pairs of frames"),
        ("u.txt", ["a.mp4 Abuse -1 -1 -1 -1"], "a normal video has only -1"),
        ("u.txt", ["a.mp4 Normal 1 2 -1 -1"], "a normal video has only -1"),
        ("u.txt", ["a.mp4 Abuse 240 165 -1 -1"], "a normal video has only -1"),
        ("x.txt", ["a_label_B1-0-0 10 5"], "are not spans"),
        ("x.txt", ["a_label_B1-0-0 10"], "not pairs of frames"),
        ("x.txt", [""], "not a list of anomalies"),
    ],
)
def test_invalid_labels_are_rejected(name: str, lines: list[str], complaint: str, tmp_path: Path) -> None:
    videos = VideoNames(["a.mp4", "a_label_B1-0-0.mp4"])
    with pytest.raises(InvalidInputError, match=complaint):
        load_labels(write(tmp_path, *lines, name=name), videos)


def test_missing_annotations_are_one_error(tmp_path: Path) -> None:
    for name in ("e.csv", "annotations.txt"):
        with pytest.raises(MediaNotFoundError, match="does not exist"):
            load_labels(tmp_path / name, VideoNames(["a.mp4"]))
    with pytest.raises(InvalidInputError, match="there are no labels"):
        load_labels(None, VideoNames(["a.mp4"]))
