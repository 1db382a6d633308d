"""Measure the CPU time of a benchmark and of the decoder processes that it started."""

from __future__ import annotations

import os
import time
from pathlib import Path


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its living children."""
    total = time.process_time()
    for tasks in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in tasks.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
