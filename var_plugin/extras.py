"""The packages that only an extra of this one brings."""

from __future__ import annotations

from importlib.util import find_spec

from var_plugin.errors import MissingDependencyError


def require(extra: str, *modules: str) -> None:
    """Raise `MissingDependencyError` with the command that mends it unless all modules of the extra are installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"the Python package {', '.join(missing)} is not installed",
            why="this needs more than searching does",
            fix=f"pip install 'var-plugin[{extra}]'",
        )
