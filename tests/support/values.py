"""Values of every type, and rows of them: any value that a contract takes, and the extremes that are known to break."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

from hypothesis import strategies as st

from tests.support.rest import Json

PNG = b"\x89PNG\r\n\x1a\n"
TYPES: dict[str, Json] = {
    "text": {},
    "integer": {},
    "float": {},
    "decimal": {},
    "boolean": {},
    "timestamp": {},
    "date": {},
    "uuid": {},
    "json": {},
    "vector": {"dimensions": 3},
    "image": {},
}
CONTRACT = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        *({"name": f"f_{name}", "type": name, **limits} for name, limits in TYPES.items()),
    ],
    "key": ["id"],
}

# Every code point but NUL and surrogates, the empty string among them.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
DOUBLE = st.floats(allow_nan=False, allow_infinity=False)
OFFSETS = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60))
# A day from both ends, so that no offset leads out of the years 1 to 9999.
MOMENT = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30, 23, 59, 59, 999999), timezones=OFFSETS)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TREE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, DOUBLE, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=4,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "integer": NUMBERS,
    "float": DOUBLE,
    "decimal": st.builds(
        # The default context would round to 28 digits, up to 10 ** 38 perhaps.
        lambda digits, places: Decimal(digits).scaleb(-places, Context(prec=40)),
        st.integers(-(10**38) + 1, 10**38 - 1),
        st.integers(0, 38),
    ),
    "boolean": st.booleans(),
    "timestamp": MOMENT,
    "date": st.dates(),
    "uuid": st.uuids(),
    "json": TREE,
    "vector": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    "image": st.binary(max_size=20).map(lambda data: PNG + data),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), min_size=1, max_size=12
)
LONGEST = "\u00e9" * 65_536
# What is known to break: beside these every batch has a row of nulls.
EXTREMES: dict[str, list[Any]] = {
    "text": ["", " ", '"', ",", "\n", "\r", "\r\n", "a\n\nb", "null", "\\", "\ufeff", "\U0010ffff", "e\u0301", LONGEST],
    "integer": [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0],
    "float": [-0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e22, 2.0**53],
    "decimal": [Decimal(text) for text in ("0", "0.00", "1.50", "9" * 38, "-0." + "0" * 37 + "1", "100")],
    "boolean": [True, False],
    "timestamp": [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(2026, 3, 29, 2, 30, 0, 1, timezone(timedelta(hours=5, minutes=45))),
    ],
    "date": [datetime(1, 1, 1).date(), datetime(9999, 12, 31).date(), datetime(2024, 2, 29).date()],
    "uuid": [],
    "json": [[], {}, "", "null", 0, False, [None], {"": {"a": [1, 2**63, -1.5, "\U0001f33e"]}}, 10**300, 1e300, 0.1],
    "vector": [[0.0, -0.0, 1.5], [3.4028234663852886e38, -1e-45, 0.1]],
    "image": [PNG, b"GIF89a" + bytes(range(256)) * 300],
}  # fmt: skip


def as_json(kind: str, value: Any) -> Any:
    """The JSON that a client sends for a value."""
    if value is None or kind in ("text", "integer", "float", "boolean", "json", "vector"):
        return value
    if kind == "decimal":
        return format(value, "f")
    if kind == "image":
        return base64.b64encode(value).decode()
    return str(value) if kind == "uuid" else value.isoformat()


def as_cell(kind: str, value: Any) -> str:
    """The CSV cell that a client sends for a value; null is the empty cell without quotes."""
    if value is None:
        return ""
    shown = as_json(kind, value)
    text = shown if isinstance(shown, str) and kind != "json" else json.dumps(shown, ensure_ascii=False)
    return '"' + text.replace('"', '""') + '"' if kind in ("text", "json", "vector") else text
