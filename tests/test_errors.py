from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from var_plugin.errors import InvalidInputError, VarPluginError, field_errors, os_error_message


def test_an_error_is_one_line_of_what_why_and_what_to_do() -> None:
    assert str(InvalidInputError("no clip", why="it ends\nbefore it begins.", fix="name a later end")) == (
        "no clip: it ends before it begins; name a later end"
    )


def test_what_a_library_said_has_neither_its_number_nor_the_path(tmp_path: Path) -> None:
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


def test_what_a_validator_says_names_the_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Camera.model_validate({"names": ["north", 3], "days": 0})
    names, days = field_errors(caught.value)
    assert str(names) == "names.1: Input should be a valid string"
    assert days == ("days", "no day is left")
    assert str(field_errors(caught.value, inside=1)[1]) == "no day is left"


def test_each_kind_has_a_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in VarPluginError.__subclasses__()]
    assert len(codes) == len(set(codes))
    assert all(1 < code < 126 for code in codes), "apart from those that a shell gives"
