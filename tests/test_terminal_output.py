"""The command line on real terminals: one progress bar per run, and escaping of control characters in names."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import sys
import termios
import threading
from pathlib import Path

import pytest

from tests.colors import DESCRIPTION
from tests.films import Film, textured
from var_plugin import cli
from var_plugin.encoders import registry as suites


@pytest.fixture(autouse=True)
def colors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated_home: Path) -> None:
    from var_plugin.config import settings

    monkeypatch.setattr(suites, "_BUILT_IN", (*suites._BUILT_IN, DESCRIPTION))
    monkeypatch.setenv("VAR_PLUGIN_SUITE", "colors")
    monkeypatch.setenv("VAR_PLUGIN_INDEX", str(tmp_path / "index.db"))
    settings.cache_clear()


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["var-plugin", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        cli.main()
        sys.exit(0)
    return int(raised.value.code or 0)


def run_on_terminal(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> tuple[int, str]:
    """Run a command with stderr on a pseudo-terminal. Return its exit code and the output on the terminal."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    blocks: list[bytes] = []

    def read() -> None:
        try:
            while block := os.read(controller, 65536):
                blocks.append(block)
        except OSError:  # raised when the pseudo-terminal is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patched, os.fdopen(terminal, "w", encoding="utf-8") as stderr:
        patched.setattr(sys, "stderr", stderr)
        code = main(monkeypatch, *arguments)
    reader.join()
    os.close(controller)
    return code, b"".join(blocks).decode()


def test_one_bar_covers_all_files_of_a_run(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        film(f"cams/{n}.mp4", seconds=2 + n, fps=4, paint=lambda time, n=n: textured(n, 32, 32))
    (film.folder / "cams/damaged.mp4").write_bytes(b"no film" * 1000)
    for command in (["index", film.folder / "cams"], ["index", film.folder / "cams"], ["reindex", "--suite", "colors"]):
        code, output = run_on_terminal(monkeypatch, *command)
        assert output.count("\n") == 1, "one bar"
        lines = [line for line in output.replace("\n", "\r").split("\r") if line.strip()]
        percentages = [int(match[1]) for line in lines if (match := re.match(r" *(\d+) %", line))]
        assert percentages == sorted(percentages)
        assert percentages[-1] == 100
        summary = "4 of 4 files, 1 failed [" if command[0] == "index" else "3 of 3 files ["
        assert (code, summary in lines[-1]) == (3 if command[0] == "index" else 0, True), lines[-1]
        assert "elapsed" in lines[-1]
        assert "left]" in lines[-1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_commands_escape_control_characters_of_names_in_any_encoding(
    film: Film, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    awkward, unstorable = "Zürich 北门 \u202e\u009b31m.mp4", "caf\udce9\x1b[2J\nstored  bank.mp4"
    film(f"cams/{awkward}", seconds=2, fps=4, paint=lambda time: textured(1, 32, 32))
    (film.folder / "cams" / unstorable).write_bytes(b"no film")

    def run(*arguments: str | Path) -> str:
        """Run a command on streams with a strict encoding. Return its output."""
        streams = [io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2)]
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", streams[0])
            patched.setattr(sys, "stderr", streams[1])
            main(monkeypatch, *arguments)
        texts = []
        for stream in streams:
            stream.flush()
            assert isinstance(stream.buffer, io.BytesIO)
            texts.append(stream.buffer.getvalue().decode(encoding))
        for text in texts:
            assert "Traceback" not in text
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028\ud800-\udfff]", text)
            assert not any(line.startswith("stored  bank") for line in text.splitlines())
        return texts[0]

    run("index", film.folder / "cams")
    receipt = json.loads(run("index", film.folder / "cams", "--json"))
    names = {Path(line["path"]).name: line["status"] for line in receipt["videos"]}
    assert names == {awkward: "unchanged", unstorable: "failed"}
    assert run("search", "red").count("\n") >= 4
    (moment,) = json.loads(run("search", "red", "--json"))
    assert Path(moment["uri"]).name == awkward
    for arguments in (
        ["videos"], ["videos", "--json"], ["export", moment["id"], film.folder / "out\x1b[2J\x07.mp4"],
        ["delete", "\x1b[2J"], ["index", film.folder / "no\x1b[2Jthing\u2028"], ["verify"], ["fly\x1b[2J"],
        ["reindex", "--suite", "colors"], ["search", "--image", film.folder / "a\x1b[2J.png"],
    ):  # fmt: skip
        run(*arguments)


def test_log_record_is_one_line_without_control_characters() -> None:
    record = logging.makeLogRecord({"msg": "no thumbnail: %s", "args": ("a\nstored  b\x1b[2J\u202e",)})
    assert cli.LogFormatter().format(record) == r"no thumbnail: a\nstored  b\x1b[2J\u202e"
