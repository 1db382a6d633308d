"""The vocabulary of the rules: named patterns that a rule refers to in braces.

`{clock}` stands for the pattern named "clock", `{first:clock}` captures it in the group "first". Patterns may refer to
others. The names of the cameras are part of the vocabulary, so the rules are compiled per index.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12,
}  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_MIN_CAMERA_WORD_LENGTH = 3
_NOTHING = "(?!)"

WORDS: Mapping[str, str] = {
    # Start and end of a clause. Words inside a description belong to the description.
    "start": r"^|(?<=[;,.!?] )|(?<=\band )|(?<=\bbut )|(?<=\bonly )|(?<=\bjust )|(?<=\bnow )",
    "end": (
        r"(?=\s*(?:$|[;,.!?)])|\s+(?:and|or|but|on|at|in|from|before|after|between|until|till|since|only|with|without"
        r"|first|then|too|also|instead|again|- )\b)"
    ),
    "number": r"\d{1,2}|" + "|".join(NUMBERS),
    "thing": r"ones?|moments?|results?|clips?|matches|videos?",
    "moment": (
        r"(?:(?:the |number |moment )*(?:" + "|".join(ORDINALS) + r"|\d{1,2}(?:st|nd|rd|th)?|last)"
        r"|(?:the )?(?:this|that|it|these|same))(?: {thing})?"
    ),
    "clear": r"(?:forget|drop|remove|ignore|clear|reset)(?: about)? the",
    "only": r"(?:(?:only|just|much|a bit) )?",
    "show": r"(?:(?:show|give)(?: me)? )?(?:only |just )?",
    "sort": r"sort(?:ed)? |{start}",
    "like": r"like|similar to|closer to",
    "unusual_things": r"{unusual}(?: (?:things?|events?|activity|{thing}))?",
    "unusual": r"unusual|anomalous|suspicious|strange|abnormal|odd|weird",
    # Cameras; `_camera_words` adds the names.
    "on": r"on|at|from|in|by|near|for|across|over",
    "cam": r"cameras?|cams?",
    "not": r"(?:but )?(?:not|nothing|except|excluding|exclude|without|other than|hide)",
    # Days and longer periods.
    "month": (
        r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
        r"|nov(?:ember)?|dec(?:ember)?)\b"
    ),
    "weekday": r"(?:mon|tues|wednes|thurs|fri|satur|sun)day\b",
    "nth": r"\d{1,2}(?:st|nd|rd|th)?\b",
    "year": r",? (?:of )?\d{4}\b|,? '\d\d\b",
    "day_month": r"{nth}\.? (?:of )?{month}{year}?",
    "month_day": r"{month} (?:the )?{nth}(?!:){year}?",
    "numeric": r"\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d\d)",
    "ago": r"(?:an?|{number}) (?:days?|weeks?) ago",
    "day": (
        r"(?:the day before yesterday|yesterday|today|{ago}|{numeric}"
        r"|(?:{weekday},? (?:the )?)?(?:(?:the )?{day_month}|{month_day})"
        r"|(?:last |this )?{weekday}|the (?:2[1-9]|3[01])(?:st|nd|rd|th)\b{end})(?!\w)"
    ),
    "the_nth": r"the \d{1,2}(?:st|nd|rd|th)\b{end}",
    "first_period": r"{day}|{months}|the {nth}",
    "months": r"{month}(?:,? (?:of )?\d{4}\b)?",
    "period": r"{day}|(?:this|last) (?:week|month)|{months}{end}",
    "any_period": r"{period}|{the_nth}",
    "that_day": r"(?:that|the same|this) day",
    "to": r" ?[-–] ?| (?:to|until|till|through) ",
    "to_and": r"{to}| and ",
    # Clock times. A bare number is a time only if no noun follows it.
    "part": r"morning|afternoon|evening|night",
    "pm": r"[ap]\.?m\b\.?",
    "past": r"half past|(?:a )?quarter (?:past|to)|{minutes} (?:minutes )?past|{minutes} minutes to",
    "minutes": r"five|ten|twenty|\d{1,2}",
    "clock_of_day": (
        r"noon|midday|midnight|{past} {number}\b(?: ?{pm})?|{number} ?(?:{pm}|o'?clock\b)|\d{1,2}h(?:\d\d)?\b"
        r"|\d{1,2}(?:[:.]\d\d){1,2} ?(?:{pm}|h\b)|\d{1,2}(?::\d\d){1,2}(?![\d:])"
    ),
    "clock": r"(?:{clock_of_day})(?: (?:in the|at) {part})?|\d{1,2} (?:in the|at) {part}",
    "hour": r"(?:[01]?\d|2[0-4])(?![\d:./])\b",
    "clear_point": r"(?:{day},? (?:at )?)?{clock}",
    "point": r"{clear_point}|(?:{day},? (?:at )?)?{hour}{end}",
    "first_point": r"{clear_point}|(?:{day},? (?:at )?)?{hour}",
    "unit": r"second|minute|min|hour|day",
    "length": r"(?:half an|a few|an?|\d+|{number}) {unit}s?",
}


def expand(pattern: str, words: Mapping[str, str] = WORDS) -> str:
    """Replace the names in braces by their patterns."""

    def insert(match: re.Match[str]) -> str:
        group = f"?P<{match['group']}>" if match["group"] else "?:"
        return f"({group}{expand(words[match['name']], words)})"

    return re.sub(r"\{(?:(?P<group>\w+):)?(?P<name>[a-z_]+)\}", insert, pattern)


def compile_rule(pattern: str, cameras: Sequence[str] = ()) -> re.Pattern[str]:
    """Compile the pattern of a rule. It matches whole words and ignores case."""
    words = {**WORDS, **_camera_words(cameras)}
    return re.compile(rf"(?<![\w-])(?:{expand(pattern, words)})(?![\w-])", re.IGNORECASE)


def mentioned_cameras(words: str, cameras: Sequence[str]) -> set[str]:
    """Return the cameras that a list of names mentions. Words of a longer name do not match a shorter one."""
    mentioned = set()
    for camera in sorted(cameras, key=lambda camera: len(_name_pattern(camera)), reverse=True):
        pattern = rf"(?<!\w){_name_pattern(camera)}(?!\w)"
        if re.search(pattern, words, re.IGNORECASE):
            mentioned.add(camera)
            words = re.sub(pattern, " ", words, flags=re.IGNORECASE)
    unique = _unique_words(cameras)
    return mentioned | {camera for word, camera in unique.items() if re.search(rf"(?<!\w){word}(?!\w)", words)}


def _camera_words(cameras: Sequence[str]) -> dict[str, str]:
    """Return the patterns for cameras.

    Many cameras are named by ordinary words: front, door, gate. Such a word names the camera only next to the word
    "camera", or if a clause consists of nothing else. A name of several words or with a digit is distinct.
    """
    names = [_name_pattern(camera) for camera in cameras]
    distinct = [_name_pattern(camera) for camera in cameras if len(_words(camera)) > 1 or re.search(r"\d", camera)]
    either = _either([*names, *_unique_words(cameras)])
    beside = rf"(?:(?:{either}) {{cam}}|{{cam}} (?:number )?(?:{either}))"
    return {
        "camera": rf"(?:the )?{beside}",
        "distinct_cameras": _listed(rf"(?:the )?(?:{beside}|(?:{_either(distinct)})(?: {{cam}})?)"),
        "any_cameras": _listed(rf"(?:the )?(?:{beside}|(?:{_either(names)})(?: {{cam}})?)"),
    }


def _either(patterns: Sequence[str]) -> str:
    return "|".join(sorted(patterns, key=len, reverse=True)) or _NOTHING


def _listed(mention: str) -> str:
    return rf"{mention}(?:(?:,? (?:and|or) |, ?)(?:{{on}} )?{mention})*"


def _name_pattern(camera: str) -> str:
    return r"[\s_-]*".join(map(re.escape, _words(camera))) or re.escape(camera)


def _unique_words(cameras: Sequence[str]) -> dict[str, str]:
    """Return patterns of the words and numbers that occur in the name of one camera only."""
    owners = [(form, camera) for camera in cameras for form in {*map(_word_pattern, _words(camera))} if form]
    counts = Counter(form for form, _ in owners)
    return {form: camera for form, camera in owners if counts[form] == 1}


def _word_pattern(word: str) -> str:
    """Return the pattern of a word of a camera name; empty if the word is too short or is "camera"."""
    if word.isdecimal():
        return rf"0*{int(word)}"
    is_name = len(word) >= _MIN_CAMERA_WORD_LENGTH and not re.fullmatch(WORDS["cam"], word.lower())
    return re.escape(word.lower()) if is_name else ""


def _words(camera: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", camera) if word]
