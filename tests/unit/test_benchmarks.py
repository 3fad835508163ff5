"""What the bench computes by itself: the page of figures, the SQL in Postgres' log, recall against the exact answer."""

import json
from pathlib import Path

import pytest
from benchmarks.exact import recall
from benchmarks.report_markdown import BEGIN, END, put, table
from benchmarks.statements import _read

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
        )
        assert found.messages == ["EXECUTE gm_1 ('x');SELECT a\n<=> b", "EXECUTE gm_2 ('y')"]
        assert [text.split()[1] for text in found.preparations] == ["gm_1", "gm_2"]


class TestRecall:
    def test_hits_as_near_as_the_kth_nearest_count(self) -> None:
        bodies = [json.dumps({"hits": [{"distance": 0.1}, {"distance": 0.3}]}), json.dumps({"hits": []})]
        assert recall(bodies, [0.2, 0.2], 2) == 0.25
