"""Every kind of sources passes the conformance suite; and what the simulator promises beside it."""

import ast
import itertools
import json
import math
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from tests.support.source_conformance import CHECKS, Conformance, KindCase, TestPace

from gristmill import sources
from gristmill.bootstrap.sources import build_source_kinds
from gristmill.core.errors import Invalid
from gristmill.sources import port
from gristmill.sources.kinds.simulator import Simulator
from gristmill.sources.port import Read, SourceKind
from gristmill.sources.registry import SourceKinds

KINDS = build_source_kinds()


def make(name: str) -> Any:
    return lambda settings: KINDS.check(name, settings)


CASES = {
    "simulator": KindCase(
        make("simulator"),
        {"interval": 0.001, "seed": 5, "limit": 23},
        23,
        {"interval": 60},
        frozenset({"timestamp"}),
    ),
}


class TestConformance:
    def test_every_kind_has_its_case(self) -> None:
        assert sorted(CASES) == KINDS.names()

    @pytest.mark.parametrize("check", CHECKS)
    @pytest.mark.parametrize("kind", sorted(CASES))
    def test_it(self, kind: str, check: str) -> None:
        getattr(Conformance(CASES[kind]), check)()

    def test_a_kind_that_repeats_a_record_is_found_out(self) -> None:
        class Repeating(Simulator):
            def open(self, position: Any, pace: Any) -> Any:
                before = None if position is None else {"count": max(0, position["count"] - 1)}
                return super().open(before, pace)

        case = CASES["simulator"]
        bad = KindCase(
            lambda settings: Repeating(Repeating.Settings(**settings)), case.settings, 23, case.idle, case.changing
        )
        with pytest.raises(AssertionError, match="opened after"):
            Conformance(bad).goes_on_from_each_position_without_gap_or_repeat()

    def test_a_kind_that_blocks_is_found_out(self) -> None:
        class Blocking(Simulator):
            def open(self, position: Any, pace: Any) -> Any:
                time.sleep(2.5)
                yield None

        case = CASES["simulator"]
        bad = KindCase(lambda settings: Blocking(Blocking.Settings(**settings)), case.settings, 23, case.idle)
        with pytest.raises(AssertionError):
            Conformance(bad).gives_the_word_back_while_nothing_is_ready()


def simulator(**settings: Any) -> SourceKind[Any]:
    return KINDS.check("simulator", settings)


def emitted(kind: SourceKind[Any], number: int, position: Any = None) -> list[dict[str, Any]]:
    reads = (read for read in kind.open(position, TestPace()) if isinstance(read, Read))
    return [dict(record) for read in itertools.islice(reads, number) for record in read.records]


class TestPage:
    def test_the_kind_that_the_page_writes_reads_on_and_rejects(self, tmp_path: Path) -> None:
        page = (Path(__file__).resolve().parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
        names: dict[str, Any] = {"json": json, "Field": Field, **vars(port)}
        exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
        file = tmp_path / "lines"
        file.write_bytes(b'{"n": 0}\nbroken\n{"n": 2}\n{"n": ')
        kind = SourceKinds([names["Lines"]]).check("lines", {"path": str(file)})

        def read(position: Any, number: int) -> list[Read]:
            reader = kind.open(position, TestPace(patience=0.01))
            found = [one for one in itertools.islice(reader, number) if one is not None]
            reader.close()
            return found

        first, bad, last = read(None, 4)
        assert ([first.records, last.records], bad.records) == ([[{"n": 0}], [{"n": 2}]], ())
        assert (bad.malformed[0].place, bad.malformed[0].raw) == ("byte 9", b"broken\n")
        assert read(first.position, 2) == [bad, last]
        with file.open("ab") as more:
            more.write(b"3}\n")
        assert [one.records for one in read(last.position, 2)] == [[{"n": 3}]], "a line that was not whole yet"


class TestClocks:
    def test_nothing_of_sources_reads_the_clock_of_the_host_but_for_moments_of_records(self) -> None:
        """A clock that is set must not end a lease or a batch, or stop one."""
        folder = Path(sources.__file__).parent
        reading = {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "datetime.now", "datetime.utcnow")
        }
        assert reading == {"kinds/simulator.py"}


class TestSimulator:
    def test_a_record_has_a_moment_a_uuid_and_two_decimals_between_10_and_100(self) -> None:
        before = datetime.now(UTC)
        records = emitted(simulator(interval=0.001), 200)
        after = datetime.now(UTC)
        moments = [datetime.fromisoformat(one["timestamp"]) for one in records]
        slack = timedelta(seconds=0.05)
        assert before - slack <= moments[0]
        assert moments[-1] <= after + slack
        assert all(a < b for a, b in itertools.pairwise(moments)), "each has a moment of its own"
        assert len({uuid.UUID(one["id"]) for one in records}) == 200
        assert {uuid.UUID(one["id"]).version for one in records} == {4}
        assert all(10 <= one["value"] <= 100 and round(one["value"], 2) == one["value"] for one in records)

    def test_values_are_uniform(self) -> None:
        kind = simulator(seed=1)
        assert isinstance(kind, Simulator)
        values = [kind._record(number, 0.0)["value"] for number in range(20_000)]
        assert math.isclose(sum(values) / len(values), 55, abs_tol=0.6)
        tenths = [sum(10 + 9 * n <= value < 19 + 9 * n for value in values) for n in range(10)]
        assert all(abs(count - 2000) < 220 for count in tenths), tenths
        assert min(values) < 10.2
        assert max(values) > 99.8

    def test_the_same_seed_gives_the_same_ids_and_values_and_none_gives_others(self) -> None:
        def drawn(**settings: Any) -> list[tuple[Any, Any]]:
            return [(one["id"], one["value"]) for one in emitted(simulator(interval=0.001, **settings), 5)]

        assert drawn(seed=3) == drawn(seed=3)
        assert drawn(seed=3) != drawn(seed=4)
        assert drawn() != drawn()

    def test_fields_have_the_names_that_a_dataset_gives_them(self) -> None:
        kind = simulator(fields={"timestamp": "at", "id": "sensor"})
        assert list(kind.sample() or {}) == ["at", "sensor", "value"]

    def test_overdue_records_follow_at_once_with_the_moments_at_which_they_were_due(self) -> None:
        kind = simulator(interval=0.05, limit=10)
        reader = kind.open(None, TestPace(patience=0.2))
        assert next(reader) is None
        time.sleep(0.6)  # A commit that takes long.
        behind = kind.backlog()
        assert behind.records == 10
        assert behind.seconds > 0.4
        reads = [read for read in reader if read is not None]
        moments = [datetime.fromisoformat(dict(read.records[0])["timestamp"]) for read in reads]
        steps = [b - a for a, b in itertools.pairwise(moments)]
        assert len(steps) == 9
        assert all(abs(step - timedelta(seconds=0.05)) < timedelta(milliseconds=1) for step in steps), steps
        assert reads[0].age > 0.4

    @pytest.mark.parametrize("step", [-3600.0, 3600.0])
    def test_a_clock_that_is_set_changes_moments_and_neither_pace_nor_number(
        self, step: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Clock:
            monotonic = staticmethod(time.monotonic)
            offset = 0.0

            def time(self) -> float:
                return time.time() + self.offset

        clock = Clock()
        monkeypatch.setattr("gristmill.sources.kinds.simulator.time", clock)
        monkeypatch.setattr("gristmill.sources.kinds.simulator.LOOK_EVERY", 0.1)
        kind = simulator(interval=0.01, limit=60)
        began = time.monotonic()
        moments: list[datetime] = []
        for read in kind.open(None, TestPace()):
            if read is not None:
                moments.append(datetime.fromisoformat(dict(read.records[0])["timestamp"]))
                assert kind.backlog().records <= 60
                clock.offset = step if len(moments) >= 30 else 0.0
        assert len(moments) == 60
        assert time.monotonic() - began >= 0.59
        assert abs((moments[-1] - moments[0]).total_seconds() - step - 0.59) < 0.2

    @pytest.mark.parametrize(
        ("settings", "pointer", "code"),
        [
            ({"interval": 0}, "/settings/interval", "wrong_type"),
            ({"interval": "1"}, "/settings/interval", "wrong_type"),
            ({"interval": -1}, "/settings/interval", "wrong_type"),
            ({"batch_size": 0}, "/settings/batch_size", "wrong_type"),
            ({"batch_size": 1.5}, "/settings/batch_size", "wrong_type"),
            ({"batch_seconds": 10**9}, "/settings/batch_seconds", "wrong_type"),
            ({"seed": -1}, "/settings/seed", "wrong_type"),
            ({"limit": 0}, "/settings/limit", "wrong_type"),
            ({"fields": {"value": "id"}}, "/settings/fields", "wrong_type"),
            ({"fields": {"vlaue": "v"}}, "/settings/fields/vlaue", "unknown_member"),
            ({"intervall": 1}, "/settings/intervall", "unknown_member"),
        ],
    )
    def test_a_setting_that_does_not_fit_is_named(self, settings: dict[str, Any], pointer: str, code: str) -> None:
        with pytest.raises(Invalid) as caught:
            simulator(**settings)
        assert [(one.pointer, one.code) for one in caught.value.violations] == [(pointer, code)]

    def test_a_misspelt_setting_is_answered_with_those_that_there_are(self) -> None:
        with pytest.raises(Invalid, match="the settings are: batch_size, batch_seconds, interval, fields, seed, limit"):
            simulator(intervall=1)

    def test_an_unknown_kind_is_answered_with_those_that_there_are(self) -> None:
        with pytest.raises(Invalid, match="'kafak'; the kinds are: simulator") as caught:
            KINDS.check("kafak", {})
        assert caught.value.violations[0].pointer == "/kind"
