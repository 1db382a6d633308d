"""The request in the making: what is left of a message, and what its parts have changed so far."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from var_plugin.app.conversation.context import Context
from var_plugin.app.conversation.request import Request
from var_plugin.app.conversation.times import UnclearTimeError

_SAYS_NOTHING = re.compile(
    r"(?:[\s;,.!?:]|\b(?:only|just|show|me|us|the|this|that|those|these|them|it|ones?|please|find|give|get|can|could|you|"
    r"i|want|to|see|what|happened|was|were|is|are|there|now|then|and|but|or|ok|okay|also|again|moments?|results?|clips?|"
    r"videos?|something|anything|everything|things?|all|of|with|for|about|how|at|on|in|from|limit|search|look|"
    r"filter|keep|restrict|narrow|down|same|a|bit|much)\b)*",
    re.IGNORECASE,
)

_SEPARATORS = (r"^", r"(?<=[;,.!?] )", r"(?<=\band )", r"(?<=\bbut )", r"(?<=\bonly )", r"(?<=\bjust )", r"(?<=\bnow )")
CLAUSE_START = rf"(?:{'|'.join(_SEPARATORS)})"
"""Where a part of a message can stand for itself; words in the middle of a description are left to the search."""
CLAUSE_END = (
    r"(?=\s*(?:$|[;,.!?])|\s+(?:and|or|but|on|at|in|from|before|after|between|until|since|only|please|with|without|first"
    r"|then|too|also|instead|again)\b)"
)

# Stands where a part of the message was understood: words on both sides of it do not belong together.
GAP = " ; "


def tidy(words: str) -> str:
    """Return a part of a message without the marks around it; empty where it only holds words that ask for nothing."""
    words = words.strip(" ,.?!:-")
    return "" if _SAYS_NOTHING.fullmatch(words) else words


@dataclass
class Draft:
    """A message that rules eat up, and the changes that they make to the request before it."""

    left: str
    before: Request
    context: Context
    changes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    movable: set[str] = field(default_factory=set)
    """Which of `after` and `before` is a time of day without a day of its own."""

    def current(self, name: str) -> Any:
        """Return a part of the request as it stands after the rules so far."""
        return self.changes.get(name, getattr(self.before, name))

    def change(self, **parts: Any) -> None:
        """Set parts of the request."""
        self.changes.update(parts)


Apply = Callable[[re.Match[str], Draft], None]
"""Takes what a pattern matched; changes the draft."""


@dataclass(frozen=True)
class Rule:
    """A form of words and what it does. Whatever it matches is taken out of the message."""

    pattern: re.Pattern[str]
    apply: Apply

    def run(self, draft: Draft) -> None:
        """Apply the rule to every match in the message."""
        while found := self.pattern.search(draft.left):
            draft.left = (draft.left[: found.start()] + GAP + draft.left[found.end() :]).strip()
            try:
                self.apply(found, draft)
            except UnclearTimeError as unclear:
                draft.notes.append(f"{unclear}; this part is left out")


def rule(pattern: str, apply: Apply) -> Rule:
    """Return a rule for whole words, whatever their case."""
    return Rule(re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE), apply)


def said(found: re.Match[str], group: str | int = 0) -> str:
    """Return what a group matched, in small letters; empty where it matched nothing."""
    return (found[group] or "").lower()
