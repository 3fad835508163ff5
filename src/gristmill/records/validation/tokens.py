"""What a record's text says, token by token, for messages: validation knows 7E+3 only as the number 7000.0."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

BOM = b"\xef\xbb\xbf"
# Integers of more digits are refused by the parser itself.
MAX_DIGITS = 4300
# Characters of the text that a message shows around a mistake.
_SHOWN = 24
_PLACE = re.compile(r" at line (\d+) column (\d+)$")

Location = tuple[str | int, ...]


class Token(str):
    """A number as it was sent."""

    __slots__ = ()


def read_tokens(raw: bytes) -> Any:
    """Return the JSON value in ``raw`` with every number as a Token; None where it cannot be read so."""
    try:
        return json.loads(raw, parse_int=Token, parse_float=Token, parse_constant=Token)
    except (ValueError, RecursionError):
        return None


def token_at(tree: Any, location: Sequence[str | int]) -> Token | None:
    """Return the number at a place within what ``read_tokens`` returned; None where something else stands there."""
    for part in location:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree if isinstance(tree, Token) else None


def unreadable(tree: Any) -> Iterator[tuple[Location, str, str]]:
    """Yield (place, code, reason) of what is well-formed JSON and yet cannot be parsed: it has no value."""
    pending: list[tuple[Location, Any]] = [((), tree)]
    while pending:
        place, item = pending.pop()
        if isinstance(item, Token):
            digits = sum(character.isdigit() for character in item)
            if digits > MAX_DIGITS:
                shown = f"{item[:_SHOWN]}…"
                yield place, "out_of_range", f"{shown} has {digits} digits: a number has at most {MAX_DIGITS}"
        elif isinstance(item, str):
            if not _is_unicode(item):
                yield place, "bad_unicode", f"{json.dumps(item[:_SHOWN])} holds half of a surrogate pair"
        elif isinstance(item, list):
            pending.extend(((*place, index), inner) for index, inner in enumerate(item))
        elif isinstance(item, dict):
            for name, inner in item.items():
                if not _is_unicode(name):
                    yield place, "bad_unicode", f"The name {json.dumps(name[:_SHOWN])} holds half of a surrogate pair"
                pending.append(((*place, name), inner))


def explain_broken(raw: bytes, message: str) -> str:
    """Return what a parser said of ``raw``, a record that is no JSON, with the text at the place that it names.

    message: ends with line and column within ``raw``, which are not those of the body.
    """
    if raw.lstrip(b" \t\r\n").startswith(BOM):
        return "It starts with a byte order mark, which may only stand at the very start of a body"
    found = _PLACE.search(message)
    if found is None:
        return message
    number, column = int(found[1]), int(found[2])
    lines = raw.split(b"\n")
    # The last line may end where the parser looked for more.
    line = lines[min(number, len(lines)) - 1]
    near = line[max(0, column - 1 - _SHOWN // 2) :][:_SHOWN].decode("utf-8", "replace")
    within = f"line {number} of the record, " if len(lines) > 1 else ""
    return f"{message[: found.start()]} at {within}column {column}, near {json.dumps(near, ensure_ascii=False)}"


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
