"""Inference: what is made of files as strangers write them, and what is asked."""

import gzip
import io
import json
import zipfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Invalid, Malformed
from gristmill.kit.identifiers import is_name
from gristmill.records.infer.names import field_names
from gristmill.records.infer.propose import Proposal, propose
from gristmill.records.infer.read import read_sample
from gristmill.records.infer.sample import MAX_RECORDS, Sample

CSV, NDJSON, JSON = "text/csv", "application/x-ndjson", "application/json"
PARQUET, ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"


def sample(raw: bytes | str, kind: str = CSV, partial: bool = False, **answers: Any) -> Sample:
    return read_sample(io.BytesIO(raw.encode() if isinstance(raw, str) else raw), kind, partial, answers)


def proposal(raw: bytes | str, kind: str = CSV, partial: bool = False, **answers: Any) -> Proposal:
    return propose("t", sample(raw, kind, partial, **answers), answers, embeds=True)


def types(found: Proposal) -> dict[str, str]:
    return {one["name"]: one["type"] for one in found.contract["fields"]}


def casts(found: Proposal) -> dict[str, dict[str, Any]]:
    steps = found.contract.get("pipeline", [])
    return {one["as"]: {k: v for k, v in one.items() if k not in ("op", "as", "column")} for one in steps}


def asked(found: Proposal) -> dict[str, Any]:
    return {one.about: one.proposed for one in found.questions}


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow(table: pa.Table, rows: int = 1000) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


class TestTypes:
    @pytest.mark.parametrize(
        ("cells", "type_", "cast"),
        [
            (["true", "false"], "boolean", None),
            (["Yes", "no"], "boolean", {"type": "boolean", "true": ["yes"], "false": ["no"]}),
            (["1", "-7", "9223372036854775807"], "integer", None),
            (["1", "9223372036854775808"], "decimal", None),
            (["1", "0.30000000000000004"], "float", None),
            (["1.5", "9007199254740993"], "decimal", None),
            (["007", "123"], "text", None),
            (["1.5", "2"], "float", None),
            (["1.50", "22.05"], "decimal", None),
            (["1.0000000000000000001", "2"], "decimal", None),
            (["1e5", "2"], "float", None),
            (["5", "n/a", "-"], "integer", {"type": "integer", "nulls": ["-", "n/a"]}),
            (["NA", "Namibia"], "text", None),
            (["1,234,567", "12"], "integer", {"type": "integer", "thousands": ","}),
            (["1,234", "2,345"], "text", None),
            (["2026-01-31", "2026-02-28"], "date", None),
            (["2026-02-30", "2026-02-28"], "text", None),
            (["31/01/2026", "1/2/2026"], "date", {"type": "date", "format": "%d/%m/%Y"}),
            (["12/31/2026", "1/2/2026"], "date", {"type": "date", "format": "%m/%d/%Y"}),
            (["31.01.2026", "01.02.2026"], "date", {"type": "date", "format": "%d.%m.%Y"}),
            (["Jan 31, 2026"], "date", {"type": "date", "format": "%b %d, %Y"}),
            (["2026-01-31T12:00:00Z", "2026-01-31 13:00:00+01:00"], "timestamp", None),
            (["31 Jan 2026 1:05 pm"], "timestamp", {"type": "timestamp", "format": "%d %b %Y %I:%M %p", "zone": "UTC"}),
            (["0192f0c2-7d3a-7000-8000-0123456789ab"], "uuid", None),
            (["PT1M", "P1DT2H"], "duration", None),
            (['{"a": 1}', "[]"], "json", None),
            (['{"a": 1}', "[x"], "text", None),
        ],
    )
    def test_a_column_is_the_narrowest_type_that_takes_every_cell(
        self, cells: list[str], type_: str, cast: dict[str, Any] | None
    ) -> None:
        quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
        found = proposal("a,b\n" + "".join(f"x,{cell}\n" for cell in quoted))
        assert types(found)["b"] == type_
        assert casts(found) == ({} if cast is None else {"b": cast})

    def test_json_values_keep_their_kinds(self) -> None:
        lines = [
            {
                "n": 1,
                "x": 1,
                "s": "5",
                "d": "12.50",
                "day": "2026-01-31",
                "o": {"a": 1},
                "m": 1,
                "b": True,
                "big": 2**60 + 1,
            },
            {"n": 2, "x": 2.5, "s": "6", "d": "1.5", "day": "2026-02-01", "o": [1], "m": "x", "b": None, "big": 0.5},
        ]
        found = proposal("".join(json.dumps(line) + "\n" for line in lines), NDJSON)
        assert types(found) == {
            "n": "integer", "x": "float", "s": "text", "d": "decimal", "day": "date", "o": "json", "m": "json",
            "b": "boolean", "big": "json",
        }  # fmt: skip

    def test_of_parquet_and_arrow_the_schema_is_the_truth(self) -> None:
        table = pa.table(
            {
                "n": pa.array([1, None], pa.int32()),
                "u": pa.array([2**64 - 1, 1], pa.uint64()),
                "d": pa.array(["1.50", "2.25"]).cast(pa.decimal128(9, 2)),
                "t": pa.array(["2026-01-31", "1"]),
                "at": pa.array([1, 2], pa.timestamp("ns")),
                "v": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
                "o": pa.array([{"a": 1}, None]),
                "clock": pa.array([1, 2], pa.time32("s")),
                "c": pa.array(["x", "x"]).dictionary_encode(),
            }
        )
        for raw, kind in ((parquet(table), PARQUET), (arrow(table), ARROW)):
            found = proposal(raw, kind)
            assert types(found) == {
                "n": "integer", "u": "decimal", "d": "decimal", "t": "text", "at": "timestamp", "v": "vector",
                "o": "json", "c": "text",
            }  # fmt: skip
            assert found.contract["unknown_fields"] == "ignore"
            assert any('"clock" is left out' in note for note in found.notes)
            assert asked(found)["zone"] == "UTC"


class TestRoles:
    def test_a_unique_column_that_is_called_like_a_key_is_the_key(self) -> None:
        found = proposal("customer,order_id\na,1\na,2\n")
        assert found.contract["key"] == ["order_id"]
        assert "another value in each of the 2 records" in found.reasons["key"]
        assert {one["name"]: one.get("required") for one in found.contract["fields"]} == {
            "customer": True,
            "order_id": True,
        }

    def test_several_keys_are_asked(self) -> None:
        found = proposal("order_id,item_id\n1,3\n2,4\n")
        assert asked(found) == {"key": "order_id"}
        assert proposal("order_id,item_id\n1,3\n2,4\n", key="item_id").contract["key"] == ["item_id"]
        assert "key" not in proposal("order_id,item_id\n1,3\n2,4\n", key=None).contract

    def test_a_column_that_is_unique_by_chance_is_no_key_and_that_is_said(self) -> None:
        found = proposal("city,price\nA,1.5\nB,2.5\n")
        assert "key" not in found.contract
        assert "city has another value" in found.reasons["key"]
        assert not found.questions
        assert proposal("city,price\nA,1.5\nB,2.5\n", key="city").contract["key"] == ["city"]

    def test_integers_that_are_equal_in_another_writing_are_no_key(self) -> None:
        assert "key" not in proposal("id,x\n5,a\n+5,b\n").contract

    def test_several_times_are_asked_and_one_is_taken(self) -> None:
        one = proposal("n,made\n1,2026-01-31T12:00:00Z\n")
        assert one.contract["time_field"] == "made"
        assert not one.questions
        none = proposal("n,made\n1,2026-01-31T12:00:00Z\n", time_field=None)
        assert "time_field" not in none.contract
        two = "made,seen_at\n2026-01-31T12:00:00Z,2026-01-31T12:00:00Z\n"
        assert asked(proposal(two)) == {"time_field": "seen_at"}
        assert proposal(two, time_field="made").contract["time_field"] == "made"

    def test_few_values_are_filterable_and_sentences_are_embedded(self) -> None:
        rows = "".join(f"{'abc'[n % 3]},{n} words of a text that is long enough for it\n" for n in range(100))
        found = proposal("kind,note\n" + rows)
        assert [one["name"] for one in found.contract["fields"] if one.get("filterable")] == ["kind"]
        assert found.contract["embedding"] == {"from": ["note"]}
        assert "embedding" not in propose("t", sample("kind,note\n" + rows), {}, embeds=False).contract


class TestQuestions:
    def test_dates_of_an_open_order_are_asked_and_stay_texts(self) -> None:
        raw = "d,n\n01/02/03,1\n02/03/04,2\n"
        found = proposal(raw)
        assert asked(found) == {"format:d": "text"}
        assert types(found)["d"] == "text"
        assert [one.value for one in found.questions[0].options] == ["%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "text"]
        told = proposal(raw, **{"format:d": "%m/%d/%y"})
        assert casts(told) == {"d": {"type": "date", "format": "%m/%d/%y"}}
        assert not told.questions
        assert types(proposal(raw, **{"format:d": "text"})) == {"d": "text", "n": "integer"}

    def test_the_zone_of_times_without_an_offset_is_asked(self) -> None:
        raw = "at,n\n2026-01-31 12:00:00,1\n"
        assert asked(proposal(raw)) == {"zone": "UTC"}
        field = proposal(raw, zone="Europe/Berlin").contract["fields"][0]
        assert field == {"name": "at", "type": "timestamp", "zone": "Europe/Berlin", "required": True}

    def test_a_text_that_is_null_in_another_column_is_asked(self) -> None:
        raw = "tail,delay\nN1,5\nNA,NA\n"
        found = proposal(raw)
        assert asked(found) == {"null": "text"}
        assert "tail has 1 texts that stand for null in other columns, NA" in found.questions[0].text
        assert casts(proposal(raw, null="text")) == {"delay": {"type": "integer", "nulls": ["NA"]}}
        told = proposal(raw, null="NA")
        assert (casts(told), told.questions) == ({}, [])
        assert [one["nulls"] for one in told.columns] == [1, 1]
        assert sample(raw, null="NA").dialect.changed == {"null": "NA"}
        with pytest.raises(Invalid, match="no answer about null"):
            proposal(raw, null="a,b")

    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ({"zone": "Mars/Base"}, "not an IANA time zone"),
            ({"zone": 7}, "not an IANA time zone"),
            ({"format:d": "%Y"}, "no answer about format:d"),
            ({"colour": "red"}, "no question about this sample"),
            ({"key": "d"}, "cannot be the key"),
        ],
    )
    def test_an_answer_that_is_none_is_refused(self, answers: dict[str, Any], reason: str) -> None:
        with pytest.raises(Invalid, match=reason):
            proposal("d,n\n01/02/03,1\n01/02/03,2\n", **answers)


class TestDialects:
    @pytest.mark.parametrize(
        ("raw", "dialect"),
        [
            ("a,b\n1,2\n".encode("utf-8-sig"), {}),
            (b"a;b\n1;2\n", {"delimiter": ";"}),
            (b"a\tb\n1\t2\n", {"delimiter": "\t"}),
            (b"a|b\n1|2\n", {"delimiter": "|"}),
            (b"a;b\nx;1,5\ny;2\n", {"delimiter": ";", "decimal": ","}),
            (b"a;b\nx;1.000,5\ny;2\n", {"delimiter": ";", "decimal": ",", "thousands": "."}),
            ("a;b\nä;1\n".encode("utf-16"), {"delimiter": ";", "encoding": "utf-16"}),
            ("a,b\nä,1\n".encode("utf-16-le"), {"encoding": "utf-16-le"}),
            ("a,b\nä,1\n".encode("latin-1"), {"encoding": "latin-1"}),
            ("a,b\n“ä”,1\n".encode("cp1252"), {"encoding": "cp1252"}),
            (b"'a','b'\n'x, y','2'\n", {"quote": "'"}),
            (b"a\n1\n2\n", {}),
        ],
    )
    def test_it_is_told_by_the_bytes(self, raw: bytes, dialect: dict[str, str]) -> None:
        found = sample(raw)
        assert found.dialect.changed == dialect
        assert [column.sent for column in found.columns] == (["a"] if raw == b"a\n1\n2\n" else ["a", "b"])
        assert found.rejected == 0

    def test_an_encoding_that_nothing_tells_is_asked(self) -> None:
        raw = "a,b\nŁódź,1\n".encode("cp1250")
        assert asked(proposal(raw)) == {"encoding": "cp1252"}
        told = proposal(raw, encoding="cp1250")
        assert told.columns[0]["examples"] == ["Łódź"]
        assert not told.questions
        with pytest.raises(Invalid, match="no answer about encoding"):
            proposal(raw, encoding="klingon")

    def test_points_that_may_group_digits_are_asked(self) -> None:
        raw = "a;b\n0,5;1.234\n1,25;2.000\n"
        assert asked(proposal(raw)) == {"points": "thousands"}
        assert types(proposal(raw)) == {"a": "float", "b": "integer"}
        as_decimal = proposal(raw, points="decimal")
        assert types(as_decimal) == {"a": "float", "b": "float"}
        assert casts(as_decimal) == {"a": {"type": "float", "decimal": ","}}

    def test_a_part_is_cut_at_its_last_line_in_every_encoding(self) -> None:
        text = "day,n\n" + "2026-01-31,7\n" * 50
        for encoding in ("utf-8", "utf-16", "utf-16-be"):
            raw = text.encode(encoding)
            for cut in range(1, 30):
                found = proposal(raw[:-cut], partial=True)
                assert types(found) == {"day": "date", "n": "integer"}
                assert sample(raw[:-cut], partial=True).records >= 47


class TestBadInput:
    @pytest.mark.parametrize("kind", [CSV, NDJSON, JSON, PARQUET, ARROW])
    def test_an_empty_file_is_refused(self, kind: str) -> None:
        with pytest.raises(Invalid, match=r"empty|no record"):
            proposal(b"", kind)

    def test_a_header_alone_makes_texts_and_says_so(self) -> None:
        found = proposal("a,b\n")
        assert types(found) == {"a": "text", "b": "text"}
        assert "no record" in found.notes[0]

    def test_one_column_is_enough(self) -> None:
        assert types(proposal("n\n1\n2\n")) == {"n": "integer"}

    @pytest.mark.parametrize("kind", [CSV, NDJSON, PARQUET])
    def test_two_thousand_columns_are_refused_with_the_number(self, kind: str) -> None:
        names = [f"c{n}" for n in range(2000)]
        raw = {
            CSV: (",".join(names) + "\n" + ",".join("1" for _ in names) + "\n").encode(),
            NDJSON: json.dumps(dict.fromkeys(names, 1)).encode(),
            PARQUET: parquet(pa.table({name: [1] for name in names})),
        }[kind]
        if kind == NDJSON:
            found = sample(raw, kind)
            assert "2000 members" in found.violations[0].reason
            return
        with pytest.raises(Invalid, match="2000 columns"):
            proposal(raw, kind)

    def test_two_headers_of_one_name_are_refused(self) -> None:
        with pytest.raises(Invalid, match='is "a", as one before it'):
            proposal("a,a\n1,2\n")

    def test_headers_that_become_one_name_are_numbered(self) -> None:
        found = proposal("Flight No.,flight no,flight_no\n1,2,3\n")
        assert [one["name"] for one in found.contract["fields"]] == ["flight_no_2", "flight_no_3", "flight_no"]
        assert [one.get("sent_as") for one in found.contract["fields"]] == ["Flight No.", "flight no", None]

    def test_a_quote_that_is_never_closed_costs_its_row(self) -> None:
        found = sample('a,b\n1,x\n2,"y\n3,z\n')
        assert (found.records, found.rejected) == (2, 1)
        assert found.violations[0].line == 3
        assert "never closed" in found.violations[0].reason
        with pytest.raises(Malformed, match="line 1"):
            sample('a,"b\n1,2\n')

    def test_what_is_no_parquet_and_no_gzip_of_records_is_refused(self) -> None:
        with pytest.raises(Malformed, match="PAR1"):
            sample(b"id,n\n1,2\n", PARQUET)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a.csv", "id\n1\n")
        # What a gzip of a zip inflates to.
        raw = gzip.decompress(gzip.compress(packed.getvalue()))
        with pytest.raises(Invalid):
            propose("t", sample(raw, CSV), {}, embeds=False)

    def test_a_broken_array_is_refused_and_the_first_part_of_one_is_read(self) -> None:
        raw = '[{"a": 1}, {"a": 2}, {"a'
        with pytest.raises(Malformed, match="not closed"):
            sample(raw, JSON)
        found = sample(raw, JSON, partial=True)
        assert (found.records, found.whole) == (2, False)

    def test_a_stream_that_is_broken_off_is_read_as_far_as_it_goes(self) -> None:
        raw = arrow(pa.table({"a": list(range(3000))}))
        with pytest.raises(Malformed):
            sample(raw[:-200], ARROW)
        found = sample(raw[:-200], ARROW, partial=True)
        assert (found.records, found.whole) == (2000, False)
        with pytest.raises(Malformed):
            sample(raw[:20], ARROW, partial=True)

    def test_a_schema_with_a_name_that_is_no_text_is_refused(self) -> None:
        raw = arrow(pa.table({"a": [{"member": 1}]})).replace(b"member", b"mem\xfff\xff")
        with pytest.raises(Malformed, match="cannot be read"):
            sample(raw, ARROW)

    def test_the_footer_of_a_parquet_file_says_what_its_columns_are(self) -> None:
        raw = parquet(pa.table({"a": [1, 2], "b": ["x", "y"]}))
        footer = b"PAR1" + raw[-(int.from_bytes(raw[-8:-4], "little") + 8) :]
        found = proposal(footer, PARQUET, partial=True)
        assert types(found) == {"a": "integer", "b": "text"}

    def test_no_more_than_a_hundred_thousand_records_are_looked_at(self) -> None:
        found = sample("n,m\n" + "1,2\n" * (MAX_RECORDS + 1))
        assert (found.records, found.whole) == (MAX_RECORDS, False)
        assert "required" not in propose("t", found, {}, embeds=False).contract["fields"][0]

    @pytest.mark.promise(7)
    def test_members_of_which_each_record_has_another_do_not_fill_the_memory(self) -> None:
        found = sample("".join(f'{{"m{n % 900}": 1}}\n' for n in range(90_000)), NDJSON)
        assert not found.whole
        assert 10_000 < found.records < 40_000
        assert len(found.columns) == 900

    @pytest.mark.promise(7)
    def test_records_none_of_which_can_be_read_are_counted_up_to_a_limit(self) -> None:
        found = sample("x\n" * (MAX_RECORDS + 10), NDJSON)
        assert (found.records, found.rejected, len(found.violations), found.whole) == (0, MAX_RECORDS, 20, False)
        with pytest.raises(Invalid, match="no record"):
            propose("t", found, {}, embeds=False)

    @given(
        raw=st.binary(max_size=300), kind=st.sampled_from([CSV, NDJSON, JSON, PARQUET, ARROW]), partial=st.booleans()
    )
    def test_whatever_is_sent_is_proposed_for_or_refused(self, raw: bytes, kind: str, partial: bool) -> None:
        refused = None
        try:
            propose("t", read_sample(io.BytesIO(raw), kind, partial, {}), {}, embeds=True)
        except Invalid as error:
            refused = error
        assert refused is None or refused.violations


class TestNames:
    def test_headers_become_names(self) -> None:
        headers = ["Flight No.", "InvoiceDate", "HTTPStatus", "2019", "Größe (cm)", "价格", "and", "xmin", "id", ""]
        assert field_names(headers) == [
            "flight_no", "invoice_date", "http_status", "column_2019", "grosse_cm", "column_6", "and_field",
            "xmin_field", "id", "column_10",
        ]  # fmt: skip

    @given(st.lists(st.text(max_size=60), max_size=20, unique=True))
    def test_names_are_valid_and_no_two_are_alike(self, headers: list[str]) -> None:
        names = field_names(headers)
        assert len(set(names)) == len(headers)
        assert all(is_name(name) for name in names)
