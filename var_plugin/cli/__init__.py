"""The command line: parses, calls the library, prints. Results go to stdout, progress and errors to stderr.

With `--json` stdout is one JSON document. The exit code is 0 only when everything asked for was done; errors have a
code each (`var_plugin.errors`).
"""

from __future__ import annotations

import logging
import sys
import traceback

from var_plugin.cli import index as footage
from var_plugin.cli import maintenance as care
from var_plugin.cli import models
from var_plugin.cli import serve as programs
from var_plugin.cli import training as learning
from var_plugin.cli import watch as cameras
from var_plugin.cli.options import app
from var_plugin.errors import VarPluginError, exit_on_error
from var_plugin.escaping import printable, safe_streams

__all__ = ["app", "cameras", "care", "footage", "learning", "main", "models", "programs"]


class LogFormatter(logging.Formatter):
    """Formats a log record as one line of visible characters, and its traceback below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name that logging calls)
        return printable(super().formatMessage(record))


def main() -> None:
    """Run the command line; a known error is one line on stderr and an exit code of its own."""
    if logging.lastResort:  # the handler of warnings where a program has configured no other
        logging.lastResort.setFormatter(LogFormatter())
    with safe_streams(), exit_on_error("var-plugin"):
        try:
            app()
        except Exception as error:
            if isinstance(error, VarPluginError):
                raise
            traceback.print_exc()  # here, where control characters in it are escaped
            sys.exit(1)
