"""CSV in the dialects that people's files have, over REST, the client and the command line, down to the rows."""

import csv
import gzip
import io
import zipfile
from typing import Any

import pytest
from tests.support.images import small
from tests.support.in_process import CSV, NDJSON, InProcess, Job

from gristmill.records.spool import MEMORY_BYTES

ZIP = {"content-type": "application/zip"}
SALES: Job = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
        {"name": "amount", "type": "float", "maximum": 100_000},
        {"name": "price", "type": "decimal", "precision": 12, "scale": 2},
    ],
    "key": ["id"],
}
PICTURES: Job = {"fields": [*SALES["fields"], {"name": "photo", "type": "image"}], "key": ["id"]}
GERMAN = {"delimiter": ";", "decimal": ",", "thousands": ".", "encoding": "cp1252", "null": "k.A.", "quote": "'"}
LINES = ["id;name;amount;price", "1;'Löwe; groß';1.234,50;9,99", "2;k.A.;k.A.;1.000", "1.003;'k.A.';0,5;"]
BODY = "\r\n".join(LINES).encode("cp1252")
ROWS = [
    {"id": 1, "name": "Löwe; groß", "amount": 1234.5, "price": "9.99"},
    {"id": 2, "name": None, "amount": None, "price": "1000.00"},
    {"id": 1003, "name": "k.A.", "amount": 0.5, "price": None},
]


def rows(app: InProcess, name: str) -> list[Job]:
    return sorted(app.rows(name), key=lambda row: int(row["id"]))


def errors(answer: Any, status: int = 422) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [(one["pointer"], one["code"]) for one in answer.json()["errors"]]


class TestSubmit:
    @pytest.mark.promise(9)
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("quarantine", [False, True])
    def test_records_in_a_dialect_are_stored_as_what_they_say(
        self, app: InProcess, compressed: bool, quarantine: bool
    ) -> None:
        name = app.dataset(SALES)
        headers = {**CSV, **({"content-encoding": "gzip"} if compressed else {})}
        params = {**GERMAN, **({"on_error": "quarantine"} if quarantine else {})}
        body = gzip.compress(BODY) if compressed else BODY
        assert app.job(app.post(name, body, headers=headers, params=params))["state"] == "succeeded"
        assert rows(app, name) == ROWS

    def test_a_form_and_a_validation_take_them_too(self, app: InProcess) -> None:
        name = app.dataset(SALES)
        answer = app.http.post(
            f"/api/v1/datasets/{name}/records", params=GERMAN, files={"file": ("sales.csv", BODY, "text/csv")}
        )
        assert app.job(answer)["state"] == "succeeded"
        assert rows(app, name) == ROWS
        valid = app.post(name, BODY, "validate", headers=CSV, params=GERMAN)
        assert (valid.status_code, valid.json()["records"]) == (200, 3)

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
    def test_a_body_larger_than_memory_is_cut_into_chunks_of_whole_rows(self, app: InProcess, encoding: str) -> None:
        name = app.dataset(SALES)
        lines = [f"{number}\t'{'ü' * 40}\n\t{number}'\t{number},5\t" for number in range(20_000)]
        body = "\n".join(["id\tname\tamount\tprice", *lines]).encode(encoding)
        assert len(body) > MEMORY_BYTES
        params = {"delimiter": "tab", "quote": "'", "decimal": ",", "encoding": encoding}
        job = app.job(app.post(name, body, headers=CSV, params=params))
        assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", 20_000)
        (found,) = [row for row in app.rows(name) if row["id"] == 7]
        assert found == {"id": 7, "name": "ü" * 40 + "\n\t7", "amount": 7.5, "price": None}

    def test_one_request_repeated_in_another_dialect_is_another_request(self, app: InProcess) -> None:
        name, headers = app.dataset(SALES), {**CSV, "idempotency-key": "once"}
        first = app.post(name, b"id;amount\n1;2\n", headers=headers, params={"delimiter": ";"})
        again = app.post(name, b"id;amount\n1;2\n", headers=headers, params={"delimiter": ";"})
        assert again.json()["id"] == first.json()["id"]
        other = app.post(name, b"id;amount\n1;2\n", headers=headers, params={"delimiter": ";", "decimal": ","})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.promise(4)
class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("delimiter", "ab"),
            ("delimiter", ""),
            ("decimal", "x"),
            ("thousands", "12"),
            ("encoding", "klingon"),
            ("null", "x" * 101),
            ("quote", "\n"),
        ],
    )
    @pytest.mark.parametrize("path", ["records", "validate"])
    def test_a_bad_value_names_its_parameter(self, app: InProcess, path: str, name: str, value: str) -> None:
        answer = app.post(app.dataset(SALES), BODY, path, headers=CSV, params={name: value})
        assert errors(answer) == [(f"/query/{name}", "bad_parameter")]

    @pytest.mark.parametrize("path", ["records", "validate"])
    def test_another_format_takes_none_of_them(self, app: InProcess, path: str) -> None:
        name = app.dataset(SALES)
        answer = app.post(name, b'{"id":1}\n', path, headers=NDJSON, params={"delimiter": ",", "null": "x"})
        assert errors(answer) == [("/query/delimiter", "not_applicable"), ("/query/null", "not_applicable")]
        form = {"file": ("a.ndjson", b'{"id":1}\n', "application/x-ndjson")}
        answer = app.http.post(f"/api/v1/datasets/{name}/{path}", params={"decimal": ","}, files=form)
        assert errors(answer) == [("/query/decimal", "not_applicable")]

    @pytest.mark.parametrize(
        ("body", "code", "line", "hint"),
        [
            (b"id;name;amount;price;x\n1;a;1;1;\n", "wrong_delimiter", 1, "one column and four semicolons"),
            (b"id\tname\n1\ta\n", "wrong_delimiter", 1, "one column and one tab: delimiter=tab?"),
            (b'id,amount\n1,"1,5"\n', "wrong_type", 2, "decimal=,?"),
            (b'id,amount\n1,"1.234,50"\n', "wrong_type", 2, "decimal=, and thousands=.?"),
            (b"id,amount\n1,2\n2,n/a\n", "wrong_type", 3, "null=n/a?"),
            ("id,name\n1,Zoë\n".encode("latin-1"), "malformed", 2, "Byte 5 of the row, 0xeb, is not UTF-8: encoding="),
            ("id,name\n1,a\n".encode("utf-16"), "wrong_encoding", 1, "byte order mark of UTF-16: encoding=utf-16?"),
            ("id,name\n1,a\n".encode("utf-16-le"), "wrong_encoding", 1, "encoding=utf-16-le?"),
            (b'id,name\n1,a\n2,"b\n3,c\n', "malformed", 3, "never closed"),
            (b"id,name,id\n1,a,2\n", "duplicate", 1, "as one before it"),
            (b"", "empty", None, "header row"),
            (b"id,name\n", "empty", None, "no record"),
        ],
    )  # fmt: skip
    def test_a_file_in_another_dialect_is_refused_with_its_parameter(
        self, app: InProcess, body: bytes, code: str, line: int | None, hint: str
    ) -> None:
        name = app.dataset(SALES)
        answer = app.post(name, body, headers=CSV)
        assert answer.status_code in (400, 422)
        (error,) = answer.json()["errors"]
        assert (error["code"], error.get("line")) == (code, line)
        assert hint in error["reason"]
        app.work()
        assert app.rows(name) == []

    def test_a_byte_order_mark_is_no_mistake(self, app: InProcess) -> None:
        name = app.dataset(SALES)
        app.job(app.post(name, "id,name\n1,é\n".encode("utf-8-sig"), headers=CSV))
        assert rows(app, name)[0]["name"] == "é"


class TestRejects:
    BAD = "\r\n".join([*LINES, "4;'x;y';1.23,4;1", "5;z;200.000,00;1.234,5", "6;ä;;\x81"]).encode("latin-1")

    def rejected(self, app: InProcess) -> tuple[str, Job]:
        name = app.dataset(SALES)
        answer = app.post(name, self.BAD, headers=CSV, params={**GERMAN, "on_error": "quarantine"})
        job = app.job(answer)
        assert job["record_counts"]["rejected"] == 3
        assert rows(app, name) == ROWS
        return name, job

    def test_they_are_shown_as_they_were_sent(self, app: InProcess) -> None:
        _, job = self.rejected(app)
        found = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [one["line"] for one in found] == [5, 6, 7]
        assert [one["raw"] for one in found[:2]] == ["4;'x;y';1.23,4;1", "5;z;200.000,00;1.234,5"]
        assert found[0]["values"] == {"id": "4", "name": "x;y", "amount": "1.23,4", "price": "1"}
        assert "200.000,00" in found[1]["errors"][0]["reason"]
        assert found[2]["errors"][0]["reason"].startswith("Byte 0x81 in place of character 6")

    def test_the_table_of_them_is_plain_csv_that_is_mended_and_sent_back(self, app: InProcess) -> None:
        name, job = self.rejected(app)
        text = app.http.get(job["links"]["rejects"], params={"format": "csv"}).text
        lines = list(csv.reader(io.StringIO(text)))
        assert lines[0][:4] == ["id", "name", "amount", "price"]
        assert lines[1][:4] == ["4", "x;y", "1.23,4", "1"]
        assert lines[2][:4] == ["5", "z", "200000.00", "1234.5"]
        lines[1][2], lines[2][2] = "123.4", "20"
        mended = io.StringIO()
        csv.writer(mended).writerows(lines[:3])
        again = app.job(app.post(name, mended.getvalue().encode(), headers=CSV, params={"retry_of": job["id"]}))
        assert again["state"] == "succeeded"
        assert rows(app, name)[2:4] == [
            {"id": 4, "name": "x;y", "amount": 123.4, "price": "1.00"},
            {"id": 5, "name": "z", "amount": 20.0, "price": "1234.50"},
        ]

    def test_those_of_the_worker_are_written_as_those_of_the_submission(self, app: InProcess) -> None:
        fields = [*SALES["fields"], {"name": "total", "type": "float", "computed": True, "maximum": 1000}]
        pipeline = [{"op": "derive", "as": "total", "value": "amount * 2"}]
        name = app.dataset({**SALES, "fields": fields, "pipeline": pipeline})
        body = b"id;name;amount;price\n1;a;1,5;\n2;'b;c';999,5;1.000,25\nx;d;1;\n4;'k.A.';800;\n"
        job = app.job(app.post(name, body, headers=CSV, params={**GERMAN, "on_error": "quarantine"}))
        found = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [one["raw"] for one in found] == ["2;'b;c';999,5;1000,25", "x;d;1;", "4;'k.A.';800,0;"]
        text = app.http.get(job["links"]["rejects"], params={"format": "csv"}).text
        table = [line[:4] for line in csv.reader(io.StringIO(text))][1:]
        assert table == [["2", "b;c", "999.5", "1000.25"], ["x", "d", "1", ""], ["4", "k.A.", "800.0", ""]]


class TestZip:
    def archive(self, metadata: str, content: bytes) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as file:
            file.writestr(metadata, content)
            file.writestr("a.png", small())
        return target.getvalue()

    def test_the_metadata_of_images_may_be_in_a_dialect(self, app: InProcess) -> None:
        name = app.dataset(PICTURES)
        lines = ["id;name;amount;photo", "1;'ö;';1.234,5;a.png", "2;'x\ny';;b.png", "3;k.A.;0,5;"]
        body = self.archive("data.csv", "\n".join(lines).encode("cp1252"))
        answer = app.post(name, body, headers=ZIP, params={**GERMAN, "on_error": "quarantine"})
        job = app.job(answer)
        found = [(row["id"], row["name"], row["amount"]) for row in rows(app, name)]
        assert found == [(1, "ö;", 1234.5), (3, None, 0.5)]
        (reject,) = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert (reject["line"], reject["raw"]) == (3, "2;'x\ny';;b.png")

    def test_other_metadata_takes_none(self, app: InProcess) -> None:
        body = self.archive("data.ndjson", b'{"id":1}\n')
        answer = app.post(app.dataset(PICTURES), body, headers=ZIP, params={"delimiter": ";"})
        assert errors(answer) == [("/query/delimiter", "not_applicable")]
        assert "data.ndjson" in answer.json()["detail"]


class TestPreview:
    def test_a_sample_has_a_dialect(self, app: InProcess) -> None:
        name = app.dataset(SALES)
        sample = {"data": "id;amount\n1;1.234,5\n", "delimiter": ";", "decimal": ",", "thousands": "."}
        answer = app.post(name, sample, "pipeline/preview")
        assert answer.json()["output"]["rows"][0]["row"]["amount"] == 1234.5
        assert errors(app.post(name, {**sample, "quote": ";"}, "pipeline/preview")) == [("/quote", "bad_parameter")]
        refused = app.post(name, {"records": [{"id": 1}], "delimiter": ";"}, "pipeline/preview")
        assert errors(refused) == [("/delimiter", "not_applicable")]
