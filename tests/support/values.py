"""What tests know of each field type: any value that a contract takes, and the extremes that are known to break."""

import base64
import datetime as dt
import json
import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

from tests.support.arrays import INTEGERS, TEXTS, UNITS, arrays, decimals, integers, timestamps
from tests.support.cells import CELLS
from tests.support.nested_columns import NESTED
from tests.support.paths import ANY_PATHS, SAFE_PATHS
from tests.support.rest import Json
from tests.support.type_case import TypeCase, same_float, same_tree

PNG = b"\x89PNG\r\n\x1a\n"


# Every code point but NUL and surrogates, the empty string among them.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
DOUBLE = st.floats(allow_nan=False, allow_infinity=False)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
OFFSETS = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60))
# A day from both ends, so that no offset leads out of the years 1 to 9999.
MOMENT = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30, 23, 59, 59, 999999), timezones=OFFSETS)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TREE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, DOUBLE, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=4,
)
LONGEST = "\u00e9" * 65_536
_texts = st.sampled_from(CELLS) | st.text(max_size=6)
_float32 = st.floats(width=32) | st.sampled_from([1e-18, 1e18, 3.4e38, 0.0, -0.0, 1e-30])
_numbers = st.floats() | st.sampled_from(
    [3.4028235e38, 3.4028234663852886e38, 3.4028234663852889e38, 1e-46, 16777217.0]
)
_integers = [integers(kind) for kind in INTEGERS]
_decimals = [
    *(decimals(pa.decimal128(p, s)) for p, s in ((38, 0), (38, 38), (38, 10), (12, 2), (20, 9))),
    decimals(pa.decimal256(76, 38)), decimals(pa.decimal256(50, 0)), integers(pa.int64()), integers(pa.uint64()),
    arrays(_texts, pa.string()),
]  # fmt: skip
_accents = st.text(st.sampled_from("ae\u0301\u0323éﬁﷺ\u1100\u1161"), max_size=5) | st.just("a" + "\u0301" * 1001)
_any_text = [arrays(_texts, kind) for kind in TEXTS]
_any_accents = [*_any_text, arrays(_accents, pa.string())]
_booleans = [arrays(st.booleans(), pa.bool_())]
_uuids = [arrays(st.binary(min_size=16, max_size=16), pa.binary(16)), arrays(_texts, pa.large_string())]
_aware = [*(timestamps(unit, "UTC") for unit in UNITS), timestamps("us", "Asia/Tokyo"), arrays(_texts, pa.string())]
_local = [*(timestamps(unit, tz) for unit in UNITS for tz in (None, "UTC")), arrays(_texts, pa.string())]
_dates = [
    arrays(st.dates(), pa.date32()), arrays(st.dates(), pa.date64()),
    arrays(st.integers(-(2**31), 2**31 - 1), pa.int32()).map(lambda a: a.view(pa.date32())),
    arrays(st.integers(-(10**7), 10**7), pa.int64()).map(lambda a: pc.multiply(a, 86_400_000).view(pa.date64())),
    arrays(_texts, pa.string()),
]  # fmt: skip


def nested(levels: int) -> Any:
    """Return a JSON value of so many levels of brackets, arrays and objects in turn."""
    value: Any = {} if levels % 2 else []
    for level in range(levels - 1, 0, -1):
        value = {"a": value} if level % 2 else [value, level]
    return value


def _float32_of(value: float) -> float:
    """Round to the nearest 32-bit float, which is what a vector stores."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


NO_DURATIONS = [
    "",
    "P",
    "PT",
    "-P",
    "P1DT",
    "P1Y",
    "P1M",
    "PT1.5H",
    "PT1.0000001S",
    "PT1,5S",
    "PT.5S",
    "PT1.S",
    "p1d",
    "P1D ",
    "P1D2H",
    "PT1D",
    "PT1M1H",
    "P1D1W",
    "--P1D",
    "P-1D",
    "1 day",
    "PT\u0661S",
    "P1D\n",
]
DURATIONS = [
    *NO_DURATIONS, "P1D", "PT0S", "-PT0S", "P0W", "+P1WT1S", "PT1H2M3.004S", "PT01M", "-PT60.000001S", "-PT1M",
    "P1DT0.5S", "P1DT0.500001S", "P106751991DT4H54.775807S", "-P106751991DT4H54.775808S", "P106751991DT4H54.775808S",
    "P999999W", "P9999999DT99999999H9999999999M99999999999.999999S", "P99999999999999999999D",
]  # fmt: skip


_durations = [
    *(arrays(NUMBERS | st.integers(-(10**11), 10**11), pa.duration(unit)) for unit in UNITS),
    *(
        arrays(_texts | st.sampled_from(DURATIONS), kind)
        for kind in (pa.string(), pa.dictionary(pa.int8(), pa.string()))
    ),
]


def duration_text(value: int) -> str:
    """Return microseconds as a duration has to read back."""
    parts = timedelta(microseconds=abs(value))
    seconds = Decimal(parts.seconds % 60) + Decimal(parts.microseconds).scaleb(-6)
    times = ((parts.seconds // 3600, "H"), (parts.seconds // 60 % 60, "M"), (f"{seconds.normalize():f}", "S"))
    time = "".join(f"{number}{unit}" for number, unit in times if Decimal(number))
    text = ("-P" if value < 0 else "P") + (f"{parts.days}D" if parts.days else "") + (f"T{time}" if time else "")
    return text if value else "PT0S"


CASES: dict[str, TypeCase] = {
    "text": TypeCase(
        TEXT,
        extremes=[
            "", " ", '"', ",", "\n", "\r", "\r\n", "a\n\nb", "null", "\\", "\ufeff", "\U0010ffff", "e\u0301", LONGEST,
        ],
        few=["", "a", "A", "ab", "a%b", "a_b", "a\\b", "axb", "é", "e", "𝄞", "￿", "'; DROP", "%(x)s", ":x"],
        sql="text",
        fields={
            "text": {"max_length": 4},
            "chosen text": {"enum": ["", "a", "null", "1.5", "éééé"]},
            "normal text": {"normalize": "NFC", "max_length": 4, "enum": ["", "a", "é", "ﬁ", "éé"]},
            "compatible text": {"normalize": "NFKC", "max_length": 4},
        },
        columns={
            **dict.fromkeys(("text", "chosen text"), _any_text),
            **dict.fromkeys(("normal text", "compatible text"), _any_accents),
        },
        good={"text": pa.array(["a", None])},
        arrow=[pa.string()],
    ),
    "integer": TypeCase(
        NUMBERS,
        extremes=[2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0],
        few=[-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1],
        sql="bigint",
        fields={
            "integer": {},
            "small integer": {"minimum": -5, "maximum": 300},
            "chosen integer": {"enum": [0, 7, -5, 9223372036854775807]},
        },
        columns=dict.fromkeys(("integer", "small integer", "chosen integer"), _integers),
        good={"integer": pa.array([1, None])},
        arrow=[pa.int8(), pa.uint64()],
    ),
    "float": TypeCase(
        DOUBLE,
        extremes=[-0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e22, 2.0**53],
        same=same_float,
        few=[-1.5, 0.0, -0.0, 0.1, 5e-324, 1e308],
        sql="double precision",
        fields={
            "float": {},
            "small float": {"minimum": -1, "maximum": 1e10},
            "chosen float": {"enum": [0, 1.5, 0.1, 100]},
        },
        columns={
            "chosen float": [arrays(st.sampled_from([0.0, -0.0, 1.5, 0.1, 2.0]), pa.float64()), *_integers],
            "float": [
                arrays(st.floats(), pa.float64()), arrays(st.floats(width=32), pa.float32()),
                arrays(st.floats(width=16), pa.float16()), *_integers,
            ],
            "small float": [
                arrays(st.floats(), pa.float64()), integers(pa.int64()), arrays(st.floats(-2, 2), pa.float64()),
            ],
        },
        good={"float": pa.array([0.5, None])},
        arrow=[pa.float64(), pa.float32(), pa.float16()],
    ),
    "decimal": TypeCase(
        st.builds(
            # The default context would round to 28 digits, up to 10 ** 38 perhaps.
            lambda digits, places: Decimal(digits).scaleb(-places, Context(prec=40)),
            st.integers(-(10**38) + 1, 10**38 - 1),
            st.integers(0, 38),
        ),
        extremes=[Decimal(text) for text in ("0", "0.00", "1.50", "9" * 38, "-0." + "0" * 37 + "1", "100")],
        sent=lambda value: format(value, "f"),
        few=[Decimal("-9999.99"), Decimal("0.00"), Decimal("0.10"), Decimal(12)],
        sql="numeric",
        fields={
            "decimal": {},
            "money": {"precision": 6, "scale": 2},
            "whole": {"precision": 4, "scale": 0},
            "fraction": {"precision": 3, "scale": 3},
            "price": {"precision": 6, "scale": 2, "minimum": "-1.01", "maximum": "99.99"},
            "chosen decimal": {"enum": ["12.5", 100, "0"]},
        },
        columns=dict.fromkeys(("decimal", "money", "whole", "fraction", "price", "chosen decimal"), _decimals),
        good=dict.fromkeys(("money", "price"), pa.array([Decimal("1.50"), None])),
        arrow=[pa.decimal128(9, 2), pa.decimal256(9, 2), pa.string()],
    ),
    "boolean": TypeCase(
        st.booleans(),
        extremes=[True, False],
        few=[True, False],
        ordered=False,
        sql="boolean",
        fields={"boolean": {}, "chosen boolean": {"enum": [True]}},
        columns=dict.fromkeys(("boolean", "chosen boolean"), _booleans),
        good={"boolean": pa.array([True, None])},
        arrow=[pa.bool_()],
    ),
    "timestamp": TypeCase(
        MOMENT,
        extremes=[
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
            datetime(2026, 3, 29, 2, 30, 0, 1, timezone(timedelta(hours=5, minutes=45))),
        ],
        sent=lambda value: value.isoformat(),
        shown=lambda value: value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z",
        few=[datetime(year, 1, 1, 0, 0, 0, 1, UTC) for year in (1, 2026, 9999)],
        sql="timestamp with time zone",
        fields={
            "timestamp": {},
            "late timestamp": {"minimum": "2026-01-31T12:00:00Z", "maximum": "2026-06-30T12:00:00+02:00"},
            "local timestamp": {"zone": "Europe/Berlin"},
            "far timestamp": {"zone": "Australia/Lord_Howe"},
            "chosen timestamp": {"enum": ["2026-01-31T13:00:00+01:00"]},
        },
        columns={
            **dict.fromkeys(("timestamp", "late timestamp", "chosen timestamp"), _aware),
            **dict.fromkeys(("local timestamp", "far timestamp"), _local),
        },
        good={
            "timestamp": pa.array([datetime(2026, 1, 1), None], pa.timestamp("ms", "UTC")),
            "local timestamp": pa.array([datetime(2026, 1, 1), None], pa.timestamp("ns")),
        },
        arrow=[pa.timestamp("s", "UTC"), pa.string()],
    ),
    "date": TypeCase(
        st.dates(),
        extremes=[dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29)],
        sent=str,
        few=[dt.date(1, 1, 1), dt.date(2026, 1, 31), dt.date(9999, 12, 31)],
        sql="date",
        fields={
            "date": {},
            "late date": {"minimum": "2026-01-31", "maximum": "2026-03-01"},
            "chosen date": {"enum": ["2026-01-31", "0001-01-01"]},
        },
        columns=dict.fromkeys(("date", "late date", "chosen date"), _dates),
        good={"late date": pa.array([dt.date(2026, 2, 1), None])},
        arrow=[pa.date32(), pa.date64(), pa.string()],
    ),
    "duration": TypeCase(
        NUMBERS | st.integers(-(10**6), 10**6) | st.integers(-(10**5), 10**5).map(lambda value: value * 10**6),
        extremes=[0, 1, -1, 2**63 - 1, -(2**63), 86_400 * 10**6, 3_600 * 10**6, 60 * 10**6, 59_999_999],
        sent=duration_text,
        few=[-(2**63), -1, 0, 60 * 10**6, 86_400 * 10**6, 2**63 - 1],
        sql="bigint",
        fields={
            "duration": {},
            "short duration": {"minimum": "-PT1M", "maximum": "P1DT0.5S"},
            "chosen duration": {"enum": ["PT60S", "PT0S"]},
        },
        columns=dict.fromkeys(("duration", "short duration", "chosen duration"), _durations),
        good={"duration": pa.array([1000, None], pa.duration("ns")), "short duration": pa.array(["PT1M", None])},
        arrow=[pa.duration("s"), pa.duration("ns"), pa.string()],
        cells=DURATIONS,
        examples=[
            ({}, '"P1DT2H3M4.5S"', 93_784_500_000),
            ({}, '"PT60S"', 60_000_000),
            ({}, '"PT1M"', 60_000_000),
            ({}, '"-P1W2D"', -777_600_000_000),
            ({}, '"+PT0.000001S"', 1),
            ({}, '"-PT0S"', 0),
            ({}, '"P106751991DT4H54.775807S"', 2**63 - 1),
            ({}, '"-P106751991DT4H54.775808S"', -(2**63)),
            ({}, '"P106751991DT4H54.775808S"', "out_of_range"),
            ({}, '"P999999999999999999999D"', "out_of_range"),
            *(({}, json.dumps(text), "not_a_duration") for text in NO_DURATIONS),
            ({}, "60", "wrong_type"),
            ({"minimum": "PT1S", "maximum": "PT1M"}, '"PT60S"', 60_000_000),
            ({"minimum": "PT1S", "maximum": "PT1M"}, '"PT61S"', "out_of_range"),
        ],
    ),
    "uuid": TypeCase(
        st.uuids(),
        sent=str,
        few=[uuid.UUID(int=0), uuid.UUID(int=2**127), uuid.UUID(int=2**128 - 1)],
        sql="uuid",
        fields={"uuid": {}, "chosen uuid": {"enum": ["0192f0c2-7d3a-7000-8000-0123456789ab"]}},
        columns=dict.fromkeys(("uuid", "chosen uuid"), _uuids),
        good={"uuid": pa.array([b"0123456789abcdef", None], pa.binary(16))},
        arrow=[pa.binary(16), pa.string()],
    ),
    "json": TypeCase(
        TREE,
        extremes=[
            [], {}, "", "null", 0, False, [None], {"": {"a": [1, 2**63, -1.5, "\U0001f33e"]}}, 10**300, 1e300, 0.1,
            nested(32),
        ],
        same=same_tree,
        sql="jsonb",
        fields={"json": {}},
        columns={"json": [*(arrays(_texts, kind) for kind in TEXTS), NESTED.map(lambda column: column.array)]},
        good={"json": pa.array(['{"a":[1.5]}', None])},
        arrow=[
            pa.string(), pa.struct([("a", pa.int64())]), pa.list_(pa.string()), pa.large_list(pa.float32()),
            pa.map_(pa.string(), pa.list_(pa.date32())),
        ],
    ),
    "vector": TypeCase(
        st.lists(FLOAT32, min_size=3, max_size=3),
        extremes=[[0.0, -0.0, 1.5], [3.4028234663852886e38, -1e-45, 0.1]],
        same=lambda value, got: [_float32_of(number) for number in got] == [_float32_of(number) for number in value],
        limits={"dimensions": 3},
        sql="vector(3)",
        fields={"vector": {"dimensions": 2}},
        columns={
            "vector": [
                *(
                    arrays(st.lists(st.none() | _float32, min_size=low, max_size=3 - (low > 1)), kind(pa.float32()))
                    for low, kind in ((0, pa.list_), (1, pa.large_list), (2, lambda inner: pa.list_(inner, 2)))
                ),
                arrays(st.lists(st.none() | _numbers, min_size=2, max_size=2), pa.list_(pa.float64())),
                arrays(st.lists(NUMBERS, min_size=2, max_size=2), pa.list_(pa.int64())),
            ]
        },
        good={"vector": pa.array([[1.0, 2.0], None])},
        arrow=[pa.list_(pa.float32()), pa.list_(pa.float64(), 3), pa.large_list(pa.float16())],
    ),
    "bits": TypeCase(
        st.text(st.sampled_from("01"), min_size=11, max_size=11),
        extremes=["0" * 11, "1" * 11, "10000000001"],
        limits={"dimensions": 11},
        sql="bit(11)",
        fields={"bits": {"dimensions": 3}},
        columns={
            "bits": [
                *(arrays(st.text(st.sampled_from("01"), min_size=2, max_size=4), kind) for kind in TEXTS),
                arrays(_texts, pa.string()),
            ]
        },
        good={"bits": pa.array(["010", None])},
        arrow=[pa.string()],
    ),
    "image": TypeCase(
        st.binary(max_size=20).map(lambda data: PNG + data),
        extremes=[PNG, b"GIF89a" + bytes(range(256)) * 300],
        sent=lambda value: base64.b64encode(value).decode(),
        sql="bytea",
        fields={"image": {"max_bytes": 20}, "image path": {"stored_as": "path"}},
        columns={
            "image": [
                *(
                    arrays(st.sampled_from([PNG, b"\xff\xd8\xff", b"RIFF1234WEBPxx", b"RIFF1234", b"", PNG * 9]), kind)
                    for kind in (pa.binary(), pa.large_binary(), pa.binary_view())
                ),
                arrays(_texts, pa.string()),
            ],
            "image path": [arrays(ANY_PATHS | _texts, kind) for kind in TEXTS],
        },
        good={"image": pa.array([PNG, None]), "image path": pa.array(["a/1.jpg", None])},
        arrow=[pa.binary(), pa.string()],
    ),
}  # fmt: skip

# An image whose path a record has, in place of its bytes.
PATH_CASE = TypeCase(
    SAFE_PATHS, extremes=["a", "größe/日本 1.png"], sql="text", limits={"type": "image", "stored_as": "path"}
)

TYPES: dict[str, Json] = {name: case.limits for name, case in CASES.items()}
CONTRACT = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        *({"name": f"f_{name}", "type": name, **limits} for name, limits in TYPES.items()),
    ],
    "key": ["id"],
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | case.values for name, case in CASES.items()}), min_size=1, max_size=12
)
# Beside these every batch has a row of nulls.
EXTREMES: dict[str, Sequence[Any]] = {name: case.extremes for name, case in CASES.items()}


def as_json(kind: str, value: Any) -> Any:
    """The JSON that a client sends for a value."""
    return None if value is None else CASES[kind].sent(value)


def as_cell(kind: str, value: Any) -> str:
    """The CSV cell that a client sends for a value; null is the empty cell without quotes."""
    if value is None:
        return ""
    shown = as_json(kind, value)
    text = shown if isinstance(shown, str) and kind != "json" else json.dumps(shown, ensure_ascii=False)
    return '"' + text.replace('"', '""') + '"' if kind in ("text", "json", "vector") else text
