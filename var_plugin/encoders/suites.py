"""The suites there are, as data. Other packages add theirs through the entry-point group `var_plugin.suites`.

A new suite is one entry here (or one `SuiteDescription` behind an entry point) and a function that builds its encoders.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from var_plugin.encoders.suite import Suite, SuiteDescription
from var_plugin.errors import UnknownSuiteError

_LITE = SuiteDescription(
    name="lite",
    summary="EfficientNet-Lite0, YAMNet and MiniLM; works at once on a CPU with no network",
    spaces={"scene": ("text", "image", "video"), "sound": ("audio", "text")},
    code_licence="Apache-2.0",
    weights_licence="towers: research and non-commercial (Flickr8k); MiniLM: MIT; EfficientNet-Lite0: not stated",
    revision="1",
    megabytes=116,
    languages=("en",),
    needs_network=False,
    build="var_plugin.encoders.lite:build",
)

_BUILT_IN = (_LITE,)
_ENTRY_POINTS = "var_plugin.suites"


def descriptions() -> dict[str, SuiteDescription]:
    """Return every suite that can be named: the built-in ones, then those of installed packages."""
    found = {description.name: description for description in _BUILT_IN}
    for entry in entry_points(group=_ENTRY_POINTS):
        found.setdefault(entry.name, entry.load())
    return found


def load_suite(name: str = "lite") -> Suite:
    """Return the suite of that name; its weights load at first use.

    Raises:
        UnknownSuiteError: no such suite.
    """
    known = descriptions()
    if name not in known:
        raise UnknownSuiteError(f"no suite is called '{name}'", why=f"there are: {', '.join(known)}", fix="choose one")
    module, _, function = known[name].build.partition(":")
    return Suite(known[name], getattr(import_module(module), function)())
