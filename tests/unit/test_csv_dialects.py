"""CSV in any dialect: what Python's csv module writes is read back equal, however the body is cut into blocks."""

import codecs
import csv
import io
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.ingest.chunking import read_batches
from gristmill.records.readers.context import ReadContext
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.dialect import ENCODINGS, BadDialect, CsvDialect
from gristmill.records.readers.lines import lines_of
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import Problems, RecordValidator

CONTRACT = parse_contract(
    {
        "name": "sales",
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "name", "type": "text"},
            {"name": "amount", "type": "float"},
            {"name": "price", "type": "decimal", "precision": 20, "scale": 4},
        ],
        "key": ["id"],
    }
)
HEADER = ["id", "name", "amount", "price"]
Row = tuple[int, str | None, float | None, str | None]

decimals = st.decimals(min_value=-(10**9), max_value=10**9, places=2).map(lambda number: f"{number:f}")


@st.composite
def dialect(draw: st.DrawFn) -> CsvDialect:
    decimal = draw(st.sampled_from([".", ","]))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|", ":", "^", "~", "\\", "]", "-", "\x01"]))
    quote = draw(st.sampled_from(['"', "'", "`", "^"]).filter(lambda sign: sign != delimiter))
    groups = [None, " ", "_", "'", "\N{NARROW NO-BREAK SPACE}", {".": ",", ",": "."}[decimal]]
    thousands = draw(st.sampled_from(groups).filter(lambda sign: sign != quote))
    encoding = draw(st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32", "gb18030"]))
    null = draw(st.none() | st.sampled_from(["NA", "n/a", "NULL", "-"]).filter(lambda null: null != delimiter))
    return CsvDialect(delimiter, decimal, thousands, encoding, null, quote)


def number_as(plain: str, dialect: CsvDialect, grouped: bool) -> str:
    """Return a number, with two decimals or none, as the dialect writes it."""
    whole, _, fraction = plain.lstrip("-").partition(".")
    if grouped and dialect.thousands is not None:
        whole = f"{int(whole):,}".replace(",", dialect.thousands)
    sign = "-" if plain.startswith("-") else ""
    return sign + whole + (dialect.decimal + fraction if fraction else "")


def write(rows: Sequence[Row], dialect: CsvDialect, end: str, grouped: bool) -> bytes:
    target = io.StringIO(newline="")
    signs: dict[str, Any] = {"delimiter": dialect.delimiter, "quotechar": dialect.quote}
    csv.writer(target, **signs, lineterminator=end, quoting=csv.QUOTE_ALL).writerow(HEADER)
    one = csv.writer(target, **signs, lineterminator="")
    for number, name, amount, price in rows:
        cells = [
            number_as(str(number), dialect, grouped),
            name,
            None if amount is None else number_as(f"{amount:.2f}", dialect, grouped),
            None if price is None else number_as(price, dialect, grouped),
        ]
        for index, cell in enumerate(cells):
            target.write(dialect.delimiter if index else "")
            if cell is None:
                target.write(dialect.null or "")
            elif index == 1:
                # Quoted, as a text that is empty or looks like null is another thing than null.
                target.write(dialect.quote + cell.replace(dialect.quote, dialect.quote * 2) + dialect.quote)
            else:
                one.writerow([cell])
        target.write(end)
    return target.getvalue().encode(dialect.encoding)


def read(body: bytes, dialect: CsvDialect, rejects: list[Reject] | None = None) -> list[dict[str, Any]]:
    taken = None if rejects is None else rejects.append
    source = ReadContext(io.BytesIO(body), RecordValidator(CONTRACT), Problems(), taken, dialect=dialect)
    return [row for batch in read_batches(read_csv, source, 64 * 1024, 7) for row in batch.table.to_pylist()]


def refusal(body: str | bytes, dialect: CsvDialect | None = None) -> tuple[str, int | None, str]:
    """Return code, line and reason of the one thing that is wrong."""
    with pytest.raises(Invalid) as caught:
        read(body if isinstance(body, bytes) else body.encode(), dialect or CsvDialect())
    (violation,) = caught.value.violations
    return violation.code, violation.line, violation.reason


rows = st.lists(
    st.tuples(
        st.integers(-(10**15), 10**15),
        st.none() | st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"]), max_size=10),
        st.none() | decimals.map(float),
        st.none() | decimals,
    ),
    min_size=1,
    max_size=30,
)


class TestProperties:
    @given(
        rows=rows,
        dialect=dialect(),
        end=st.sampled_from(["\n", "\r\n"]),
        grouped=st.booleans(),
        block=st.integers(40, 400),
    )
    def test_what_the_csv_module_writes_is_read_back_equal(
        self, rows: list[Row], dialect: CsvDialect, end: str, grouped: bool, block: int
    ) -> None:
        body = write(rows, dialect, end, grouped)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gristmill.records.readers.csv_blocks.BLOCK_BYTES", block)
            patch.setattr("gristmill.records.readers.csv_rows.BLOCK_BYTES", block)
            patch.setattr("gristmill.records.readers.transcode._READ_BYTES", block)
            found = read(body, dialect)
            starts = lines_of("text/csv", io.BytesIO(body), set(range(len(rows))), dialect)
        assert [(row["id"], row["name"], row["amount"]) for row in found] == [row[:3] for row in rows]
        prices = [None if row["price"] is None else float(row["price"]) for row in found]
        assert prices == [None if row[3] is None else float(row[3]) for row in rows]
        lines = [0, *((name or "").count("\n") for _, name, _, _ in rows)]
        assert starts == {index: index + 2 + sum(lines[: index + 1]) for index in range(len(rows))}

    @given(
        cells=st.lists(st.text("0123456789.,' -+eE?", max_size=9), min_size=1, max_size=20),
        kind=st.sampled_from(["integer", "float", "decimal", "text"]),
        decimal=st.sampled_from(".,"),
        thousands=st.sampled_from([None, ".", ",", "'", " "]),
    )
    def test_cells_are_judged_alike_by_the_column_and_by_the_row(
        self, cells: list[str], kind: str, decimal: str, thousands: str | None
    ) -> None:
        if decimal == thousands:
            return
        contract = parse_contract({"name": "x", "fields": [{"name": "a", "type": kind}, {"name": "b", "type": "text"}]})
        body = "a;b\n" + "".join(f"{cell};{number}\n" for number, cell in enumerate(cells))
        dialect = CsvDialect(";", decimal, thousands)
        found = []
        for by_row in (False, True):
            rejects: list[Reject] = []
            source = ReadContext(
                io.BytesIO(body.encode()), RecordValidator(contract), Problems(), rejects.append, dialect=dialect
            )
            with pytest.MonkeyPatch.context() as patch:
                if by_row:
                    patch.setattr("gristmill.records.readers.csv_blocks._is_odd", lambda raw, syntax: True)
                rows = [row for block in read_csv(source) for row in block.table.to_pylist()]
            found.append((repr(rows), [(one.record, one.line, one.raw, one.violations) for one in rejects]))
        assert found[0] == found[1]


class TestNumbers:
    @pytest.mark.parametrize(
        ("cell", "decimal", "thousands", "value"),
        [
            ("1,5", ",", None, 1.5),
            ("1.234,50", ",", ".", 1234.5),
            ("-1.234.567", ",", ".", -1234567.0),
            ("1234,5", ",", ".", 1234.5),
            ("1,5e3", ",", ".", 1500.0),
            ("'1,234.50'", ".", ",", 1234.5),
            ("1 234,5", ",", "space", 1234.5),
            ("1\u202f234,5", ",", "nnbsp", 1234.5),
            (",5", ",", None, 0.5),
        ],
    )
    def test_a_number_is_read_as_the_dialect_says(
        self, cell: str, decimal: str, thousands: str | None, value: float
    ) -> None:
        body = f"id;amount\n1;{cell}\n".encode()
        assert read(body, CsvDialect(";", decimal, thousands, quote="'"))[0]["amount"] == value

    @pytest.mark.parametrize(
        ("cell", "decimal", "thousands", "reason"),
        [
            ("1.5", ",", None, '"1.5" is no number as the parameters say: decimal=,: decimal=.?'),
            ("1.5", ",", ".", "and thousands=. between each three digits: decimal=.?"),
            ("1.23,5", ",", ".", "between each three digits"),
            ("12.34.567", ",", ".", "between each three digits"),
            ("1.234", ",", None, "decimal=. or thousands=.?"),
            ("1,5", ".", None, '"1,5" is not a finite number: decimal=,?'),
            ("1.234,50", ".", None, ": decimal=, and thousands=.?"),
            ("1 234,50", ".", None, ": decimal=, and thousands=space?"),
            ("1\u00a0234", ".", None, ": thousands=nbsp?"),
            ("1,234", ".", None, ": decimal=, or thousands=,?"),
            ("1,234.50", ".", None, ": thousands=,?"),
            ("1'234.50", ".", None, ": thousands='?"),
            ("n/a", ".", None, '"n/a" is not a finite number: null=n/a?'),
            ("NULL", ",", ".", ": null=NULL?"),
        ],
    )
    def test_a_number_that_another_dialect_reads_names_it(
        self, cell: str, decimal: str, thousands: str | None, reason: str
    ) -> None:
        code, line, found = refusal(f"id;amount\n1;\n2;{cell}\n", CsvDialect(";", decimal, thousands))
        assert (code, line) == ("wrong_type", 3)
        assert reason in found

    @pytest.mark.parametrize("cell", ["x1,5", "1,2,3", "--", "200,x"])
    def test_what_no_dialect_reads_names_none(self, cell: str) -> None:
        reason = refusal(f"id;amount\n1;{cell}\n", CsvDialect(";"))[2]
        assert "decimal=" not in reason
        assert "thousands=" not in reason

    def test_an_integer_has_no_decimal_comma(self) -> None:
        assert refusal("id;name\n1,5;x\n", CsvDialect(";"))[2] == '"1,5" is not an integer from -2^63 to 2^63-1'
        assert refusal("id;name\n1,500;x\n", CsvDialect(";"))[2].endswith(": thousands=,?")

    def test_a_decimal_keeps_every_digit_and_is_shown_as_it_was_sent(self) -> None:
        (row,) = read(b"id;price\n1;1.234.567.890.123.456,7801\n", CsvDialect(";", ",", "."))
        assert row["price"] == "1234567890123456.7801"
        assert "1.234,56789" in refusal("id;price\n1;1.234,56789\n", CsvDialect(";", ",", "."))[2]


class TestNull:
    def test_it_is_a_cell_without_quotes_of_any_type(self) -> None:
        body = b'id,name,amount\n1,NA,NA\n2,"NA",\n3,,NA\n4,"",1\n'
        rows = [(row["name"], row["amount"]) for row in read(body, CsvDialect(null="NA"))]
        assert rows == [(None, None), ("NA", None), (None, None), ("", 1.0)]

    def test_a_required_field_may_not_be_it(self) -> None:
        assert refusal("id,name\nNA,x\n", CsvDialect(null="NA"))[0] == "null"


class TestHeader:
    @pytest.mark.parametrize(
        ("body", "dialect", "code", "reason"),
        [
            (
                "id;name;amount;price;x\n",
                CsvDialect(),
                "wrong_delimiter",
                "The header has one column and four semicolons: delimiter=;?",
            ),
            ("id\tname\n", CsvDialect(), "wrong_delimiter", "The header has one column and one tab: delimiter=tab?"),
            (
                '"id";"name"\n',
                CsvDialect(),
                "wrong_delimiter",
                "The header has one column and one semicolon: delimiter=;?",
            ),
            ("id,name\n", CsvDialect(";"), "wrong_delimiter", "The header has one column and one comma: delimiter=,?"),
            ("a;b;c\n", CsvDialect(), "wrong_delimiter", "The header has one column and two semicolons: delimiter=;?"),
            ("'id','name'\n", CsvDialect(), "wrong_quote", "The names in the header stand between ': quote='?"),
            (
                '"id","name"\n',
                CsvDialect(quote="'"),
                "wrong_quote",
                'The names in the header stand between ": quote="?',
            ),
        ],
    )
    def test_one_of_another_dialect_names_it(self, body: str, dialect: CsvDialect, code: str, reason: str) -> None:
        assert refusal(body + "1\n", dialect) == (code, 1, reason)

    def test_names_that_hold_other_signs_are_no_mistake(self) -> None:
        contract = parse_contract(
            {"name": "x", "fields": [{"name": "id", "type": "integer"}], "unknown_fields": "collect"}
        )
        source = ReadContext(io.BytesIO(b"id,a;b|c\n1,2\n"), RecordValidator(contract, unknown="collect"), Problems())
        assert sum(block.table.num_rows for block in read_csv(source)) == 1

    def test_one_of_two_thousand_columns_lists_a_hundred(self) -> None:
        with pytest.raises(Invalid) as caught:
            read((",".join(["id", *(f"c{n}" for n in range(2000))]) + "\n1\n").encode(), CsvDialect())
        assert (len(caught.value.violations), caught.value.total) == (100, 2000)


class TestEncodings:
    @pytest.mark.parametrize("encoding", [name for name in ENCODINGS.values() if name != "ascii"])
    def test_text_in_each_is_read(self, encoding: str) -> None:
        signs = "".join(
            sign for sign in "äéßñçЖяΩשعกあ漢한€“" if sign.encode(encoding, "ignore").decode(encoding, "ignore") == sign
        )
        rows = read(f"id,name\n1,{signs}\n2,a\n".encode(encoding), CsvDialect(encoding=encoding))
        assert [row["name"] for row in rows] == [signs, "a"]
        assert signs

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
    def test_a_byte_order_mark_is_passed_over(self, encoding: str) -> None:
        assert read("id,name\n1,é\n".encode(encoding), CsvDialect(encoding=encoding))[0]["name"] == "é"

    @pytest.mark.parametrize(
        ("encoding", "mark"), [("utf-16-le", "\ufeff"), ("utf-16-be", "\ufeff"), ("utf-16-le", ""), ("utf-16-be", "")]
    )
    def test_utf_16_is_named_whether_it_has_a_mark_or_not(self, encoding: str, mark: str) -> None:
        code, line, reason = refusal((mark + "id,name\n1,a\n").encode(encoding))
        assert (code, line) == ("wrong_encoding", 1)
        assert reason.endswith(f"encoding={'utf-16' if mark else encoding}?")

    def test_a_mark_of_another_encoding_than_the_one_named_is_named(self) -> None:
        assert refusal("id\n1\n".encode("utf-16"), CsvDialect(encoding="latin-1"))[2].endswith("encoding=utf-16?")
        assert refusal("id\n1\n".encode("utf-8-sig"), CsvDialect(encoding="utf-16"))[2].endswith("encoding=utf-8?")

    def test_a_byte_that_is_no_utf_8_is_named_with_its_line_and_what_it_may_be(self) -> None:
        found = refusal("id,name\n1,a\n2,Zoë\n".encode("latin-1"))
        assert found == ("malformed", 3, "Byte 5 of the row, 0xeb, is not UTF-8: encoding=latin-1?")
        assert refusal("id,name\n1,“a”\n".encode("cp1252"))[2].endswith("encoding=cp1252?")

    def test_a_byte_that_the_encoding_does_not_have_is_one_reject(self) -> None:
        rejects: list[Reject] = []
        body = "id,name\n1,ä\n2,ä¶\n3,ö\n".encode("latin-1").replace(b"\xb6", b"\x81")
        rows = read(body, CsvDialect(encoding="cp1252"), rejects)
        assert [row["name"] for row in rows] == ["ä", "ö"]
        (reject,) = rejects
        assert (reject.record, reject.line) == (1, 3)
        assert reject.violations[0].reason == "Byte 0x81 in place of character 4 of the row is not cp1252"

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be"])
    def test_a_body_that_ends_in_the_middle_of_a_character_is_one_reject(self, encoding: str) -> None:
        rejects: list[Reject] = []
        rows = read("id,name\n1,a\n2,b\n".encode(encoding)[:-1], CsvDialect(encoding=encoding), rejects)
        assert [row["id"] for row in rows] == [1]
        assert [reject.line for reject in rejects] == [3]

    def test_utf_8_named_as_ascii_is_refused_and_not_read_as_something_else(self) -> None:
        assert refusal("id,name\n1,é\n", CsvDialect(encoding="ascii"))[0] == "malformed"


class TestQuotes:
    def test_one_that_never_closes_is_named_with_the_line_where_it_opens(self) -> None:
        code, line, reason = refusal("id;name\n1;'a\nb'\n2;'c;d\n", CsvDialect(";", quote="'"))
        assert (code, line) == ("malformed", 4)
        assert "never closed" in reason


class TestParameters:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("delimiter", value) for value in ("", "ab", "a", "7", "\n", "\0", '"', "§")),
            *(("quote", value) for value in ("", "''", "q", "\r", ",")),
            *(("decimal", value) for value in ("", ";", "..", "point,")),
            *(("thousands", value) for value in (".", "1", "ab", "-", "\n")),
            *(("encoding", value) for value in ("", "utf-7", "klingon", "a\0b", "idna", "é", "x" * 5000)),
            *(("null", value) for value in ("a\nb", "x" * 101, "a,b", '"a"')),
        ],
    )
    def test_a_bad_value_is_named(self, name: str, value: str) -> None:
        with pytest.raises(BadDialect) as caught:
            CsvDialect(**{name: value})
        assert caught.value.parameter in (name, "quote")
        assert len(str(caught.value)) < 900

    def test_names_stand_for_characters_and_encodings_have_one_name(self) -> None:
        found = CsvDialect("tab", "comma", "nbsp", "UTF16", "", "apostrophe")
        assert found == CsvDialect("\t", ",", "\u00a0", "utf-16", None, "'")
        assert {CsvDialect(encoding=name).encoding for name in ("Windows-1252", "cp1252", "1252")} == {"cp1252"}
        assert all(CsvDialect(encoding=codecs.lookup(name).name).encoding == name for name in ENCODINGS.values())
        assert CsvDialect(encoding="ISO-8859-1").changed == {"encoding": "latin-1"}
        assert CsvDialect("comma", encoding="utf-8-sig", thousands="").is_default
