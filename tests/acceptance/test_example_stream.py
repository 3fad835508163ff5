"""The example of a simulated stream, by its own interface: started by make, beside a whole stack, across restarts."""

import datetime as dt
import os
import signal
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from tests.support.folders import open_folder
from tests.support.servers import WANTED
from tests.support.system import eventually

from gristmill.core.config import Settings
from gristmill.stack import Stack
from gristmill.stack.ports import any_free

ROOT = Path(__file__).parents[2]
FAST = "--env STREAM_INTERVAL=0.05 --env STREAM_ZONE=Europe/Berlin"


class Example:
    """The application on a stack of its own."""

    def __init__(self, data: Path) -> None:
        self.port = any_free()
        self.url = f"http://127.0.0.1:{self.port}"
        self.stack = Stack(Settings(stack_data=str(data), stack_broker=WANTED, api_port=0, flower_port=0))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "GRISTMILL_STACK_DATA": str(data),
            "GRISTMILL_STACK_BROKER": WANTED,
            "GRISTMILL_API_PORT": "0",
            "GRISTMILL_FLOWER_PORT": "0",
        }

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", "--silent", "--old-file=setup", *words]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(f"{self.url}{path}", params=params, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def every(self, least: int = 1) -> Any:
        """Return the tables of all records once there are so many."""
        end = "9999-12-31T23:59:59Z"
        return eventually(lambda: found if len((found := self.get("/query", end=end))["latest"]) >= least else None, 60)


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    with open_folder() as path:
        found = Example(path / "data")
        made = found.make("example", "NAME=stream", f"PORT={found.port}", f"ARGS={FAST}")
        try:
            assert made.returncode == 0, made.stdout + made.stderr
            assert f"ready {found.url}" in made.stdout.splitlines()
            yield found
        finally:
            found.stack.down()


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def check(found: Any) -> None:
    """Hold the three tables against a plain reading of the rows."""
    rows = found["latest"]
    assert rows == sorted(rows, key=lambda row: (row["timestamp"], row["id"]))
    for place, row in enumerate(rows):
        inside = [
            one["value"]
            for one in rows[: place + 1]
            if moment(row["timestamp"]) - moment(one["timestamp"]) < dt.timedelta(seconds=5)
        ]
        assert row["moving_avg"] == pytest.approx(statistics.fmean(inside), rel=1e-12)
        assert 10 <= row["value"] <= 100
        assert round(row["value"], 2) == row["value"]
    assert found["melted"] == [{"id": row["id"], "variable": "value", "val": row["value"]} for row in rows]
    assert found["pivoted"] == sorted(
        ({"id": row["id"], "value": row["value"]} for row in rows), key=lambda row: row["id"]
    )


class TestStream:
    def test_it_reports_its_pipeline(self, example: Example) -> None:
        found = eventually(lambda: found if (found := example.get("/trigger"))["batches"] else None, 60)
        assert (found["state"], found["settings"]["batch_size"]) == ("running", 10)
        assert set(found["results"]) == {"latest", "melted", "pivoted"}

    def test_the_newest_batch_in_three_tables(self, example: Example) -> None:
        example.every(20)
        found = example.get("/latest")
        assert len(found["latest"]) == found["batch"]["rows"] == 10
        check(found)

    def test_a_window_reaches_across_batches_with_either_bound_or_none(self, example: Example) -> None:
        every = example.every(40)
        check(every)
        start, end = every["latest"][7]["timestamp"], every["latest"][26]["timestamp"]
        part = example.get("/query", start=start, end=end)
        assert [row["id"] for row in part["latest"]] == [row["id"] for row in every["latest"][7:27]]
        check(part)
        later = example.get("/query", start=start)
        assert later["latest"][0]["id"] == every["latest"][7]["id"]
        check(later)
        assert len(example.get("/query")["latest"]) == 10

    def test_naive_times_are_in_the_zone_of_the_contract(self, example: Example) -> None:
        first = example.every()["latest"][0]
        berlin = moment(first["timestamp"]).astimezone(ZoneInfo("Europe/Berlin"))
        naive = berlin.replace(tzinfo=None).isoformat()
        assert [row["id"] for row in example.get("/query", start=naive, end=naive)["latest"]] == [first["id"]]

    def test_what_makes_no_sense_is_refused_by_name(self, example: Example) -> None:
        answer = httpx.get(f"{example.url}/query", params={"start": "5 bananas"}, timeout=60)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/start")
        assert answer.headers["content-type"] == "application/problem+json"
        backwards = example.get("/query", start="2100-01-01T00:00:00Z", end="2000-01-01T00:00:00Z")
        assert backwards["latest"] == backwards["melted"] == backwards["pivoted"] == []

    def test_a_killed_application_comes_back_and_has_lost_nothing(self, example: Example) -> None:
        before = example.every()["latest"]
        (service,) = [one for one in example.stack.status().services if one.name == "stream"]
        assert service.pid is not None
        os.kill(service.pid, signal.SIGKILL)

        def back() -> Any:
            try:
                return example.get("/latest")
            except httpx.HTTPError:
                return None

        check(eventually(back, 60))
        after = example.every()["latest"]
        assert after[: len(before)] == before

    def test_down_ends_it_and_up_brings_it_back_with_its_data(self, example: Example) -> None:
        before = example.every()["latest"]
        assert example.make("down").returncode == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(example.url, timeout=5)
        assert example.make("up").returncode == 0
        after = example.every()["latest"]
        assert after[: len(before)] == before
        check(example.every(len(after) + 1) and example.get("/latest"))

    def test_it_can_be_stopped_alone(self, example: Example) -> None:
        command = [str(ROOT / ".venv/bin/gristmill"), "app", "stop"]
        options: Any = {"env": example.environment, "capture_output": True, "text": True, "check": False}
        missing = subprocess.run([*command, "none"], **options)
        assert missing.returncode == 4
        assert "there are: stream" in missing.stderr
        done = subprocess.run([*command, "stream"], **options)
        assert done.returncode == 0, done.stderr
        assert "stream" not in {one.name for one in example.stack.status().services}
        assert example.stack.status().ok

    def test_make_lists_the_examples_and_says_what_is_missing(self, example: Example) -> None:
        assert "NAME=stream" in example.make("example").stdout
        assert "There is no example none" in example.make("example", "NAME=none", "PORT=1").stdout
        assert "PORT is missing" in example.make("example", "NAME=stream").stdout
