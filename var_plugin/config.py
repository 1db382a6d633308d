"""Every default in one place. Each can be set by an environment variable: VAR_PLUGIN_ and the name in capitals."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from var_plugin.errors import InvalidInputError, MissingDependencyError, field_errors

APP_NAME = "var-plugin"
_PREFIX = "VAR_PLUGIN_"
_TIME_GROUPS = {"year", "month", "day", "hour", "minute", "second"}


class CameraClock(BaseModel):
    """What is known about the clock of one camera; as JSON {"zone": "Europe/Berlin", "offset": -90}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zone: ZoneInfo | None = None
    """The zone of its local times; None: unknown, and times without a zone are not used."""
    offset: timedelta = timedelta()
    """Added to what the camera says: negative for a clock that is fast. As JSON in seconds."""
    pattern: re.Pattern[str] | None = None
    """Finds the time in its files' names, by groups year, month, day, hour, minute, second and, if it likes, zone.
    None: the usual ways of writing it.
    """

    @field_validator("pattern")
    @classmethod
    def _tells_a_time(cls, pattern: re.Pattern[str] | None) -> re.Pattern[str] | None:
        if pattern and (missing := _TIME_GROUPS - pattern.groupindex.keys()):
            raise ValueError(f"the pattern lacks the groups {', '.join(sorted(missing))}")
        return pattern


class Settings(BaseSettings):
    """How videos are cut, embedded, stored and searched."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    index: str = Field(
        default_factory=lambda: str(user_data_path(APP_NAME) / "index.db"),
        description="where the index lies: a path (Milvus Lite) or the URI of a Milvus server",
    )
    token: SecretStr = Field(
        default=SecretStr(""), description="what the Milvus server asks for, user:password or an API key"
    )
    cache: Path = Field(
        default_factory=lambda: user_cache_path(APP_NAME),
        description="folder for what can be made again: thumbnails, converted weights",
    )
    cache_bytes: int = Field(
        default=2_000_000_000,
        ge=0,
        description="quota for the thumbnails and clips in the cache; the least recently used are removed",
    )
    alerts: Path = Field(
        default_factory=lambda: user_data_path(APP_NAME) / "alerts.json", description="file of the saved queries"
    )
    recordings: Path = Field(
        default_factory=lambda: user_data_path(APP_NAME) / "recordings",
        description="folder for what is recorded from streams, one folder per camera",
    )
    data: Path = Field(
        default_factory=lambda: user_data_path(APP_NAME),
        description="folder for what must be kept: footage added on the page, marks",
    )
    suite: str = Field(default="lite", description="the suite that makes new indexes, and encodes where there is none")

    model_dir: Path = Field(
        default_factory=lambda values: values["data"] / "models",
        description="folder with pretrained models by their names on the hub, looked at before the hub; default: the "
        "folder models in that of the data",
    )
    device: str = Field(
        default="", description="where pretrained models run, such as cuda:1; default: a GPU, or the CPU"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="data type that pretrained models compute in"
    )

    optical_flow: Literal["tvl1", "dis"] = Field(
        default="tvl1", description="how I3D's motion is computed: as it was trained, or much faster by DIS"
    )

    api_keys: SecretStr = Field(default=SecretStr(""), description="keys that the server accepts, separated by commas")
    app_users: SecretStr = Field(
        default=SecretStr(""), description="who may see the page: name:password, separated by commas"
    )

    zone: ZoneInfo | None = Field(
        default=None, description="time zone of cameras whose files tell local time, such as Europe/Berlin"
    )
    cameras: Annotated[dict[str, CameraClock], NoDecode] = Field(
        default_factory=dict,
        description='as JSON, the clocks of cameras that have one of their own: {"north": {"offset": -90}}',
    )

    fps: float = Field(default=2.0, gt=0, description="frames looked at per second of video")
    segment_seconds: float = Field(default=8.0, gt=0, description="length of a uniform segment")
    merge_threshold: float = Field(
        default=0.98, gt=0, le=1, description="cosine from which neighbouring segments count as the same"
    )
    max_merged_seconds: float = Field(default=64.0, gt=0, description="longest segment made of static neighbours")

    anomaly_threshold: float = Field(
        default=0.3, gt=0, le=1, description="anomaly score from which a peak gets a segment of its own"
    )

    min_confidence: float = Field(
        default=0.15, ge=0, le=1, description="confidence below which an answer is called 'nothing like that here'"
    )
    moment_seconds: float = Field(default=60.0, gt=0, description="longest moment grown around a peak")
    moment_score_ratio: float = Field(
        default=0.8, gt=0, le=1, description="a neighbour joins a moment from this share of the peak's score on"
    )
    moments_per_video: int = Field(
        default=3, ge=1, description="so many moments of one video before those of other videos get their turn"
    )

    @field_validator("cameras", mode="before")
    @classmethod
    def _from_json(cls, cameras: Any) -> Any:
        return json.loads(cameras) if isinstance(cameras, str) else cameras

    def clock(self, camera: str) -> CameraClock:
        """Return what is known about the clock of a camera."""
        known = self.cameras.get(camera, CameraClock())
        return known if known.zone else known.model_copy(update={"zone": self.zone})


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read from the environment once.

    Raises:
        InvalidInputError: a variable of the environment has a value that it cannot have.
    """
    try:
        return Settings()
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        field = Settings.model_fields[name].description
        raise InvalidInputError(
            f"the environment variable {_PREFIX}{name.upper()} cannot be used",
            why=str(field_errors(error, inside=1)[0]),
            fix=f"unset it, or give it what it stands for, {field}",
        ) from error


def environment() -> dict[str, str]:
    """Return the environment variables that set something, but for secrets: what another process needs to do alike."""
    secret = {
        f"{_PREFIX}{name.upper()}" for name, field in Settings.model_fields.items() if field.annotation is SecretStr
    }
    ours = {name: value for name, value in os.environ.items() if name.upper().startswith(_PREFIX)}
    return {name: value for name, value in ours.items() if name.upper() not in secret}


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches what listens at an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require(extra: str, *modules: str) -> None:
    """Raise `MissingDependencyError` with the command that mends it unless all modules of the extra are installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"the Python package {', '.join(missing)} is not installed",
            why="this needs more than searching does",
            fix=f"pip install 'var-plugin[{extra}]'",
        )
