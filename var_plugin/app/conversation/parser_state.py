"""The state of the parser, and the rules that change it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.request import ChatRequest
from var_plugin.app.conversation.times import UnclearTimeError

_STOP_WORDS = re.compile(
    r"(?:[\s;,.!?:]|\b(?:only|just|show|me|us|the|this|that|those|these|them|it|ones?|please|find|give|get|can|could|you|"
    r"i|want|to|see|what|happened|was|were|is|are|there|now|then|and|but|or|ok|okay|also|again|moments?|results?|clips?|"
    r"videos?|something|anything|everything|things?|all|of|with|for|about|how|at|on|in|from|limit|search|look|"
    r"filter|keep|restrict|narrow|down|same|a|bit|much)\b)*",
    re.IGNORECASE,
)

_SEPARATORS = (r"^", r"(?<=[;,.!?] )", r"(?<=\band )", r"(?<=\bbut )", r"(?<=\bonly )", r"(?<=\bjust )", r"(?<=\bnow )")
CLAUSE_START = rf"(?:{'|'.join(_SEPARATORS)})"
"""Start of a clause. Words inside a description belong to the description."""
CLAUSE_END = (
    r"(?=\s*(?:$|[;,.!?])|\s+(?:and|or|but|on|at|in|from|before|after|between|until|since|only|please|with|without|first"
    r"|then|too|also|instead|again)\b)"
)

# Replaces matched words, so that the words on both sides of it are not joined.
GAP = " ; "


def tidy(words: str) -> str:
    """Strip punctuation. Return an empty string for stop words alone."""
    words = words.strip(" ,.?!:-")
    return "" if _STOP_WORDS.fullmatch(words) else words


@dataclass
class ParseState:
    """The unparsed rest of a message, and the changes to the previous request so far."""

    rest: str
    """The words that no rule has matched yet."""
    previous: ChatRequest
    context: Context
    changes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences for the user about parts that cannot be applied."""
    movable: set[str] = field(default_factory=set)
    """Those of `after` and `before` that are a time of day without a day."""

    def current(self, name: str) -> Any:
        """Return the current value of a request field: the changed value, else the one of the previous request."""
        return self.changes.get(name, getattr(self.previous, name))

    def change(self, **parts: Any) -> None:
        """Set fields of the request."""
        self.changes.update(parts)


Apply = Callable[[re.Match[str], ParseState], None]
"""Applies a match to the parser state."""


@dataclass(frozen=True)
class Rule:
    """A pattern and its effect. Matched words are removed from the message."""

    pattern: re.Pattern[str]
    apply: Apply

    def run(self, state: ParseState) -> None:
        """Apply the rule to every match in the message."""
        while match := self.pattern.search(state.rest):
            state.rest = (state.rest[: match.start()] + GAP + state.rest[match.end() :]).strip()
            try:
                self.apply(match, state)
            except UnclearTimeError as error:
                state.notes.append(f"{error}; this part is ignored")


def rule(pattern: str, apply: Apply) -> Rule:
    """Return a rule that matches whole words, ignoring case."""
    return Rule(re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE), apply)


def group_text(match: re.Match[str], group: str | int = 0) -> str:
    """Return the text of a group in lower case; empty if it did not take part in the match."""
    return (match[group] or "").lower()
