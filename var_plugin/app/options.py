"""Options of the page: access, uploads, assistants."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from var_plugin.config import is_loopback, settings
from var_plugin.errors import InvalidInputError

LOOPBACK = "127.0.0.1"
READ_ONLY_FILE_BYTES = 50 * 2**20
"""Maximum size of an attachment on a read-only page."""


@dataclass(frozen=True)
class PageOptions:
    """Options of the page. By default only this machine can reach it."""

    host: str = LOOPBACK
    port: int | None = None
    """None: the first free port from 7860 on."""
    share: bool = False
    """Whether to get a public address from Gradio's servers; requires a login."""
    users: tuple[tuple[str, str], ...] = ()
    """Names and passwords; empty: no login."""
    open_to_all: bool = False
    """Whether other machines have access without a login, as for a public demo."""
    read_only: bool = False
    """Whether visitors can neither add nor delete footage."""
    max_upload: str = "2gb"
    """Maximum file size as a number with unit b, kb, mb, gb or tb; at most 50 MB on a read-only page."""
    allowed_hosts: tuple[str, ...] = ()
    """Further host names of the page, such as that of a proxy."""
    framed_by: tuple[str, ...] = ()
    """Origins that may show the page in a frame, such as `https://huggingface.co`."""
    notice: str = ""
    """A sentence shown at the top of the page."""
    mcp: bool = False
    """Whether to serve the MCP tools at /gradio_api/mcp; only on a local page without users."""
    model: str | None = None
    """A chat model of LangChain, `provider:name`, that reads the messages; None: the built-in parser."""
    zone: tzinfo = field(default_factory=lambda: settings().zone or UTC)
    """The time zone of clock times in messages and on the page. Default: the setting `zone`, else UTC."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return not self.share and is_loopback(self.host)

    @property
    def max_file_bytes(self) -> int:
        """Maximum size of an uploaded file in bytes.

        Raises:
            InvalidInputError: `max_upload` is not a size.
        """
        size = parse_size(self.max_upload)
        return min(size, READ_ONLY_FILE_BYTES) if self.read_only else size

    def check(self) -> None:
        """Refuse options that would open the page to strangers by accident.

        Raises:
            InvalidInputError: the page would be open without a login, or the MCP endpoint would have none.
        """
        parse_size(self.max_upload)
        if not self.is_local and not self.users and not self.open_to_all:
            raise InvalidInputError(
                f"the page at {'a shared address' if self.share else self.host} would be open to everyone",
                why="no login is set",
                fix="set VAR_PLUGIN_APP_USERS=name:password, or pass --open-to-all",
            )
        if self.mcp and (not self.is_local or self.users):
            raise InvalidInputError(
                "cannot serve the MCP endpoint on a page with users or a public address",
                why="assistants cannot use the login form of the page",
                fix="use --mcp on a local page without users, or run var-plugin mcp behind a proxy",
            )


def parse_size(text: str) -> int:
    """Return the number of bytes of a size such as "500mb" or "2 GB". 1 kB is 1024 bytes.

    Raises:
        InvalidInputError: the text is not a size.
    """
    match = re.fullmatch(r"(\d{1,6}) ?([kmgt]?b)", text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise InvalidInputError(f"'{text}' is not a file size", fix="write a number and a unit, as in 500mb")
    return int(match[1]) << 10 * ("b", "kb", "mb", "gb", "tb").index(match[2])


def parse_users(text: str) -> tuple[tuple[str, str], ...]:
    """Return names and passwords from "name:password,other:password".

    Raises:
        InvalidInputError: a name or a password is missing.
    """
    users = []
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, password = pair.partition(":")
        if not name or not password:
            raise InvalidInputError(
                "VAR_PLUGIN_APP_USERS has a user without a name or password", fix="write name:password"
            )
        users.append((name, password))
    return tuple(users)
