"""Rules for cameras, built from the camera names of the index: "on the north camera", "not at the back door"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from var_plugin.app.conversation.parser_state import CLAUSE_END, CLAUSE_START, ParseState, Rule, group_text, rule

_CAMERA = r"(?:cameras?|cams?)"
_PLACE = r"(?:on|at|from|in|by|near|for|across|over)"
_MIN_WORD_LENGTH = 3
_ALL = r"(?:all|any|every)(?: of)?(?: the)?"


def camera_rules(cameras: Sequence[str]) -> Iterator[Rule]:
    """Yield the rules for the given cameras, more specific rules first.

    Many cameras are named by ordinary words: front, door, gate. Such a word names the camera only next to the word
    "camera", or if a clause consists of nothing else. Otherwise it belongs to the description. A name with several
    words or a digit names the camera after any preposition of place.
    """
    yield rule(
        rf"(?:{_PLACE} )?{_ALL} {_CAMERA}|{CLAUSE_START}(?:everywhere|anywhere){CLAUSE_END}"
        rf"|(?:forget|drop|remove|ignore|clear|reset)(?: about)? the {_CAMERA}(?: filter)?|(?:whichever|no matter which) {_CAMERA}",  # noqa: E501
        lambda match, state: state.change(cameras=None),
    )
    yield rule(
        rf"(?:only )?(?:{_PLACE}|{CLAUSE_START}) ?(?:the )?(?:same|this|that) {_CAMERA}(?: only)?{CLAUSE_END}",
        _camera_of_moment(same=True),
    )
    yield rule(
        rf"(?:{_PLACE} )?(?:the other|other|another|a different|different) {_CAMERA}"
        rf"|{CLAUSE_START}elsewhere{CLAUSE_END}",
        _camera_of_moment(same=False),
    )
    if cameras:
        distinct, any_name = (_list(_mention(cameras, names)) for names in (_distinct_names(cameras), cameras))
        exclude_words = r"(?:but )?(?:not|nothing|none|except|excluding|exclude|without|other than|no|skip|hide|ignore)"
        exclude = _exclude(cameras)
        yield rule(rf"{exclude_words}(?: {_PLACE})? (?P<names>{distinct}){CLAUSE_END}", exclude)
        yield rule(rf"{CLAUSE_START}{exclude_words}(?: {_PLACE}) (?P<names>{any_name}){CLAUSE_END}", exclude)
        yield rule(rf"^(?:but )?(?:not|except|excluding|exclude|hide|skip) (?P<names>{any_name})$", exclude)
        include = _include(cameras)
        yield rule(rf"(?:only |just )?{_PLACE} (?P<names>{distinct})(?: (?:only|alone))?{CLAUSE_END}", include)
        yield rule(
            rf"{CLAUSE_START}(?:only |just )?(?!in (?:the )?front)(?:on|at|from|in) (?P<names>{any_name})"
            rf"(?: (?:only|alone))?{CLAUSE_END}",
            include,
        )
        yield rule(
            rf"{CLAUSE_START}(?:only|just) (?P<names>{any_name}){CLAUSE_END}"
            rf"|{CLAUSE_START}(?P<more>{any_name}) (?:only|alone)",
            include,
        )
        yield rule(rf"{CLAUSE_START}(?:the )?(?P<names>{_with_word(cameras)}){CLAUSE_END}", include)
        # A message of nothing but a camera name is unambiguous.
        yield rule(rf"^(?:and |now |what about |how about |show me |show |try |then )*(?P<names>{any_name})$", include)
    yield rule(
        rf"{CLAUSE_START}(?:only |just )?{_PLACE} (?:the )?(?P<name>(?!the\b|a\b)[\w-]+) {_CAMERA}{CLAUSE_END}"
        rf"|{CLAUSE_START}(?:only |just )?(?:{_PLACE} )?(?:the )?{_CAMERA} (?P<more>\d+|(?-i:[A-Z])\b){CLAUSE_END}",
        _note_unknown,
    )


def _camera_of_moment(*, same: bool) -> Callable[[re.Match[str], ParseState], None]:
    def apply(match: re.Match[str], state: ParseState) -> None:
        moment = state.context.moment
        if moment is None:
            state.notes.append(f"“{match[0].strip()}” needs a selected moment")
        else:
            state.change(cameras=(moment.camera,) if same else _others({moment.camera}, state.context.cameras))

    return apply


def _include(cameras: Sequence[str]) -> Callable[[re.Match[str], ParseState], None]:
    def apply(match: re.Match[str], state: ParseState) -> None:
        words = " ".join(filter(None, (value for value in match.groupdict().values())))
        state.change(cameras=tuple(sorted(_mentioned(words.lower(), cameras))))

    return apply


def _exclude(cameras: Sequence[str]) -> Callable[[re.Match[str], ParseState], None]:
    def apply(match: re.Match[str], state: ParseState) -> None:
        state.change(cameras=_others(_mentioned(group_text(match, "names"), cameras), cameras))

    return apply


def _note_unknown(match: re.Match[str], state: ParseState) -> None:
    name = match["name"] or match["more"]
    state.notes.append(
        f"there is no camera “{name}”; the cameras are: {', '.join(state.context.cameras) or 'none yet'}"
    )


def _others(excluded: set[str], cameras: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(cameras) - excluded))


def _mentioned(words: str, cameras: Sequence[str]) -> set[str]:
    """Return the cameras that a list of names mentions. Words of a longer name do not match a shorter one."""
    mentioned = set()
    for camera in sorted(cameras, key=lambda camera: len(_name_pattern(camera)), reverse=True):
        pattern = rf"(?<!\w){_name_pattern(camera)}(?!\w)"
        if re.search(pattern, words, re.IGNORECASE):
            mentioned.add(camera)
            words = re.sub(pattern, " ", words, flags=re.IGNORECASE)
    return mentioned | {
        camera for word, camera in _unique_words(cameras).items() if re.search(rf"(?<!\w){word}(?!\w)", words)
    }


def _distinct_names(cameras: Sequence[str]) -> list[str]:
    """Return the names that are no ordinary word: they have several words, or a digit."""
    return [camera for camera in cameras if len(_words(camera)) > 1 or re.search(r"\d", camera)]


def _mention(cameras: Sequence[str], names: Sequence[str]) -> str:
    """Return a pattern for one camera: one of `names`, or any name or part of it next to the word "camera"."""
    whole = "|".join(sorted(map(_name_pattern, names), key=len, reverse=True))
    return rf"(?:the )?(?:{_with_word(cameras)}" + (rf"|(?:{whole})(?: {_CAMERA})?)" if whole else ")")


def _list(mention: str) -> str:
    return rf"{mention}(?:(?:,? (?:and|or) |, ?)(?:{_PLACE} )?{mention})*"


def _with_word(cameras: Sequence[str]) -> str:
    words = sorted({*map(_name_pattern, cameras), *_unique_words(cameras)}, key=len, reverse=True)
    either = "|".join(words)
    return rf"(?:(?:{either}) {_CAMERA}|{_CAMERA} (?:number |no\.? |#)?(?:{either}))"


def _name_pattern(camera: str) -> str:
    return r"[\s_-]*".join(map(re.escape, _words(camera))) or re.escape(camera)


def _unique_words(cameras: Sequence[str]) -> dict[str, str]:
    """Return patterns of the words and numbers that occur in the name of one camera only."""
    owners = [
        (form, camera) for camera in cameras for form in {form for word in _words(camera) for form in _forms(word)}
    ]
    counts = Counter(form for form, _ in owners)
    return {form: camera for form, camera in owners if counts[form] == 1}


def _forms(word: str) -> set[str]:
    if word.isdigit():
        return {rf"0*{int(word)}"}
    return (
        {re.escape(word.lower())}
        if len(word) >= _MIN_WORD_LENGTH and not re.fullmatch(_CAMERA, word.lower())
        else set()
    )


def _words(camera: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", camera) if word]
