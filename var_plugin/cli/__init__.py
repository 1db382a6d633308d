"""The command line. Results go to stdout, progress and errors to stderr.

With `--json`, stdout is one JSON document. The exit code is 0 only if everything requested was done. Each family of
errors has its own exit code (`var_plugin.errors`).
"""

from __future__ import annotations

import logging
import sys
import traceback

from var_plugin.cli import anomalies, index, maintenance, models, serve, training, watch
from var_plugin.cli.options import app
from var_plugin.errors import VarPluginError, exit_on_error
from var_plugin.escaping import printable, safe_streams

# Importing the modules registers their commands.
__all__ = ["anomalies", "app", "index", "main", "maintenance", "models", "serve", "training", "watch"]


class LogFormatter(logging.Formatter):
    """Formats a log record as one line without control characters. A traceback follows on its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (name of the overridden method)
        return printable(super().formatMessage(record))


def main() -> None:
    """Run the command line. A `VarPluginError` becomes one line on stderr and its exit code."""
    if logging.lastResort:  # handles warnings if no logging is configured
        logging.lastResort.setFormatter(LogFormatter())
    with safe_streams(), exit_on_error("var-plugin"):
        try:
            app()
        except Exception as error:
            if isinstance(error, VarPluginError):
                raise
            traceback.print_exc()  # inside safe_streams, which escapes control characters
            sys.exit(1)
