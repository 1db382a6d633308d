"""The packages that only training and evaluation need."""

from __future__ import annotations

from importlib.util import find_spec

from var_plugin.errors import MissingDependencyError


def require(*modules: str) -> None:
    """Raise `MissingDependencyError` with the command that mends it unless all modules can be imported."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"the Python package {', '.join(missing)} is not installed",
            why="training and evaluation need more than searching does",
            fix="pip install 'var-plugin[train]'",
        )
