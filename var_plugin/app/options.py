"""How the page is run: who may see it, and what may be added."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from var_plugin.config import is_loopback, settings
from var_plugin.errors import InvalidInputError

LOOPBACK = "127.0.0.1"
READ_ONLY_FILE_BYTES = 50 * 2**20
"""Largest file that a visitor of a read-only page can send with a question."""


@dataclass(frozen=True)
class PageOptions:
    """What the person who starts the page decides. The defaults let nobody in from outside."""

    host: str = LOOPBACK
    port: int | None = None
    """None: the first free one from 7860 on."""
    share: bool = False
    """A public address by way of Gradio's servers; asks for a login."""
    users: tuple[tuple[str, str], ...] = ()
    """Names and passwords; none: no login."""
    open_to_all: bool = False
    """Others may come in without a login: for a public demonstration."""
    read_only: bool = False
    """Nothing is added or deleted on the page."""
    max_upload: str = "2gb"
    """Largest file, as a number and one of the units b, kb, mb, gb, tb; at most 50 MB on a read-only page."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names that browsers use for the page, such as that of a proxy."""
    framed_by: tuple[str, ...] = ()
    """Origins whose pages may show the page in a frame, such as `https://huggingface.co`."""
    notice: str = ""
    """A sentence that stands at the top of the page, for its visitors."""
    mcp: bool = False
    """Offer the tools to assistants at /gradio_api/mcp; on this machine only."""
    model: str | None = None
    """A chat model of LangChain, `provider:name`, that reads the messages; None: the page's own grammar."""
    zone: tzinfo = field(default_factory=lambda: settings().zone or UTC)
    """The time zone of the clock times said and shown; the setting `zone`, else UTC."""

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the page."""
        return not self.share and is_loopback(self.host)

    @property
    def max_file_bytes(self) -> int:
        """Largest file that can be uploaded.

        Raises:
            InvalidInputError: `max_upload` is not a size.
        """
        size = parse_size(self.max_upload)
        return min(size, READ_ONLY_FILE_BYTES) if self.read_only else size

    def check(self) -> None:
        """Refuse what would let strangers in unasked.

        Raises:
            InvalidInputError: as it says.
        """
        parse_size(self.max_upload)
        if not self.local and not self.users and not self.open_to_all:
            raise InvalidInputError(
                f"the page at {'a shared address' if self.share else self.host} would be open to everybody",
                why="no login is set",
                fix="set VAR_PLUGIN_APP_USERS=name:password, or say --open-to-all",
            )
        if self.mcp and (not self.local or self.users):
            raise InvalidInputError(
                "the MCP endpoint has no login",
                why="assistants cannot fill in the page's form",
                fix="leave --mcp for a page on this machine without users, or run var-plugin mcp behind a proxy",
            )


def parse_size(text: str) -> int:
    """Return the bytes of a size such as "500mb" or "2 GB"; 1 kB is 1024 bytes.

    Raises:
        InvalidInputError: it is not a size.
    """
    match = re.fullmatch(r"(\d{1,6}) ?([kmgt]?b)", text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise InvalidInputError(f"'{text}' is not the size of an upload", fix="write a number and a unit, as in 500mb")
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
            raise InvalidInputError("a user of the page lacks a name or a password", fix="write name:password")
        users.append((name, password))
    return tuple(users)
