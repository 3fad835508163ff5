"""``gristmill load``: a stranger's file becomes a dataset by one command, on real processes."""

import asyncio
import datetime as dt
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.rest import Rest, new_name
from tests.support.workbooks import workbook
from typer.testing import CliRunner, Result

from gristmill.cli.main import app
from gristmill.client import AsyncClient, Client

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "first_load.md").read_text(encoding="utf-8")
ORDERS = PAGE[PAGE.index("```csv\n") + len("```csv\n") : PAGE.index("```\n\n```text")]


def run(rest: Rest, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--url", rest.system.url])


class TestLoad:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
    def test_a_file_of_another_country_is_loaded_by_one_command(
        self, rest: Rest, tmp_path: Path, encoding: str
    ) -> None:
        name, file = new_name("orders"), tmp_path / "orders.csv"
        file.write_bytes(ORDERS.encode(encoding))
        found = run(rest, "load", str(file), "--name", name, "--yes")
        assert found.exit_code == 0, found.output
        assert "3 of 3 records loaded" in found.stderr
        assert "zone: In which time zone" in found.stderr
        assert "Taken: UTC" in found.stderr
        assert ("encoding: In which encoding" in found.stderr) == (encoding == "latin-1")
        # The page shows the lines without the examples of the table, and shortened.
        shown = PAGE[PAGE.index("$ gristmill load orders.csv --yes") : PAGE.index("## What is proposed")].splitlines()
        for line in shown[3:9]:
            assert all(part in found.stdout for part in re.split(r" {2,}| … ", line.strip())), line
        assert all(line in found.stdout for line in shown[10:13]), found.stdout
        assert f'next: gristmill search {name} "Das rote Hemd war"' in found.stdout
        assert rest.rows(name) == [
            {
                "order_no": 1001,
                "bestellt": "2026-01-31T12:00:00Z",
                "due": "2026-01-31",
                "betrag": "1012.50",
                "paid": True,
                "comment": "Das rote Hemd war zu klein, bitte ein größeres senden",
            },
            {
                "order_no": 1002,
                "bestellt": "2026-02-01T08:10:00Z",
                "due": "2026-02-13",
                "betrag": "1.00",
                "paid": False,
                "comment": "Bitte das Paket bei den Nachbarn links im Haus abgeben",
            },
            {
                "order_no": 1003,
                "bestellt": "2026-02-02T09:00:00Z",
                "due": "2026-02-28",
                "betrag": None,
                "paid": False,
                "comment": "Geschenk für meine Mutter, bitte in blaues Papier wickeln",
            },
        ]
        hits = rest.http.post(f"/api/v1/datasets/{name}/search", json={"text": "Geschenk", "k": 1}).json()["hits"]
        assert hits[0]["record"]["order_no"] == 1003

    def test_a_file_that_leaves_something_open_is_asked_about_and_nothing_is_created(
        self, rest: Rest, tmp_path: Path
    ) -> None:
        name, file = new_name("open"), tmp_path / "open.csv"
        file.write_text("day,n\n01/02/03,1\n02/03/04,2\n")
        found = run(rest, "load", str(file), "--name", name)
        assert found.exit_code == 2
        assert "format:day: In which order" in found.stderr
        assert "--answer format:day=…" in found.stderr
        assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 404
        tried = run(rest, "load", str(file), "--name", name, "--dry-run", "--json")
        assert tried.exit_code == 0
        assert [one["about"] for one in json.loads(tried.stdout)["questions"]] == ["format:day"]
        assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 404
        found = run(rest, "load", str(file), "--name", name, "--answer", "format:day=%d/%m/%y")
        assert found.exit_code == 0, found.output
        assert [one["day"] for one in rest.rows(name)] == ["2003-02-01", "2004-03-02"]

    def test_on_a_terminal_the_questions_are_asked_one_by_one(self, rest: Rest, tmp_path: Path) -> None:
        name, file = new_name("asked"), tmp_path / "asked.csv"
        file.write_text("day,order_id,item_id,at\n01/02/03,1,7,2026-01-31 12:00\n02/03/04,2,8,2026-07-31 12:00\n")
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "gristmill.cli.main", "load", str(file), "--name", name]
        process = subprocess.Popen(
            [*command, "--url", rest.system.url],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # The order of the dates, the zone, the key; then whether all of it is meant.
        os.write(ours, b"9\n2\nEurope/Berlin\n2\ny\n")
        _, errors = process.communicate(timeout=60)
        os.close(theirs)
        os.close(ours)
        assert process.returncode == 0, errors
        assert "9 is not a number from 1 to 4" in errors
        assert "2  %m/%d/%y: 01/02/03 is 2003-01-02" in errors
        assert "2 of 2 records loaded" in errors
        assert rest.http.get(f"/api/v1/datasets/{name}").json()["contract"]["key"] == ["item_id"]
        assert [(one["day"], one["at"]) for one in rest.rows(name)] == [
            ("2003-01-02", "2026-01-31T11:00:00Z"),
            ("2004-02-03", "2026-07-31T10:00:00Z"),
        ]

    @pytest.mark.parametrize("suffix", ["parquet", "arrows", "ndjson", "json", "tsv", "csv.gz"])
    def test_every_format_is_loaded(self, rest: Rest, tmp_path: Path, suffix: str) -> None:
        records = [{"id": n, "place name": f"p{n}"} for n in range(5)]
        table, file, name = pa.Table.from_pylist(records), tmp_path / f"places.{suffix}", new_name("places")
        if suffix == "parquet":
            pq.write_table(table, file)
        elif suffix == "arrows":
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        elif suffix == "csv.gz":
            lines = "id,place name\n" + "".join(f"{one['id']},{one['place name']}\n" for one in records)
            with pa.CompressedOutputStream(str(file), "gzip") as sink:
                sink.write(lines.encode())
        else:
            file.write_text(
                {
                    "ndjson": "\n".join(map(json.dumps, records)),
                    "json": json.dumps(records),
                    "tsv": "id\tplace name\n" + "".join(f"{one['id']}\t{one['place name']}\n" for one in records),
                }[suffix]
            )
        found = run(rest, "load", str(file), "--name", name, "--yes", "--json")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["job"]["record_counts"]["succeeded"] == 5
        assert rest.rows(name) == [{"id": n, "place_name": f"p{n}"} for n in range(5)]

    def test_a_file_that_does_not_fit_beyond_the_sample_says_where(self, rest: Rest, tmp_path: Path) -> None:
        name, file = new_name("late"), tmp_path / "late.csv"
        file.write_text("n,m\n" + "1,2\n" * 100_000 + "1,two\n")
        found = run(rest, "load", str(file), "--name", name, "--yes")
        assert found.exit_code == 3
        assert 'line 100002, /100000/m: "two" is not an integer' in found.stderr
        assert f"{name} is dropped again" in found.stderr
        file.write_text("n,m\n1,2\n")
        assert run(rest, "load", str(file), "--name", name, "--yes").exit_code == 0
        again = run(rest, "load", str(file), "--name", name, "--yes")
        assert again.exit_code == 3
        assert f"gristmill submit {name}" in again.stderr

    def test_records_that_a_step_cannot_read_fail_the_load_by_their_places(self, rest: Rest, tmp_path: Path) -> None:
        name, file = new_name("late"), tmp_path / "late.csv"
        file.write_text("n,m\n" + "1,2\n" * 99_999 + "1,n/a\n1,two\n")
        found = run(rest, "load", str(file), "--name", name, "--yes")
        assert found.exit_code == 1
        assert "/100000" in found.stderr
        assert "'two'" in found.stderr
        assert f"gristmill datasets drop {name}" in found.stderr

    @pytest.mark.parametrize(
        ("content", "name", "reason"),
        [
            (b"", "a.csv", "empty"),
            (b"a,a\n1,2\n", "a.csv", "as one before it"),
            (b"a,b\n1,2\n", "a.parquet", "Parquet"),
            ((",".join(f"c{n}" for n in range(2000)) + "\n").encode(), "a.csv", "2000 columns"),
        ],
    )
    def test_what_cannot_be_loaded_says_why(
        self, rest: Rest, tmp_path: Path, content: bytes, name: str, reason: str
    ) -> None:
        file = tmp_path / name
        file.write_bytes(content)
        found = run(rest, "load", str(file), "--name", new_name(), "--yes")
        assert found.exit_code == 3
        assert reason in found.stderr


class TestClient:
    def test_both_clients_infer(self, rest: Rest, tmp_path: Path) -> None:
        records = [{"id": 1, "Name": "a"}, {"id": 2, "Name": "b"}]

        async def infer() -> object:
            async with AsyncClient(rest.system.url) as client:
                return await client.infer(records, name="things")

        with Client(rest.system.url) as client:
            found = client.infer(records, name="things")
        assert found == asyncio.run(infer())
        assert found["contract"]["key"] == ["id"]
        assert found["contract"]["fields"][1] == {"name": "name", "type": "text", "required": True, "sent_as": "Name"}

    def test_of_a_long_file_the_first_part_is_sent(self, rest: Rest, tmp_path: Path) -> None:
        csv, parquet = tmp_path / "long.csv", tmp_path / "long.parquet"
        csv.write_text("n,text\n" + f"1,{'x' * 1000}\n" * 20_000)
        numbers = pa.array(range(10_000_000), pa.int64())
        pq.write_table(pa.table({"n": numbers}), parquet, compression="none", use_dictionary=False)
        assert parquet.stat().st_size > 64 * 1024 * 1024
        with Client(rest.system.url) as client:
            first = client.infer(csv)
            assert not first["read"]["complete"]
            assert 0 <= 16 * 1024 * 1024 - first["read"]["bytes"] < 2000
            assert client.infer(parquet)["contract"]["fields"] == [{"name": "n", "type": "integer"}]


class TestWorkbook:
    def test_a_workbook_is_loaded_by_one_command_and_more_of_it_submitted(self, rest: Rest, tmp_path: Path) -> None:
        name, rows = new_name("book"), [["Order No.", "at", "Paid", "Amount"]]
        orders = [[1001, dt.datetime(2026, 1, 31, 8), True, 1.5], [1002, dt.datetime(2026, 2, 1), False, "#N/A"]]
        file = tmp_path / "book.xlsx"
        file.write_bytes(workbook(sheets={"Notes": [["read me"]], "Orders": [*rows, *orders]}))
        found = run(rest, "load", str(file), "--name", name, "--yes")
        assert found.exit_code == 2
        assert "2 sheets have values: 'Notes', 'Orders'; say which one" in found.stderr
        assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 404
        found = run(rest, "load", str(file), "--name", name, "--yes", "--sheet", "Orders")
        assert found.exit_code == 0, found.output
        assert "2 of 2 records loaded" in found.stderr
        first, second = rest.rows(name)
        assert (first["order_no"], first["at"], first["paid"]) == (1001, "2026-01-31T08:00:00Z", True)
        assert second["at"] == "2026-02-01T00:00:00Z"
        file.write_bytes(workbook(*rows, [1003, dt.datetime(2026, 2, 2, 9), True, 2.5]))
        submitted = run(rest, "submit", name, str(file), "--wait")
        assert submitted.exit_code == 0, submitted.output
        with Client(rest.system.url) as client, file.open("rb") as opened:
            assert client.validate(name, opened, format="xlsx")["records"] == 1
        assert [one["order_no"] for one in rest.rows(name)] == [1001, 1002, 1003]

    def test_what_a_workbook_would_lose_is_named_and_nothing_is_created(self, rest: Rest, tmp_path: Path) -> None:
        name, file = new_name("formula"), tmp_path / "formula.xlsx"
        file.write_bytes(workbook(["id", "double"], [1, "=A2*2"]))
        found = run(rest, "load", str(file), "--name", name, "--yes")
        assert found.exit_code == 2
        assert "B2 of 'Sheet' is a formula that nothing has computed" in found.stderr
        assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 404
