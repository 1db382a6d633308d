from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from var_plugin import errors
from var_plugin.errors import InvalidInputError, VarPluginError, error_classes, field_errors, os_error_message


def test_an_error_is_one_line_of_what_why_and_fix() -> None:
    assert str(InvalidInputError("no clip", why="it ends\nbefore it begins.", fix="name a later end")) == (
        "no clip: it ends before it begins; name a later end"
    )


def test_the_message_of_an_os_error_has_neither_number_nor_path(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        (tmp_path / "none").read_bytes()
    assert os_error_message(caught.value) == "No such file or directory"
    assert os_error_message(ValueError("an odd number")) == "an odd number"


class Camera(BaseModel):
    names: list[str] = ["north"]
    days: int = 1

    @field_validator("days")
    @classmethod
    def _some(cls, days: int) -> int:
        if days < 1:
            raise ValueError("no day is left")
        return days


def test_a_validation_error_names_the_path_of_the_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Camera.model_validate({"names": ["north", 3], "days": 0})
    names, days = field_errors(caught.value)
    assert str(names) == "names.1: Input should be a valid string"
    assert days == ("days", "no day is left")
    assert str(field_errors(caught.value, inside=1)[1]) == "no day is left"


def test_each_family_has_its_own_exit_code_and_its_errors_share_it() -> None:
    families = VarPluginError.__subclasses__()
    codes = [family.exit_code for family in families]
    assert sorted(codes) == list(range(2, 2 + len(families))), "0 is success, 1 is an unexpected error"
    for family in families:
        assert family.__subclasses__(), family
        assert {error.exit_code for error in family.__subclasses__()} == {family.exit_code}


def test_the_documented_exit_codes_are_those_of_the_families() -> None:
    rows = re.findall(r"^\| (\d) \| `(\w+)` \|", str(errors.__doc__), re.MULTILINE)
    kinds = (VarPluginError, *VarPluginError.__subclasses__())
    assert rows == [(str(kind.exit_code), kind.__name__) for kind in kinds]


def test_every_error_belongs_to_one_family() -> None:
    defined = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, VarPluginError) and kind is not VarPluginError
    }
    assert {*VarPluginError.__subclasses__(), *error_classes()} == defined
    assert len(error_classes()) == len(set(error_classes()))
