"""Settings with their defaults. The environment variable of a setting is VAR_PLUGIN_ and its name in capitals."""

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
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from var_plugin.errors import InvalidSettingError, MissingDependencyError, field_errors

APP_NAME = "var-plugin"
_PREFIX = "VAR_PLUGIN_"
DEFAULT_FPS = 2.0
"""Default of the setting `fps`."""
DEFAULT_SEGMENT_SECONDS = 8.0
"""Default of the setting `segment_seconds`."""
_TIME_GROUPS = {"year", "month", "day", "hour", "minute", "second"}


def _check_zone_name(name: object) -> object:
    # `ZoneInfo` raises a UnicodeEncodeError, which pydantic does not convert.
    if isinstance(name, str) and not name.isascii():
        raise ValueError("names of time zones are ASCII")
    return name


Zone = Annotated[ZoneInfo, BeforeValidator(_check_zone_name)]
"""A time zone of the IANA database."""


class CameraClock(BaseModel):
    """Time zone and error of the clock of one camera. JSON: {"zone": "Europe/Berlin", "offset": -90}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zone: Zone | None = None
    """Time zone of local times. None: unknown; local times are not used."""
    offset: timedelta = timedelta()
    """Added to times of the camera. Negative for a clock that is ahead. In JSON: seconds."""
    pattern: re.Pattern[str] | None = None
    """Pattern of the time in file names, with the groups year, month, day, hour, minute, second and optionally zone.
    None: the usual formats.
    """

    @field_validator("pattern")
    @classmethod
    def _check_groups(cls, pattern: re.Pattern[str] | None) -> re.Pattern[str] | None:
        if pattern and (missing := _TIME_GROUPS - pattern.groupindex.keys()):
            raise ValueError(f"the pattern lacks the groups {', '.join(sorted(missing))}")
        return pattern


class _Options(BaseModel):
    """Base class of the values that are passed down from the settings."""

    model_config = ConfigDict(frozen=True)

    cache: Path = Field(
        default_factory=lambda: user_cache_path(APP_NAME),
        description="folder for derived files: thumbnails, clips, converted weights",
    )
    data: Path = Field(
        default_factory=lambda: user_data_path(APP_NAME),
        description="folder for persistent data: footage uploaded on the page, feedback",
    )


class ModelOptions(_Options):
    """How pretrained models are found and run."""

    model_dir: Path = Field(
        default_factory=lambda values: values["data"] / "models",
        description="folder of pretrained models by their Hugging Face names, searched before the Hub; default: the "
        "subfolder models of the data folder",
    )
    device: str = Field(
        default="",
        description="device of pretrained models, such as cuda:1; default: a GPU if there is one, else the CPU",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="compute data type of pretrained models"
    )
    optical_flow: Literal["tvl1", "dis"] = Field(
        default="tvl1", description="optical flow for I3D: tvl1 as in its training, or dis, which is much faster"
    )
    fps: float = Field(default=DEFAULT_FPS, gt=0, description="frames per second of video that are analysed")
    remote_api_key: SecretStr = Field(default=SecretStr(""), description="API key for the server of a remote suite")
    remote_timeout: float = Field(
        default=120.0, gt=0, description="seconds to wait for an answer of the server of a remote suite"
    )
    remote_retries: int = Field(
        default=5, ge=0, description="how often a request is repeated if that server is busy or does not answer"
    )


class IndexOptions(_Options):
    """How an index cuts, dates, searches and caches footage."""

    suite: str = Field(default="lite", description="suite of new indexes, and of encoding without an index")
    cache_bytes: int = Field(
        default=2_000_000_000,
        ge=0,
        description="quota for the thumbnails and clips in the cache; the least recently used are removed",
    )

    zone: Zone | None = Field(
        default=None, description="time zone of cameras that use local time, such as Europe/Berlin"
    )
    cameras: Annotated[dict[str, CameraClock], NoDecode] = Field(
        default_factory=dict,
        description='clocks of single cameras as JSON: {"north": {"offset": -90}}',
    )

    segment_seconds: float = Field(
        default=DEFAULT_SEGMENT_SECONDS, gt=0, description="length of a uniform segment in seconds"
    )
    merge_threshold: float = Field(
        default=0.98, gt=0, le=1, description="cosine similarity at which neighbouring segments are merged"
    )
    max_merged_seconds: float = Field(default=64.0, gt=0, description="maximum length of a merged segment in seconds")
    anomaly_threshold: float = Field(
        default=0.3, gt=0, le=1, description="anomaly score at which a peak gets a segment of its own"
    )

    moment_seconds: float = Field(default=60.0, gt=0, description="maximum length of a moment in seconds")
    moment_score_ratio: float = Field(
        default=0.8, gt=0, le=1, description="minimum score of a neighbour that joins a moment, relative to the peak"
    )
    moments_per_video: int = Field(
        default=3, ge=1, description="maximum number of moments per video before moments of other videos"
    )

    @field_validator("cameras", mode="before")
    @classmethod
    def _from_json(cls, cameras: Any) -> Any:
        try:
            return json.loads(cameras) if isinstance(cameras, str) else cameras
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


class Settings(ModelOptions, IndexOptions, BaseSettings):
    """All settings. They are read at the edges of the program and passed down as values."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    index: str = Field(
        default_factory=lambda: str(user_data_path(APP_NAME) / "index.db"),
        description="location of the index: a path (Milvus Lite) or the URI of a Milvus server",
    )
    token: SecretStr = Field(
        default=SecretStr(""), description="credentials for the Milvus server, user:password or an API key"
    )
    alerts: Path = Field(
        default_factory=lambda: user_data_path(APP_NAME) / "alerts.json", description="file of the saved alerts"
    )
    mqtt_password: SecretStr = Field(default=SecretStr(""), description="password for MQTT brokers that receive alerts")
    recordings: Path = Field(
        default_factory=lambda: user_data_path(APP_NAME) / "recordings",
        description="folder for recordings of streams, with a subfolder per camera",
    )
    api_keys: SecretStr = Field(default=SecretStr(""), description="keys that the server accepts, separated by commas")
    app_users: SecretStr = Field(
        default=SecretStr(""), description="users of the page as name:password, separated by commas"
    )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process. The environment is read once.

    Raises:
        InvalidSettingError: An environment variable has an invalid value.
    """
    try:
        return Settings()
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        field = Settings.model_fields[name].description
        raise InvalidSettingError(
            f"the environment variable {_PREFIX}{name.upper()} cannot be used",
            why=str(field_errors(error, inside=1)[0]),
            fix=f"unset it or correct it; it sets: {field}",
        ) from error


def environment() -> dict[str, str]:
    """Return the environment variables of the settings, without secrets, for a process with the same settings."""
    secrets = {
        f"{_PREFIX}{name.upper()}" for name, field in Settings.model_fields.items() if field.annotation is SecretStr
    }
    variables = {name: value for name, value in os.environ.items() if name.upper().startswith(_PREFIX)}
    return {name: value for name, value in variables.items() if name.upper() not in secrets}


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require(extra: str, *modules: str) -> None:
    """Raise `MissingDependencyError` with the install command unless all modules of the extra are installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"the Python package {', '.join(missing)} is not installed",
            why="this feature needs an optional dependency",
            fix=f"pip install 'var-plugin[{extra}]'",
        )
