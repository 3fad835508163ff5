"""What fields are for: the key, the time field, what is filtered by, and the texts that a search is about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.records.infer.questions import Option, Question
from gristmill.records.infer.sample import Sample

# The rank of a field that is not called like a key.
_UNLIKELY = 2
# What names of keys are, or end with; the first are the surer ones.
_KEYS = re.compile(r"(^|_)(id|uuid|guid|key)$")
_NUMBERS = re.compile(r"(^|_)(no|nr|number|code|sku|isbn|ean|slug|ref|reference|iata|icao|iso)$")
_TIMES = re.compile(r"(^|_)(at|time|timestamp|datetime|ts|when|date|day|hour)(_|$)")
_KEY_TYPES = frozenset({"integer", "text", "uuid"})
# Characters that a text in a key or an index has by default; here bytes, of which it has no fewer.
LONGEST_KEY = 255
_FILTER_TYPES = frozenset({"text", "boolean", "integer"})
_FILTER_LENGTH = 64
_FILTER_VALUES = 50
_MOST_FILTERS = 6
_FILTER_RECORDS = 20
# A text that is searched by meaning has some words, and few records share it.
_WORDS, _CHARACTERS, _MOST_EMBEDDED = 4, 30, 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A field that is proposed, and what the sample says of its values.

    distinct: how many of ``given`` values that were compared are different. longest: bytes of the longest text.
    sent: clients send it, and no step makes it.
    """

    name: str
    type: str
    values: pa.ChunkedArray | None
    nulls: int
    distinct: int
    given: int
    longest: int
    sent: bool

    @property
    def complete(self) -> bool:
        return self.values is not None and len(self.values) > 0 and not self.nulls


def key_candidates(fields: Sequence[Seen]) -> list[Seen]:
    """Return the fields that might be the key: every record has one, and no two the same; the likeliest first."""
    found = [
        one
        for one in fields
        if one.complete and one.sent and one.type in _KEY_TYPES and one.longest <= LONGEST_KEY and _is_unique(one)
    ]
    return sorted(found, key=lambda one: (_rank(one), fields.index(one)))


def choose_key(fields: Sequence[Seen], sample: Sample) -> tuple[list[str], str, Question | None]:
    """Return the key that is proposed, why, and the question where it is not plain."""
    candidates = key_candidates(fields)
    if not candidates:
        return [], "no field has another value in each record: records are only appended", None
    best, said = candidates[0], f"in each of the {sample.records} records that were read"
    because = f"{best.name} has another value {said}"
    if _rank(best) == _UNLIKELY:
        return [], f"{because}, but is not called like a key: records are only appended", None
    likely = [one for one in candidates if _rank(one) == _rank(best)]
    if len(likely) == 1 and sample.whole:
        return [best.name], f"{because}, and is called like a key", None
    options = [
        Option(one.name, f"a record with the same {one.name} takes the place of the one before")
        for one in candidates[:10]
    ]
    options.append(Option(None, "no key: records are only appended"))
    names = ", ".join(one.name for one in candidates[:10])
    text = f"Which field is the key? Each of these has another value {said}: {names}"
    return [best.name], because, Question("key", text, best.name, options)


def choose_time(fields: Sequence[Seen]) -> tuple[str | None, str, Question | None]:
    """Return the time field that is proposed, why, and the question where there are several."""
    times = [one for one in fields if one.type == "timestamp"] or [one for one in fields if one.type == "date"]
    if not times:
        return None, "no field is a time or a date", None
    if len(times) == 1:
        return times[0].name, f"{times[0].name} is the only {times[0].type}", None
    named = [one for one in times if _TIMES.search(one.name)] or times
    proposed = min(named, key=lambda one: (one.nulls, fields.index(one)))
    options = [Option(one.name, f"windows and the latest records go by {one.name}") for one in times[:10]]
    options.append(Option(None, "no time field"))
    text = f"Which time do windows go by? There are {', '.join(one.name for one in times[:10])}"
    return (
        proposed.name,
        f"{proposed.name} is the first of {len(times)}",
        Question("time_field", text, proposed.name, options),
    )


def choose_filters(fields: Sequence[Seen], records: int) -> dict[str, str]:
    """Return the fields that get an index, and why: they have few values."""
    found = {
        one.name: f"{one.distinct} different values in {records} records: worth an index"
        for one in fields
        if one.type in _FILTER_TYPES
        and records >= _FILTER_RECORDS
        and 2 <= one.distinct <= min(_FILTER_VALUES, records // 10)
        and one.longest <= _FILTER_LENGTH
    }
    return dict(list(found.items())[:_MOST_FILTERS])


def choose_embedded(fields: Sequence[Seen]) -> dict[str, str]:
    """Return the texts that are searched by meaning, and why: they are sentences."""
    found: dict[str, str] = {}
    for one in fields:
        if one.type != "text" or one.values is None or one.distinct < 2 or len(found) == _MOST_EMBEDDED:
            continue
        texts = one.values.slice(0, 10_000).drop_null()
        if not len(texts) or one.distinct * 2 < one.given:
            continue
        characters = pc.mean(pc.utf8_length(texts)).as_py()
        words = pc.mean(pc.count_substring_regex(texts, r"\S+")).as_py()
        if characters >= _CHARACTERS and words >= _WORDS:
            found[one.name] = (
                f"texts of {characters:.0f} characters and {words:.0f} words on average: searched by meaning"
            )
    return found


def _rank(one: Seen) -> int:
    if _KEYS.search(one.name) or one.type == "uuid":
        return 0 if one.name in ("id", "uuid", "key") else 1
    return 1 if _NUMBERS.search(one.name) else _UNLIKELY


def _is_unique(one: Seen) -> bool:
    assert one.values is not None
    if one.distinct < len(one.values):
        return False
    if one.type == "text" or not pa.types.is_string(one.values.type):
        return True
    # A UUID may be written in both cases; +5 and 5 are one integer, and so are 1.000 and 1000 in some dialects.
    if one.type == "uuid":
        values = pc.utf8_lower(one.values)
    else:
        values = pc.replace_substring_regex(one.values, "[^0-9-]", "").cast(pa.int64())
    return len(pc.unique(values)) == len(one.values)
