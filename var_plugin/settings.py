"""Every default in one place. Each can be set by an environment variable: VAR_PLUGIN_ and the name in capitals."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from platformdirs import user_cache_path, user_data_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

APP_NAME = "var-plugin"


class Settings(BaseSettings):
    """How videos are cut, embedded, stored and searched."""

    model_config = SettingsConfigDict(env_prefix="VAR_PLUGIN_", frozen=True)

    index: str = Field(
        default_factory=lambda: str(user_data_path(APP_NAME) / "index.db"),
        description="where the index lies: a path (Milvus Lite) or the URI of a Milvus server",
    )
    cache: Path = Field(
        default_factory=lambda: user_cache_path(APP_NAME),
        description="folder for what can be made again: thumbnails, converted weights",
    )
    suite: str = Field(default="lite", description="the suite that embeds footage and queries")

    api_keys: str = Field(default="", description="keys that the server accepts, separated by commas")

    clip_rate: float = Field(default=2.0, gt=0, description="frames looked at per second of video")
    segment_seconds: float = Field(default=8.0, gt=0, description="length of a uniform segment")
    static_similarity: float = Field(
        default=0.98, gt=0, le=1, description="cosine from which neighbouring segments count as the same"
    )
    static_seconds: float = Field(default=64.0, gt=0, description="longest segment made of static neighbours")

    moment_seconds: float = Field(default=60.0, gt=0, description="longest moment grown around a peak")
    moment_share: float = Field(
        default=0.8, gt=0, le=1, description="a neighbour joins a moment from this share of the peak's score on"
    )
    moments_per_video: int = Field(
        default=3, ge=1, description="so many moments of one video before those of other videos get their turn"
    )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read from the environment once."""
    return Settings()
