"""Rules for cameras, made from the names of those there are: "on the north camera", "not at the back door"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from var_plugin.app.conversation.parser_state import CLAUSE_END, CLAUSE_START, Draft, Rule, rule, said

_CAMERA = r"(?:cameras?|cams?)"
_PLACE = r"(?:on|at|from|in|by|near|for|across|over)"
_SHORTEST = 3
_ALL = r"(?:all|any|every)(?: of)?(?: the)?"


def camera_rules(cameras: Sequence[str]) -> Iterator[Rule]:
    """Yield the rules for these cameras, the more particular ones first.

    Many cameras are named by ordinary words: front, door, gate. Within a description such a word is the description's;
    it means the camera beside the word "camera", or where a part of the message consists of nothing else. A name that
    holds several words or a digit means the camera wherever it follows a word of place.
    """
    yield rule(
        rf"(?:{_PLACE} )?{_ALL} {_CAMERA}|{CLAUSE_START}(?:everywhere|anywhere){CLAUSE_END}"
        rf"|(?:forget|drop|remove|ignore|clear|reset)(?: about)? the {_CAMERA}(?: filter)?|(?:whichever|no matter which) {_CAMERA}",  # noqa: E501
        lambda found, draft: draft.change(cameras=None),
    )
    yield rule(
        rf"(?:only )?(?:{_PLACE}|{CLAUSE_START}) ?(?:the )?(?:same|this|that) {_CAMERA}(?: only)?{CLAUSE_END}",
        _of_moment(same=True),
    )
    yield rule(
        rf"(?:{_PLACE} )?(?:the other|other|another|a different|different) {_CAMERA}"
        rf"|{CLAUSE_START}elsewhere{CLAUSE_END}",
        _of_moment(same=False),
    )
    if cameras:
        clear, any_name = (_list(_mention(cameras, names)) for names in (_clear_names(cameras), cameras))
        but = r"(?:but )?(?:not|nothing|none|except|excluding|exclude|without|other than|no|skip|hide|ignore)"
        leave_out = _leave_out(cameras)
        yield rule(rf"{but}(?: {_PLACE})? (?P<names>{clear}){CLAUSE_END}", leave_out)
        yield rule(rf"{CLAUSE_START}{but}(?: {_PLACE}) (?P<names>{any_name}){CLAUSE_END}", leave_out)
        yield rule(rf"^(?:but )?(?:not|except|excluding|exclude|hide|skip) (?P<names>{any_name})$", leave_out)
        take = _take(cameras)
        yield rule(rf"(?:only |just )?{_PLACE} (?P<names>{clear})(?: (?:only|alone))?{CLAUSE_END}", take)
        yield rule(
            rf"{CLAUSE_START}(?:only |just )?(?!in (?:the )?front)(?:on|at|from|in) (?P<names>{any_name})"
            rf"(?: (?:only|alone))?{CLAUSE_END}",
            take,
        )
        yield rule(
            rf"{CLAUSE_START}(?:only|just) (?P<names>{any_name}){CLAUSE_END}"
            rf"|{CLAUSE_START}(?P<more>{any_name}) (?:only|alone)",
            take,
        )
        yield rule(rf"{CLAUSE_START}(?:the )?(?P<names>{_with_word(cameras)}){CLAUSE_END}", take)
        # Alone it can mean nothing else.
        yield rule(rf"^(?:and |now |what about |how about |show me |show |try |then )*(?P<names>{any_name})$", take)
    yield rule(
        rf"{CLAUSE_START}(?:only |just )?{_PLACE} (?:the )?(?P<name>(?!the\b|a\b)[\w-]+) {_CAMERA}{CLAUSE_END}"
        rf"|{CLAUSE_START}(?:only |just )?(?:{_PLACE} )?(?:the )?{_CAMERA} (?P<more>\d+|(?-i:[A-Z])\b){CLAUSE_END}",
        _unknown,
    )


def _of_moment(*, same: bool) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        moment = draft.context.moment
        if moment is None:
            draft.notes.append(f"“{found[0].strip()}” needs a moment to go by")
        else:
            draft.change(cameras=(moment.camera,) if same else _others({moment.camera}, draft.context.cameras))

    return apply


def _take(cameras: Sequence[str]) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        words = " ".join(filter(None, (value for value in found.groupdict().values())))
        draft.change(cameras=tuple(sorted(_named(words.lower(), cameras))))

    return apply


def _leave_out(cameras: Sequence[str]) -> Callable[[re.Match[str], Draft], None]:
    def apply(found: re.Match[str], draft: Draft) -> None:
        draft.change(cameras=_others(_named(said(found, "names"), cameras), cameras))

    return apply


def _unknown(found: re.Match[str], draft: Draft) -> None:
    name = found["name"] or found["more"]
    draft.notes.append(f"there is no camera “{name}”; there are {', '.join(draft.context.cameras) or 'none yet'}")


def _others(named: set[str], cameras: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(cameras) - named))


def _named(words: str, cameras: Sequence[str]) -> set[str]:
    """Return the cameras that a list of names means; the words of a longer name count for no shorter one."""
    named = set()
    for camera in sorted(cameras, key=lambda camera: len(_full(camera)), reverse=True):
        pattern = rf"(?<!\w){_full(camera)}(?!\w)"
        if re.search(pattern, words, re.IGNORECASE):
            named.add(camera)
            words = re.sub(pattern, " ", words, flags=re.IGNORECASE)
    return named | {camera for word, camera in _short(cameras).items() if re.search(rf"(?<!\w){word}(?!\w)", words)}


def _clear_names(cameras: Sequence[str]) -> list[str]:
    """Return the names that are no ordinary word: of several words, or with a digit."""
    return [camera for camera in cameras if len(_words(camera)) > 1 or re.search(r"\d", camera)]


def _mention(cameras: Sequence[str], names: Sequence[str]) -> str:
    """Return a pattern for one camera: one of the names, or any name or a word of it beside the word camera."""
    whole = "|".join(sorted(map(_full, names), key=len, reverse=True))
    return rf"(?:the )?(?:{_with_word(cameras)}" + (rf"|(?:{whole})(?: {_CAMERA})?)" if whole else ")")


def _list(mention: str) -> str:
    return rf"{mention}(?:(?:,? (?:and|or) |, ?)(?:{_PLACE} )?{mention})*"


def _with_word(cameras: Sequence[str]) -> str:
    words = sorted({*map(_full, cameras), *_short(cameras)}, key=len, reverse=True)
    either = "|".join(words)
    return rf"(?:(?:{either}) {_CAMERA}|{_CAMERA} (?:number |no\.? |#)?(?:{either}))"


def _full(camera: str) -> str:
    return r"[\s_-]*".join(map(re.escape, _words(camera))) or re.escape(camera)


def _short(cameras: Sequence[str]) -> dict[str, str]:
    """Return the words, and numbers without leading zeros, that only one camera's name has."""
    owners = [
        (form, camera) for camera in cameras for form in {form for word in _words(camera) for form in _forms(word)}
    ]
    counts = Counter(form for form, _ in owners)
    return {form: camera for form, camera in owners if counts[form] == 1}


def _forms(word: str) -> set[str]:
    if word.isdigit():
        return {rf"0*{int(word)}"}
    return {re.escape(word.lower())} if len(word) >= _SHORTEST and not re.fullmatch(_CAMERA, word.lower()) else set()


def _words(camera: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", camera) if word]
