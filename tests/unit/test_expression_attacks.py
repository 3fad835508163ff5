"""What expressions refuse: everything that is not on their list, and everything without bound."""

import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_expressions import COLUMNS, KNOWN, results

from gristmill.core.errors import Invalid
from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.run import evaluate
from gristmill.transforms.spec import StepRefused

MIB = 1024 * 1024
_INNER = ["s", "i", "'a'", "1", "None", "lower"]
ATTACKS = [
    # Ways to objects behind the values.
    *(f"{one}.{name}" for one in _INNER for name in ("__class__", "__dict__", "format", "real", "__globals__")),
    *(f"{one}[{index}]" for one in _INNER for index in ("0", "'x'", "::", "__class__")),
    *(f"({one}).__class__.__mro__[1].__subclasses__()" for one in _INNER),
    "().__class__.__base__", "[].append(1)", "{}.get", "''.join(['a'])", "'{0.__class__}'.format(s)", "s.format(i)",
    # Calls of what is no function of ours.
    *(
        f"{name}({argument})"
        for name in ("eval", "exec", "open", "compile", "__import__", "getattr", "type", "globals", "input", "print",
                     "vars", "dir", "breakpoint", "exit", "memoryview", "bytes", "range", "list", "map", "object")
        for argument in ("s", "'os'")
    ),
    "lower(lower)", "(lower)(s)(s)", "lower(s)(s)", "(lambda: 1)()", "(lambda s: s)(s)", "[lower][0](s)", "'lower'(s)",
    # Other parts of the grammar.
    "[x for x in (1, 2)]", "{x for x in (1,)}", "{x: 1 for x in (1,)}", "(x for x in (1,))", "lambda: s", "(z := 1)",
    "await s", "yield", "f'{s}'", "f'{i!r}'", "b'a'", "1j", "...", "s if b", "*s", "lower(*s)", "lower(**s)",
    "lower(text=s)", "{1: 2}", "{1}", "[1, 2]", "(1, 2)", "()", "i @ j", "i ** j", "9 ** 9 ** 9", "i << 2", "i >> 2",
    "i & j", "i | j", "i ^ j", "~i", "not", "i is j", "i is 1", "i == None", "i in j", "i in 'a'", "i in (None,)",
    "import os", "s; s", "s = 1", "del s", "pass", "return s", "s\ns", "@s", "def f(): pass", "print s", "`s`", "$s",
    "?",
    # Look-alikes and texts that are none.
    "ſ", "ａ", "ｓ", "lоwer(s)", "ﬁ", "𝐬", "s\u200b", "\u202es", "'\\ud800'", "'\\0'", "\x00", "s\x00", "'\x00'",
    "\ud800",
    # Beyond bounds.
    "-" * 3000 + "i", "(" * 200 + "i" + ")" * 200, "(" * 3000 + "i" + ")" * 3000, "not " * 900 + "b",
    "i" + " + i" * 600,
    "i" + "+i" * 3000, "'" + "a" * 5000 + "'", "[" * 90 + "]" * 90, "9" * 3000, "1e999",
    "-9223372036854775809", "1" + "0" * 30,
    f"i in ({', '.join(map(str, range(201)))})", "lower(" * 60 + "s" + ")" * 60, "0x" + "f" * 100, "1_0" * 300, "",
    " ", "\n", "#", "\\", "'", '"""', "(", ")", "i +", "+ * i", "lower(", "lower(s", "lower()", "lower(s, s)",
    "div(d, d)",
    # Arguments that have to be written out, and are no good.
    "matches(s, s)", "matches(s, '(')", "matches(s, '(?=a)')", "matches(s, '(a)\\\\1')", f"matches(s, '{'a' * 1001}')",
    "matches(s, 'a{1001}')", "matches(s, '(((a{100}){100}){100}){100}')", "div(d, d, 39)",
    "div(d, d, -1)", "div(d, d, i)", "round(x, 99)", "year(at, 'Nowhere')", "year(at, '../../etc/passwd')",
    "year(at, s)",
    "json_text(meta, s)", "json_text(meta, 'a\\\\')", "date('x') == day and s + 1 == 2", "at == 'yesterday'",
    "day == '2026-02-30'", "span == 'P1Y'", "decimal(x)", "d + x", "d / d", "s + i", "s - s", "b + b", "-s", "not i",
    "i) + (j", "lower) (s", "i < j in (1, 2)", "i is None is None", "d + 1e-999999999", "day + None",
    "matches(s, '\\\\Qa')", "extract(s, '\\\\C')", "column(s)", "column('nothing')", "column()",
    "i if i else j", "i if b else s", "coalesce()", "coalesce(i, s)", "meta == meta", "meta + meta", "lower(meta)",
    "b < c",
    "s < i", "at < day", "unknown", "Lower(s)", "int(s)", "str(i)", "len(s)",
]  # fmt: skip


def test_there_are_as_many_as_said() -> None:
    assert len(set(ATTACKS)) >= 200


@pytest.mark.parametrize("number", range(len(ATTACKS)))
def test_it_is_refused_with_its_reason(number: int) -> None:
    with pytest.raises(StepRefused) as caught:
        compile_expression(ATTACKS[number], COLUMNS, KNOWN, "/value")
    (violation,) = caught.value.violations
    assert violation.pointer == "/value"
    assert violation.code
    assert 10 < len(violation.reason) < 1500


@given(text=st.text("ij+-*/%()'\"., \n<>=!lower[]{}:0123456789\\_@é", max_size=40))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        compile_expression(text, COLUMNS, KNOWN, "/value")
    except StepRefused:
        return
    results(text, [{"i": 1, "j": 2, "s": "a"}])


class TestBounds:
    def test_replacements_within_replacements(self) -> None:
        bomb = "s"
        for _ in range(15):
            bomb = f"replace({bomb}, 'a', '{'a' * 100}')"
        tracemalloc.start()
        try:
            assert results(bomb, [{"s": "a"}, {"s": "b"}])[1] == ["too_large", "b"]
            assert tracemalloc.get_traced_memory()[1] < 64 * MIB
        finally:
            tracemalloc.stop()

    def test_padding(self) -> None:
        assert results("pad_left(s, i)", [{"s": "a", "i": 2**62}, {"s": "a", "i": 2}])[1] == ["too_large", "0a"]

    def test_many_long_texts_of_one_batch(self) -> None:
        node = compile_expression("s + s + s + s", COLUMNS, KNOWN, "/value")
        column = pa.chunked_array([pa.array(["x" * 200_000] * 400)])
        with pytest.raises(Invalid, match="take more than"):
            evaluate(node, {"s": column}, 400)
        values, errors = evaluate(node, {"s": column.slice(0, 100)}, 100)
        assert (errors, values.null_count) == ([], 0)

    def test_a_pattern_takes_no_longer_than_its_text(self) -> None:
        assert results("matches(s, '(a*)*b')", [{"s": "a" * 100_000}])[1] == [False]

    def test_rows_without_a_value_are_found_among_many(self) -> None:
        rows = [{"i": 1, "j": int(n % 1000 != 7)} for n in range(20_000)]
        found = results("i // j", rows)[1]
        assert [n for n, value in enumerate(found) if value == "division_by_zero"] == list(range(7, 20_000, 1000))


class TestTime:
    def test_comparisons_within_comparisons_are_looked_at_once(self) -> None:
        chain = member = "b"
        for _ in range(18):
            chain, member = f"(b=={chain}==b)", f"({member} in (True,True))"
        for text in (chain, member):
            assert results(text, [{"b": True}, {"b": False}])[0] == "boolean"

    def test_conditions_within_conditions_that_have_no_value(self) -> None:
        deep = "1 // i"
        for _ in range(17):
            deep = f"({deep} if i >= 0 else 0)"
        assert results(deep, [{"i": 0}, {"i": 1}, {"i": -1}])[1] == ["division_by_zero", 1, 0]

    def test_marks_that_would_be_put_in_order_one_by_one(self) -> None:
        assert results("normalize(s)", [{"s": "a" + "\u0316\u0300" * 40_000}, {"s": "e\u0301" * 5000}])[1] == [
            "bad_value",
            "\u00e9" * 5000,
        ]

    def test_the_values_of_a_step_may_be_asked_to_stop(self) -> None:
        def check() -> None:
            raise KeyboardInterrupt

        node = compile_expression("i + 1", COLUMNS, KNOWN, "/value")
        with pytest.raises(KeyboardInterrupt):
            evaluate(node, {"i": pa.chunked_array([pa.array([1])])}, 1, check)


def test_texts_between_two_functions_take_a_bounded_amount_at_a_time() -> None:
    node = compile_expression("length(pad_left(s, 1000000))", COLUMNS, KNOWN, "/value")
    tracemalloc.start()
    try:
        values, errors = evaluate(node, {"s": pa.chunked_array([pa.array(["x"] * 300)])}, 300)
        assert tracemalloc.get_traced_memory()[1] < 128 * MIB
    finally:
        tracemalloc.stop()
    assert (errors, values.to_pylist()) == ([], [1_000_000] * 300)


def test_what_decides_is_not_looked_behind() -> None:
    rows = [{"i": 0, "j": 1}, {"i": 2, "j": 1}, {"i": None, "j": 0}]
    assert results("i != 0 and 4 // i == 2", rows)[1] == [False, True, None]
    assert results("i == 0 or 4 // i == 2", rows)[1] == [True, True, None]
    assert results("0 if i == 0 else 4 // i", rows)[1] == [0, 2, None]
    assert results("coalesce(i, 4 // j)", rows)[1] == [0, 2, "division_by_zero"]


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("d * 1.19", "decimal", "1.7850"),
        ("d * 0.1", "decimal", "0.150"),
        ("d == 1.50", "boolean", True),
        ("d + 1", "decimal", "2.50"),
        ("1 - d", "decimal", "-0.50"),
        ("at >= '2026-01-31T00:00:00+01:00'", "boolean", True),
        ("day == '2026-01-31'", "boolean", True),
        ("span > 'PT59M'", "boolean", True),
        ("day + 1", "date", "2026-02-01"),
        ("at - '2026-01-30T23:30:00Z'", "duration", "P1D"),
        ("None", "null", None),
        ("i + None", "integer", None),
        ("1 if b else None", "integer", 1),
        ("i if b else 2.5", "float", 7.0),
        ("json_integer(meta, 'a.n')", "integer", 2**60),
        ("json_text(meta, 'a.n')", "text", None),
        ("json_decimal(meta, 'x')", "decimal", "0.1"),
        ("json_boolean(meta, 'ok')", "boolean", True),
        ("json_float(meta, 'x') * 2", "float", 0.2),
        ("text(at)", "text", "2026-01-31T23:30:00Z"),
        ("s", "text", "NA"),
        ("\n s +\n  s ", "text", "NANA"),
        ("r'\\d' + '\\\\'", "text", "\\d\\"),
        ("substring(s, 0, 2)", "text", "N"),
        ("-9223372036854775808 + 0", "integer", -(2**63)),
        ("extract(s, '(N)(A)')", "text", "NA"),
        ("extract('a)b', '[)(]b')", "text", ")b"),
        ("extract('12 km', '([0-9]+) km')", "text", "12 km"),
        ("x == 9007199254740993", "boolean", False),
        ("x in (9007199254740993, 1)", "boolean", False),
        ("x == 9007199254740992", "boolean", True),
        ("0.0 if d is None else d", "decimal", "1.50"),
        ("coalesce(1, 1.5, d)", "decimal", "1"),
        ("year('2026-01-31')", "integer", 2026),
        ("text(duration('-PT9223372036854.775808S'))", "text", "-P106751991DT4H54.775808S"),
        ("span == '-PT9223372036854.775808S'", "boolean", False),
        ("coalesce(span, '-PT9223372036854.775808S')", "duration", "PT1H"),
        ("column('i') + i", "integer", 14),
        ("i in ()", "boolean", False),
        ("-decimal('12345678901234567890123456789012345678')", "decimal", "-12345678901234567890123456789012345678"),
    ],
)
def test_what_constants_become_beside_others(text: str, type_: str, value: object) -> None:
    import datetime as dt  # noqa: PLC0415 - one row
    from decimal import Decimal  # noqa: PLC0415 - one row

    row = {
        "d": Decimal("1.50"), "at": dt.datetime(2026, 1, 31, 23, 30, tzinfo=dt.UTC), "day": dt.date(2026, 1, 31),
        "span": 3_600_000_000, "i": 7, "x": 2.0**53, "b": True, "s": "NA",
        "meta": '{"a": {"n": 1152921504606846976}, "x": 0.1, "ok": true}',
    }  # fmt: skip
    made, (found,) = results(text, [row])
    assert (made, found) == (type_, value)
    assert type(found) is type(value)


@pytest.mark.parametrize("function", ["lower", "trim", "length"])
def test_an_argument_of_another_type_is_named(function: str) -> None:
    with pytest.raises(StepRefused, match="text is i, of type integer: it takes text"):
        compile_expression(f"{function}(i)", COLUMNS, KNOWN, "/value")
