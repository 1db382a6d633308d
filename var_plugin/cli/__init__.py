"""The command line: parses, calls the library, prints. Results go to stdout, progress and errors to stderr.

With `--json` stdout is one JSON document. The exit code is 0 only when everything asked for was done; errors have a
code each (`var_plugin.errors`).
"""

from __future__ import annotations

from var_plugin.cli import cameras, care, footage, learning, models, programs
from var_plugin.cli.shared import app
from var_plugin.errors import told_in_a_line

__all__ = ["app", "cameras", "care", "footage", "learning", "main", "models", "programs"]


def main() -> None:
    """Run the command line; a known error is one line on stderr and an exit code of its own."""
    with told_in_a_line("var-plugin"):
        app()
