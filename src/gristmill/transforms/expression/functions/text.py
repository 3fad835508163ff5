"""Functions of texts. Characters are code points of Unicode."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.kit.normal_forms import MOST_MARKS, Form, normal_form
from gristmill.transforms.expression.functions.spec import Apply, Function, Parameter, gives, plain
from gristmill.transforms.expression.tree import NoValue, TooMany
from gristmill.transforms.expression.values import MAX_TEXT_BYTES, check_sizes, each
from gristmill.transforms.spec import Types

_TEXT = Parameter("text", ("text",))
_MAX_PATTERN = 1000
# So many in a row are in no word; whether they are too many is looked at one by one.
_SOME_MARKS = r"\pM{12}"
_AT_ONCE_BYTES = 16 * 1024 * 1024


def by_ascii(fast: Apply, function: Callable[[str], str]) -> Apply:
    """Return Python's mapping of Unicode, or Arrow's of ASCII where there is nothing else."""

    def apply(array: pa.Array) -> pa.Array:
        return fast(array) if is_ascii(array) else at_once(function, array)

    return apply


def is_ascii(array: pa.Array) -> bool:
    return pc.all(pc.string_is_ascii(array), min_count=0).as_py() is not False


def at_once(function: Callable[[str], str], array: pa.Array) -> pa.Array:
    """Return what ``function`` makes of each text, called once on all of them with NULs in between.

    No text holds a NUL, and what a mapping of Unicode makes of characters on one side of it does not depend on those on
    the other side: it is no letter, has no case and combines with nothing.
    """
    if len(array) > 1 and (pc.sum(pc.binary_length(array)).as_py() or 0) > _AT_ONCE_BYTES:
        # Texts may grow to eighteen times what they were.
        raise TooMany
    texts = pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), pc.fill_null(array, ""))
    made = function(pc.binary_join(texts, "\0")[0].as_py())
    parts = pc.list_flatten(pc.split_pattern(pa.array([made]), "\0"))
    return checked(pc.if_else(array.is_valid(), parts, pa.scalar(None, pa.string())))


def checked(texts: pa.Array) -> pa.Array:
    """Return texts that may have grown."""
    check_sizes(pc.binary_length(texts))
    return texts


def _replace(array: pa.Array, old: pa.Array, new: pa.Array) -> pa.Array:
    def grown(text: str, before: str, after: str) -> int:
        size = len(text.encode())
        return size + text.count(before) * (len(after.encode()) - len(before.encode())) if before else size

    check_sizes(each(grown, [array, old, new], "integer"))
    # An empty text would be found everywhere.
    return each(lambda text, before, after: text.replace(before, after) if before else text, [array, old, new], "text")


def _substring(array: pa.Array, start: pa.Array, length: pa.Array) -> pa.Array:
    def one(text: str, first: int, count: int) -> str:
        begin = first - 1
        return text[max(0, begin) : max(0, begin + max(0, count))]

    return each(one, [array, start, length], "text")


def _split_part(array: pa.Array, separator: pa.Array, number: pa.Array) -> pa.Array:
    def one(text: str, between: str, place: int) -> str | None:
        parts = text.split(between) if between else [text]
        return parts[place - 1] if 1 <= place <= len(parts) else None

    return each(one, [array, separator, number], "text")


def _check_pattern(pattern: Any) -> str | None:
    if len(pattern) > _MAX_PATTERN:
        return f"a pattern has at most {_MAX_PATTERN} characters"
    if re.search(r"(?<!\\)(\\\\)*\\[QC]", pattern):
        return "a pattern has neither \\Q nor \\C"
    try:
        pc.extract_regex(pa.array([""]), _named(pattern))
    except pa.ArrowInvalid as error:
        return f"it is no pattern of RE2: {str(error).split(': ', 1)[-1][:120]}"
    return None


def _named(pattern: str) -> str:
    """Return the pattern as one group with a name, and without groups that have none: Arrow takes no others."""
    made, in_set, place = "", False, 0
    while place < len(pattern):
        part = pattern[place : place + 2] if pattern[place] == "\\" else pattern[place]
        place += len(part)
        if part == "[" and not in_set:
            in_set = True
            # A bracket that closes a set is a character of it where it stands first.
            first = re.match(r"\^?\]", pattern[place:])
            part += first[0] if first else ""
            place += len(first[0]) if first else 0
        elif part == "]":
            in_set = False
        elif part == "(" and not in_set and pattern[place : place + 1] != "?":
            part = "(?:"
        made += part
    return f"(?P<found>{made})"


_PATTERN = Parameter("pattern", ("text",), constant=True, check=_check_pattern)


def _matches(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    return lambda array: pc.match_substring_regex(array, constants["pattern"])


def _extract(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    pattern = _named(constants["pattern"])
    return lambda array: pc.struct_field(pc.extract_regex(array, pattern), [0])


def _pad(array: pa.Array, width: pa.Array, fill: pa.Array) -> pa.Array:
    def missing(text: str, count: int, character: str) -> int:
        # Any number beyond the limit is as good as another one.
        return min(max(0, count - len(text)), 2 * MAX_TEXT_BYTES) if character else 0

    def size(text: str, count: int, character: str) -> int:
        return missing(text, count, character) * len(character[:1].encode()) + len(text.encode())

    check_sizes(each(size, [array, width, fill], "integer"))
    return each(
        lambda text, count, character: character[:1] * missing(text, count, character) + text,
        [array, width, fill],
        "text",
    )


def normalised(array: pa.Array, form: Form = "NFC") -> pa.Array:
    """Return texts in a normal form of Unicode. Raises NoValue for marks that would take too long."""
    if is_ascii(array):
        return array
    long = (pc.max(pc.utf8_length(array)).as_py() or 0) > MOST_MARKS
    if long and pc.any(pc.match_substring_regex(array, _SOME_MARKS)).as_py():
        return checked(each(partial(_normalise, form), [array], "text"))
    return at_once(lambda text: unicodedata.normalize(form, text), array)


def _normalise(form: Form, text: str) -> str:
    try:
        return normal_form(text, form)
    except ValueError as error:
        raise NoValue("bad_value", f"a text {error}") from error


lower, upper = by_ascii(pc.ascii_lower, str.lower), by_ascii(pc.ascii_upper, str.upper)
FUNCTIONS = [
    Function(
        "lower", [_TEXT], gives("text"), plain(lower),
        "The text in lower case, as Unicode has it.", [("lower('ÄB')", "äb")],
    ),
    Function(
        "upper", [_TEXT], gives("text"), plain(upper),
        "The text in upper case, as Unicode has it; it may become longer.", [("upper('straße')", "STRASSE")],
    ),
    Function(
        "trim", [_TEXT], gives("text"), plain(lambda array: each(str.strip, [array], "text")),
        "The text without blanks of Unicode (spaces, tabs, line ends) at both ends.", [("trim('  a b ')", "a b")],
    ),
    Function(
        "length", [_TEXT], gives("integer"), plain(lambda array: pc.utf8_length(array).cast(pa.int64())),
        "How many characters the text has.", [("length('häß')", 3)],
    ),
    Function(
        "replace", [_TEXT, Parameter("old", ("text",)), Parameter("new", ("text",))], gives("text"), plain(_replace),
        "Each occurrence of old becomes new, from left to right. An empty old replaces nothing.",
        [("replace('1,5', ',', '.')", "1.5")],
    ),
    Function(
        "substring", [_TEXT, Parameter("start", ("integer",)), Parameter("length", ("integer",), default=2**31)],
        gives("text"), plain(_substring),
        "At most length characters from the one with the number start on, counted from 1, as in SQL.",
        [("substring('abcdef', 2, 3)", "bcd"), ("substring('abcdef', 5)", "ef")],
    ),
    Function(
        "split_part", [_TEXT, Parameter("separator", ("text",)), Parameter("number", ("integer",))], gives("text"),
        plain(_split_part), "The part with that number, from 1, between separators; null if there are fewer.",
        [("split_part('a/b/c', '/', 2)", "b"), ("split_part('a', '/', 2)", None)],
    ),
    Function(
        "contains", [_TEXT, Parameter("part", ("text",))], gives("boolean"),
        plain(lambda array, part: each(lambda text, one: one in text, [array, part], "boolean")),
        "Whether part is somewhere in the text.", [("contains('abc', 'bc')", True)],
    ),
    Function(
        "starts_with", [_TEXT, Parameter("part", ("text",))], gives("boolean"),
        plain(lambda array, part: each(str.startswith, [array, part], "boolean")),
        "Whether the text begins with part.", [("starts_with('abc', 'ab')", True)],
    ),
    Function(
        "ends_with", [_TEXT, Parameter("part", ("text",))], gives("boolean"),
        plain(lambda array, part: each(str.endswith, [array, part], "boolean")),
        "Whether the text ends with part.", [("ends_with('abc', 'ab')", False)],
    ),
    Function(
        "matches", [_TEXT, _PATTERN], gives("boolean"), _matches,
        "Whether the pattern of RE2 is found somewhere in the text: ^ and $ bind it to the ends.",
        [("matches('A-17', '^[A-Z]-[0-9]+$')", True)],
    ),
    Function(
        "extract", [_TEXT, _PATTERN], gives("text"), _extract,
        "What the pattern of RE2 finds first in the text; null if it finds nothing.",
        [("extract('about 12 km', '[0-9]+')", "12"), ("extract('far', '[0-9]+')", None)],
    ),
    Function(
        "pad_left", [_TEXT, Parameter("width", ("integer",)), Parameter("fill", ("text",), default="0")],
        gives("text"), plain(_pad),
        "The text with the first character of fill before it, so often that it has width characters.",
        [("pad_left('7', 3)", "007"), ("pad_left('1234', 3)", "1234")],
    ),
    Function(
        "normalize", [_TEXT], gives("text"), plain(normalised),
        "The text in the normal form NFC of Unicode.", [("normalize('e\\u0301')", "é")],
    ),
]  # fmt: skip
