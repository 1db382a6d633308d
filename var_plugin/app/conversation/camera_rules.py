"""Rules for cameras, made from the names of those there are: "on the north camera", "not at the back door"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from var_plugin.app.conversation.draft import Draft, Rule, rule, said

_CAMERA = r"(?:camera|cam|feed|view)s?"
_PLACE = r"(?:on|at|from|in|by|near|for|across|over)"
_SHORTEST = 3


def camera_rules(cameras: Sequence[str]) -> Iterator[Rule]:
    """Yield the rules for these cameras, the more particular ones first."""
    yield rule(
        rf"(?:{_PLACE} )?(?:all|any|every)(?: of)?(?: the)? {_CAMERA}|everywhere|anywhere"
        rf"|(?:forget|drop|remove|ignore|clear|reset)(?: about)? the {_CAMERA}(?: filter)?|(?:whichever|no matter which) {_CAMERA}",  # noqa: E501
        lambda found, draft: draft.change(cameras=None),
    )
    yield rule(rf"(?:only )?(?:{_PLACE} )?(?:the )?(?:same|this|that) {_CAMERA}(?: only)?", _of_moment(same=True))
    yield rule(
        rf"(?:{_PLACE} )?(?:the other|other|another|a different|different) {_CAMERA}|elsewhere", _of_moment(same=False)
    )
    if cameras:
        mention = _mention(cameras)
        listed = rf"{mention}(?:(?:,? (?:and|or) |, ?)(?:{_PLACE} )?{mention})*"
        yield rule(
            rf"(?:but )?(?:not|nothing|none|except|excluding|exclude|without|other than|no|skip|hide|ignore)"
            rf"(?: {_PLACE})? (?P<names>{listed})",
            lambda found, draft: draft.change(cameras=_others(_named(said(found, "names"), cameras), cameras)),
        )
        take = _take(cameras)
        yield rule(rf"(?:only |just )?{_PLACE} (?P<names>{listed})(?: (?:only|alone))?", take)
        yield rule(rf"(?:only|just) (?P<names>{listed})|(?P<more>{listed}) (?:only|alone)", take)
        yield rule(rf"(?P<names>{_with_word(cameras)})", take)
        # Alone it can mean nothing else.
        yield rule(rf"^(?:and |now |what about |how about |show me |show |try |then )*(?P<names>{listed})$", take)
    yield rule(rf"{_PLACE} (?:the )?(?P<name>[\w-]+) {_CAMERA}|{_CAMERA} (?P<more>\d+|[A-Z]\b)", _unknown)


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


def _unknown(found: re.Match[str], draft: Draft) -> None:
    name = found["name"] or found["more"]
    draft.notes.append(f"there is no camera “{name}”; there are {', '.join(draft.context.cameras) or 'none yet'}")


def _others(named: set[str], cameras: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(cameras) - named))


def _named(words: str, cameras: Sequence[str]) -> set[str]:
    full = {camera for camera in cameras if re.search(rf"(?<!\w){_full(camera)}(?!\w)", words, re.IGNORECASE)}
    rest = words
    for camera in full:
        rest = re.sub(_full(camera), " ", rest, flags=re.IGNORECASE)
    return full | {camera for word, camera in _short(cameras).items() if re.search(rf"(?<!\w){word}(?!\w)", rest)}


def _mention(cameras: Sequence[str]) -> str:
    """Return a pattern for one camera: its name, or a word of it beside the word camera."""
    names = "|".join(sorted(map(_full, cameras), key=len, reverse=True))
    return rf"(?:the )?(?:{_with_word(cameras)}|(?:{names})(?: {_CAMERA})?)"


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
