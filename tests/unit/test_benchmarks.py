"""What the bench computes by itself: the page of figures, the SQL in Postgres' log, recall against the exact answer."""

import itertools
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from benchmarks import COMPARED, LARGE, SCENARIOS
from benchmarks.against import NEW, OLD, crossed, interpreter, pair
from benchmarks.as_client import NUMBER, RECORD, sent
from benchmarks.corpus import DIMENSIONS
from benchmarks.exact import recall
from benchmarks.figures import Times
from benchmarks.load import Plan
from benchmarks.recall.beside import Width, around, compared
from benchmarks.recall.table import BUCKETS, buckets
from benchmarks.report import Report
from benchmarks.report_markdown import BEGIN, END, put, table
from benchmarks.search_topics import by_topic
from benchmarks.searches import Searched
from benchmarks.statements import _read

from gristmill.client._transport import new_idempotency_key

REPORT = {
    "date": "2026-01-31T10:00:00+00:00",
    "quick": False,
    "machine": {"cores": 2, "cpu": "x", "memory_gib": 24, "system": "Debian", "disk": "ext4", "fsync_ms": 0.2},
    "versions": {"Postgres": "18.6"},
    "durability": {"Postgres fsync": "on"},
    "scenarios": {
        "one": [
            {"what": "rows", "measured": "9 | 10/s", "target": "≥ 8/s", "met": True},
            {"what": "slow", "measured": "1/s", "target": "≥ 8/s", "met": False},
            {"what": "aside", "measured": "1", "target": "", "met": None},
            {"what": "  Chroma", "measured": "2", "target": "", "met": None},
        ]
    },
    "failed": {"two": "RuntimeError: no disk"},
}


class TestTable:
    def test_figures_with_a_target_peers_and_failures_are_shown_misses_too(self) -> None:
        assert table(REPORT).splitlines()[2:] == [
            "| what | measured | aim | |",
            "|---|---|---|---|",
            "| rows | 9 / 10/s | ≥ 8/s | met |",
            "| slow | 1/s | ≥ 8/s | **missed** |",
            "| Chroma | 2 |  |  |",
            "| two | could not be run: RuntimeError: no disk | | |",
        ]

    def test_it_replaces_what_stands_between_the_marks_and_nothing_else(self, tmp_path: Path) -> None:
        page = tmp_path / "performance.md"
        page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
        put(page, "new", [tmp_path / "images" / "jobs.png"])
        shown = page.read_text(encoding="utf-8")
        assert shown == f"before\n{BEGIN}\nnew\n\n![Small jobs per second](images/jobs.png)\n{END}\nafter\n"

    def test_a_file_without_marks_is_left_alone(self, tmp_path: Path) -> None:
        page = tmp_path / "performance.md"
        page.write_text("text", encoding="utf-8")
        with pytest.raises(ValueError, match="no marks"):
            put(page, "new", [])
        assert page.read_text(encoding="utf-8") == "text"


class TestLoggedStatements:
    def test_messages_are_found_by_what_they_prepare_or_say_with_all_that_they_execute(self) -> None:
        start = "2026-01-31 10:00:00.123 UTC [12] gristmill-api"
        found = _read(
            f"{start} LOG:  duration: 1.2 ms  statement: EXECUTE gm_1 ('x');SELECT a\n\t<=> b\n"
            f"{start} DETAIL:  prepare: PREPARE gm_1 (text) AS SELECT $1\n"
            f"{start} LOG:  duration: 1.2 ms  statement: EXECUTE gm_2 ('y')\n"
            f"{start} DETAIL:  prepare: PREPARE gm_2 (text) AS SELECT c <=> $1\n"
            f"{start} LOG:  duration: 1.2 ms  statement: SELECT 1\n",
            "<=>",
            (),
        )
        assert found.messages == ["EXECUTE gm_1 ('x');SELECT a\n<=> b", "EXECUTE gm_2 ('y')"]
        assert [text.split()[1] for text in found.preparations] == ["gm_1", "gm_2"]


class TestAsClient:
    def test_a_request_is_the_client_s_with_a_new_key_for_each_number(self) -> None:
        request = sent(lambda client: client.submit("d", [{"id": f"r-{NUMBER}"}], labels={"run": "x"}, wait=True))
        plan = Plan(80, **request.plan(), first=7)
        first, second = (plan.message(number, waits=False).decode() for number in range(2))
        line, *head = first.split("\r\n\r\n")[0].lower().split("\r\n")
        assert line.startswith("post /api/v1/datasets/d/records?")
        assert "label=run%3dx" in line
        assert "wait=" in line
        headers = dict(name.split(": ", 1) for name in head)
        assert headers["user-agent"] == "gristmill-client"
        assert headers["content-type"].startswith("application/x-ndjson")
        key = headers["idempotency-key"]
        assert len(key) == len(new_idempotency_key())
        assert key.startswith(request.key_prefix)
        assert key.endswith("000000000007")
        assert "000000000008" in second
        body = first.split("\r\n\r\n", 1)[1]
        assert json.loads(body) == {"id": "r-7"}
        assert headers["content-length"] == str(len(body))

    def test_without_a_key_behind_a_proxy_and_of_one_of_the_records(self) -> None:
        request = sent(lambda client: client.patch("d", RECORD, {"v": NUMBER}))
        assert "idempotency-key" in request.headers
        changed = request.without_key().with_headers({"X-Forwarded-For": "203.0.113.7"})
        message = Plan(80, **changed.plan(), records=3, first=5).message(0, waits=True).decode()
        assert message.startswith("PATCH /api/v1/datasets/d/records/2?wait=30 ")
        assert "x-forwarded-for: 203.0.113.7\r\n" in message
        assert "idempotency-key" not in message
        assert message.endswith('{"v":"5"}')

    def test_a_delete_has_no_body(self) -> None:
        request = sent(lambda client: client.delete("d", NUMBER))
        message = Plan(80, **request.plan()).message(4, waits=False).decode()
        assert message.startswith("DELETE /api/v1/datasets/d/records/4 ")
        assert "content-length" not in message.lower()


class TestMerge:
    def test_what_is_kept_of_an_earlier_report_are_scenarios_that_there_still_are(self, tmp_path: Path) -> None:
        earlier = tmp_path / "report.json"
        kept = {name: [] for name in ("job_latency", "no_more")}
        earlier.write_text(json.dumps({"scenarios": kept, "dates": dict.fromkeys(kept, "")}), encoding="utf-8")
        report = Report(quick=True)
        report.keep(earlier)
        report.write(earlier)
        found = json.loads(earlier.read_text(encoding="utf-8"))
        assert (list(found["scenarios"]), list(found["dates"])) == (["job_latency"], ["job_latency"])


class TestAgainst:
    def test_medians_of_the_turns_are_set_side_by_side(self) -> None:
        row = {"what": "jobs", "lower": False}
        found = pair(row, [100.0, 300.0, 110.0], [220.0, 200.0])
        assert (found.values["old"], found.values["new"], found.figure) == (110.0, 210.0, 210 / 110)
        assert found.measured.startswith("old 110, new 210: 1.91 times")

    def test_figures_of_this_version_are_held_against_others(self) -> None:
        keyed, plain = (
            "small jobs over HTTP with an Idempotency-Key, as sent: 3 s",
            "small jobs over HTTP without a key: 3 s",
        )
        known = {
            (OLD, keyed): 100.0, (OLD, plain): 200.0, (NEW, keyed): 210.0, (NEW, plain): 220.0,
            (NEW, "PATCH by key on one dataset, 8 connections"): 105.0,
            (NEW, "PATCH by key on one dataset, each waited for by 8 clients"): 50.0,
        }  # fmt: skip
        rows = list(crossed(known))
        assert [(row.figure, row.met) for row in rows] == [(1.05, True), (0.5, False)]

    def test_a_checkout_that_was_not_set_up_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="make setup"):
            interpreter(tmp_path)

    def test_what_is_compared_by_default_are_scenarios(self) -> None:
        assert set(COMPARED) <= set(SCENARIOS)


class TestScenarios:
    def test_each_is_a_module_and_the_large_ones_are_named_so_in_the_readme(self) -> None:
        readme = (Path(__file__).parents[2] / "benchmarks" / "README.md").read_text(encoding="utf-8")
        assert [name for name in SCENARIOS if find_spec(f"benchmarks.{name}") is None] == []
        assert [name for name in LARGE if f"| `{name}` (large) |" not in readme] == []


def test_rows_are_sorted_by_topic() -> None:
    centres = 5 * np.eye(DIMENSIONS, dtype=np.float32)[:3]
    vectors = centres[np.arange(90) % 3] + np.random.default_rng(0).normal(size=(90, DIMENSIONS), scale=0.1)
    column = pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32(), DIMENSIONS))
    ids = by_topic(pa.table({"id": range(90), "_embedding": column})).column("id").to_pylist()
    assert [{one % 3 for one in ids[at : at + 30]} for at in (0, 30, 60)] in [
        [{a}, {b}, {c}] for a, b, c in itertools.permutations(range(3))
    ]


class TestRecall:
    def test_hits_as_near_as_the_kth_nearest_count(self) -> None:
        bodies = [json.dumps({"hits": [{"distance": 0.1}, {"distance": 0.3}]}), json.dumps({"hits": []})]
        assert recall(bodies, [0.2, 0.2], 2) == 0.25

    def test_what_answers_say_of_their_effort_is_told(self) -> None:
        searched = _searched(100, 0.98, 4.0)
        assert searched.told() == "the answers do not say with which ef"
        told = Searched(None, 0.98, searched.times, searched.times, [], 1, 1, [80, 90, 120], 0.9812, ["queries"]).told()
        assert told == "ef 80 to 120, expected 0.9812 from queries"

    def test_the_widths_around_a_recall(self) -> None:
        known = [_searched(40, 0.95, 3.0), _searched(80, 0.97, 4.0), _searched(160, 0.99, 6.0)]
        assert [one.ef for one in around(known, 0.96)] == [40, 80]
        assert [one.ef for one in around(known, 0.9)] == [40]
        assert around(known, 0.995) == []

    def test_a_peer_stands_beside_what_a_search_with_its_recall_takes_in_the_same_turns(self) -> None:
        # The second turn was twice as slow for both, and the third for one of them.
        theirs = Width(100, 0.96, [[2.0], [4.0], [2.0]])
        ours = [Width(40, 0.95, [[3.0], [6.0], [6.0]]), Width(80, 0.97, [[4.0], [8.0], [8.0]])]
        found = compared(theirs, ours)
        # Half way between the widths of 0.95 and 0.97.
        assert (found["ours"], found["recall"], found["ratio"]) == (60, 0.96, 1.75)
        assert (found["least"], found["most"]) == (1.75, 3.5)
        alone = compared(Width(20, 0.9, theirs.turns), ours[:1])
        assert (alone["ours"], alone["ratio"]) == (40, 1.5)

    def test_buckets_are_spread_evenly_whatever_the_order_of_ids(self) -> None:
        numbers = buckets(pa.table({"id": range(100_000)}))
        assert numbers.min() >= 0
        assert numbers.max() < BUCKETS
        shares = np.histogram(numbers, bins=10, range=(0, BUCKETS))[0] / len(numbers)
        assert shares == pytest.approx(0.1, abs=0.005)


def _searched(ef: int, recall: float, milliseconds: float) -> Searched:
    times = Times.of([milliseconds])
    return Searched(ef, recall, times, times, [], 1, 1)
