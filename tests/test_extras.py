from __future__ import annotations

import pytest

from var_plugin.errors import MissingDependencyError
from var_plugin.extras import require


def test_what_is_installed_is_enough() -> None:
    require("server", "json", "email.message")


def test_what_is_missing_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(MissingDependencyError, match=r"no_such_module is not .*pip install 'var-plugin\[server\]'"):
        require("server", "json", "no_such_module")
