from __future__ import annotations

from pathlib import Path

import pytest

from tests.data import data_folder
from var_plugin.errors import InvalidInputError, MediaNotFoundError
from var_plugin.evaluation.benchmarks.xdviolence_ar import LIST_FILES
from var_plugin.evaluation.captions import CaptionedVideo, load_captions


def videos(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "cams" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder / "cams"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "captions.csv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def test_a_table_names_videos_by_name_or_path(tmp_path: Path) -> None:
    cams = videos(tmp_path, "north/a.mp4", "b.mkv")
    path = table(
        tmp_path,
        "video,caption,start,end,anomalous",
        'a,"a man, running",1.5,4,yes',
        "north/a.mp4,a street,,,0",
        "b.mkv,nothing,,,",
    )
    assert load_captions("own", cams, path, "test") == [
        CaptionedVideo(cams / "north/a.mp4", "a man, running", (1.5, 4.0), True),
        CaptionedVideo(cams / "north/a.mp4", "a street", None, False),
        CaptionedVideo(cams / "b.mkv", "nothing", None, None),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["video,text", "a,b"], "it has video, text"),
        (["video,caption,colour", "a,b,c"], "are optional"),
        (["video,caption"], "has no row"),
        (["video,caption", "a,"], "row 2: the caption is empty"),
        (["video,caption,anomalous", "a,b,perhaps"], "anomalous is 'perhaps'"),
        (["video,caption,start,end", "a,b,1,"], "'1' and '' are not times"),
        (["video,caption,start,end", "a,b,4,4"], "4 to 4 s is not a valid span"),
        (["video,caption,start,end", "a,b,nan,4"], "is not a valid span"),
        (["video,caption,start,end", "a,b,1,inf"], "is not a valid span"),
        (["video,caption", "a,a man, running"], "row 2: the row has more cells .* quote cells"),
        (["video,caption", f'a,"{"b" * 200_000}"'], "cannot read .* as CSV: field larger"),
    ],
)
def test_invalid_table_is_rejected(lines: list[str], message: str, tmp_path: Path) -> None:
    cams = videos(tmp_path, "a.mp4")
    with pytest.raises(InvalidInputError, match=message):
        load_captions("own", cams, table(tmp_path, *lines), "test")


def test_an_undecodable_table_is_one_error(tmp_path: Path) -> None:
    cams, path = videos(tmp_path, "a.mp4"), tmp_path / "captions.csv"
    path.write_bytes(b"video,caption\na,caf\xe9\n")
    with pytest.raises(InvalidInputError, match=r"cannot read .* save it as UTF-8 CSV"):
        load_captions("own", cams, path, "test")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff", b"{", b"[" * 100_000, b"[]", b'{"a": 3}', b'{"a": {"sentences": ["x"]}}',
        b'{"a": {"timestamps": [[0, 1]], "sentences": []}}', b'{"a": {"timestamps": [[0]], "sentences": ["x"]}}',
        b'{"a": {"timestamps": [[0, NaN]], "sentences": ["x"]}}', b'{"a": {"timestamps": [[0, 1]], "sentences": [3]}}',
    ],
)  # fmt: skip
def test_damaged_annotations_of_uca_are_one_error(tmp_path: Path, content: bytes) -> None:
    cams = videos(tmp_path, "a.mp4")
    (tmp_path / "UCFCrime_Test.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"UCFCrime_Test\.json.*download the file again"):
        load_captions("uca", cams, tmp_path, "test")


def test_a_list_of_xdviolence_that_is_no_text_is_one_error(tmp_path: Path) -> None:
    (tmp_path / LIST_FILES["test"]).write_bytes(b"\xff\xfe\n")
    with pytest.raises(InvalidInputError, match=r"cannot read .*download the file again"):
        load_captions("xdviolence-ar", videos(tmp_path, "a.mp4"), tmp_path, "test")


def test_missing_videos_are_counted_and_named(tmp_path: Path) -> None:
    cams = videos(tmp_path, "a.mp4")
    with pytest.raises(MediaNotFoundError, match=r"2 of 3 videos are missing .*: b, c"):
        load_captions("own", cams, table(tmp_path, "video,caption", "a,x", "b,x", "c,x"), "test")
    with pytest.raises(MediaNotFoundError, match="pass a CSV table"):
        load_captions("own", cams, tmp_path / "none.csv", "test")
    for name in ("uca", "ucfcrime-ar", "xdviolence-ar"):
        with pytest.raises(MediaNotFoundError):
            load_captions(name, cams, tmp_path, "test")  # type: ignore[arg-type]


def test_uca_sentences_have_times(tmp_path: Path) -> None:
    uca = data_folder("uca")
    import json

    listed = json.loads((uca / "UCFCrime_Test.json").read_text())
    cams = videos(tmp_path, *(f"{name}.mp4" for name in listed))
    examples = load_captions("uca", cams, uca, "test")
    assert (len({example.video for example in examples}), len(examples)) == (310, 4331)
    assert examples[0].span == (1.2, 8.2)
    assert all(example.caption for example in examples)
    assert all(example.span and example.span[0] < example.span[1] for example in examples)


def test_captions_of_ucfcrime_ar_find_their_videos(tmp_path: Path) -> None:
    released = data_folder("ucfcrime_ar")
    from var_plugin.evaluation.benchmarks.ucfcrime_ar import read_captions

    rows = read_captions(released, "test")
    cams = videos(tmp_path, *(f"{row.category}/{row.name}.mp4" for row in rows))
    examples = load_captions("ucfcrime-ar", cams, released, "test")
    assert (len(examples), sum(example.anomalous is True for example in examples)) == (290, 140)
