"""How the page is run: who may see it, and what may be added."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from var_plugin.errors import InvalidInputError
from var_plugin.settings import is_loopback, settings

LOOPBACK = "127.0.0.1"


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
    """Per file."""
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

    def check(self) -> None:
        """Refuse what would let strangers in unasked.

        Raises:
            InvalidInputError: as it says.
        """
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
