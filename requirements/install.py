"""Install an extra of this checkout into a virtual environment and print one line per step.

    python3 requirements/install.py demo --venv .venv

The packages are those of `requirements/EXTRA.txt`: exact versions, as wheels with verified sha256 digests. `--newest`
installs the newest versions that `pyproject.toml` allows instead. The full output of pip is written to `install.log` in
the virtual environment. The script needs only Python's standard library.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TextIO

FOLDER = Path(__file__).resolve().parent
SUPPORTED_PYTHONS = ((3, 11), (3, 14))
# PyTorch's builds on other indexes have other digests than those on PyPI and do not need the CUDA packages.
TORCH_PACKAGES = re.compile(r"(torch|torchaudio|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==")
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off")
GIGABYTES = {"k": 1e-6, "M": 1e-3, "G": 1.0}
REPORT_SECONDS = 30


def main() -> None:
    """Read the arguments and run every step."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("extra", help="an extra of pyproject.toml: demo, dev, server, …")
    parser.add_argument("--venv", type=Path, required=True, help="virtual environment; created if missing")
    parser.add_argument("--torch-index", default="", help="package index with other builds of PyTorch")
    parser.add_argument("--newest", action="store_true", help="install the newest versions that pyproject.toml allows")
    options = parser.parse_args()
    python = virtual_environment(options.venv)
    editable = ("--editable", f"{FOLDER.parent}[{options.extra}]")
    with tempfile.TemporaryDirectory() as folder, (options.venv / "install.log").open("w") as log:
        if options.newest:
            steps = [Step("newest packages", editable)]
        else:
            steps = locked_steps(options.extra, options.torch_index, Path(folder, "locked.txt"))
            steps.append(Step("var-plugin", ("--no-deps", "--no-build-isolation", *editable)))
        for number, step in enumerate(steps, start=1):
            step.title = f"[{number}/{len(steps)}] {step.title}"
            if step.run([str(python), *PIP, *step.arguments], log):
                sys.exit(f"{failure_message(Path(log.name))}\nThe full output of pip is in {log.name}")


def virtual_environment(folder: Path) -> Path:
    """Create the virtual environment unless it exists, and return its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        if not SUPPORTED_PYTHONS[0] <= sys.version_info[:2] <= SUPPORTED_PYTHONS[1]:
            sys.exit(f"Python 3.11 to 3.14 is required, this is {sys.version.split()[0]}; choose: PYTHON=python3.12")
        print(f"Creating a virtual environment with Python {sys.version.split()[0]} in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return python


def locked_steps(extra: str, torch_index: str, requirements: Path) -> list[Step]:
    """Write the locked packages to the file `requirements` and return the steps that install them."""
    lock = entries((FOLDER / f"{extra}.txt").read_text())
    steps = []
    if torch_index:
        pins = [entry.split()[0] for entry in lock if entry.startswith(("torch==", "torchaudio=="))]
        lock = [entry for entry in lock if not TORCH_PACKAGES.match(entry)]
        steps.append(Step("PyTorch", ("--no-deps", "--index-url", torch_index, *pins), len(pins)))
    requirements.write_text("\n".join(lock) + "\n")
    arguments = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(requirements))
    return [*steps, Step("packages", arguments, len(lock))]


def entries(lock: str) -> list[str]:
    """Split a requirements file into its entries, each with the lines of its digests."""
    lines = (line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return [entry.strip() for entry in re.split(r"\n(?=\S)", "\n".join(lines)) if entry]


def failure_message(log: Path) -> str:
    """Return the errors that pip printed, or its last lines if there are none."""
    lines = log.read_text().splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("ERROR:")), len(lines) - 15)
    return "\n".join(lines[max(first, 0) :][:15])


class Step:
    """A run of pip whose progress is shown in one line."""

    def __init__(self, title: str, arguments: tuple[str, ...], packages: int = 0) -> None:
        self.title = title
        self.arguments = arguments
        self.total = f" of {packages}" if packages else ""
        self.state = "starting"
        self.packages = 0
        self.downloaded = 0.0
        self.start = time.monotonic()

    def run(self, command: list[str], log: TextIO) -> int:
        """Run pip, copy its output to the log and return its exit code."""
        finished = threading.Event()
        ticker = threading.Thread(target=self.report, args=(finished,))
        environment = {**os.environ, "PIP_NO_COLOR": "1"}
        self.start = time.monotonic()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as pip:
            assert pip.stdout
            ticker.start()
            try:
                for line in pip.stdout:
                    print(line, end="", file=log, flush=True)
                    self.read(line)
                self.state = "failed" if pip.wait() else f"done, {self.downloaded:.1f} GB downloaded"
            finally:
                finished.set()
                ticker.join()
        return pip.returncode

    def read(self, line: str) -> None:
        """Update the state from a line that pip printed."""
        if line.startswith("Installing collected packages"):
            self.state = "writing the files, which takes minutes"
        elif line.startswith(("Collecting ", "Ignoring ")):
            self.packages += 1
            self.state = f"package {self.packages}{self.total}, {self.downloaded:.1f} GB downloaded"
        elif match := re.match(r"\s*Downloading (\S+) \(([\d.]+) ([kMG])B\)", line):
            size = float(match[2]) * GIGABYTES[match[3]]
            self.state = f"package {self.packages}{self.total}, {self.downloaded:.1f} GB downloaded"
            if size > 0.05:
                name = "-".join(match[1].rpartition("/")[2].split("-")[:2])
                self.state += f", now {name} of {match[2]} {match[3]}B"
            self.downloaded += size

    def report(self, finished: threading.Event) -> None:
        """Update the line every second on a terminal; otherwise print one every 30 seconds and at the end."""
        terminal = sys.stdout.isatty()
        while True:
            ended = finished.wait(1 if terminal else REPORT_SECONDS)
            minutes, seconds = divmod(round(time.monotonic() - self.start), 60)
            line = f"{self.title}: {self.state} ({minutes}:{seconds:02})"
            if terminal:
                print(f"\r\x1b[K{line}", end="\n" if ended else "", flush=True)
            else:
                print(line, flush=True)
            if ended:
                return


if __name__ == "__main__":
    main()
