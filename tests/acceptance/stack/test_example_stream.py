"""The example of a simulated stream, by its own interface: started by make, beside a whole stack, across restarts."""

import datetime as dt
import os
import signal
import statistics
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from tests.support.example import Example, running
from tests.support.stacks import SharedStack
from tests.support.system import eventually

FAST = "--env STREAM_INTERVAL=0.05 --env STREAM_ZONE=Europe/Berlin"


class Stream:
    """The application by its own interface."""

    def __init__(self, example: Example) -> None:
        self.stack, self.environment, self.url = example.stack, example.environment, example.url
        self.make, self.gristmill = example.make, example.gristmill

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(f"{self.url}{path}", params=params, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def every(self, least: int = 1) -> Any:
        """Return the tables of all records once there are so many."""
        end = "9999-12-31T23:59:59Z"

        def enough() -> Any:
            return found if len((found := self.get("/query", end=end))["latest"]) >= least else None

        return eventually(enough, f"{least} records", 60)


@pytest.fixture(scope="module")
def example(whole: SharedStack) -> Iterator[Stream]:
    with running("stream", whole, FAST) as found:
        yield Stream(found)


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
    def test_it_reports_its_pipeline(self, example: Stream) -> None:
        found = eventually(lambda: found if (found := example.get("/trigger"))["batches"] else None, "a batch", 60)
        assert (found["state"], found["settings"]["batch_size"]) == ("running", 10)
        assert set(found["results"]) == {"latest", "melted", "pivoted"}

    def test_the_newest_batch_in_three_tables(self, example: Stream) -> None:
        example.every(20)
        found = example.get("/latest")
        assert len(found["latest"]) == found["batch"]["rows"] == 10
        check(found)

    def test_a_window_reaches_across_batches_with_either_bound_or_none(self, example: Stream) -> None:
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

    def test_naive_times_are_in_the_zone_of_the_contract(self, example: Stream) -> None:
        first = example.every()["latest"][0]
        berlin = moment(first["timestamp"]).astimezone(ZoneInfo("Europe/Berlin"))
        naive = berlin.replace(tzinfo=None).isoformat()
        assert [row["id"] for row in example.get("/query", start=naive, end=naive)["latest"]] == [first["id"]]

    def test_what_makes_no_sense_is_refused_by_name(self, example: Stream) -> None:
        answer = httpx.get(f"{example.url}/query", params={"start": "5 bananas"}, timeout=60)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/start")
        assert answer.headers["content-type"] == "application/problem+json"
        backwards = example.get("/query", start="2100-01-01T00:00:00Z", end="2000-01-01T00:00:00Z")
        assert backwards["latest"] == backwards["melted"] == backwards["pivoted"] == []

    def test_a_killed_application_comes_back_and_has_lost_nothing(self, example: Stream) -> None:
        before = example.every()["latest"]
        (service,) = [one for one in example.stack.status().services if one.name == "stream"]
        assert service.pid is not None
        os.kill(service.pid, signal.SIGKILL)

        def back() -> Any:
            try:
                return example.get("/latest")
            except httpx.HTTPError:
                return None

        check(eventually(back, "the application is back", 60))
        after = example.every()["latest"]
        assert after[: len(before)] == before

    def test_down_ends_it_and_up_brings_it_back_with_its_data(self, example: Stream) -> None:
        before = example.every()["latest"]
        assert example.make("down").returncode == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(example.url, timeout=5)
        assert example.make("up").returncode == 0
        after = example.every()["latest"]
        assert after[: len(before)] == before
        check(example.every(len(after) + 1) and example.get("/latest"))

    def test_it_can_be_stopped_alone(self, example: Stream) -> None:
        missing = example.gristmill("app", "stop", "none")
        assert missing.returncode == 4
        assert "there are: stream" in missing.stderr
        done = example.gristmill("app", "stop", "stream")
        assert done.returncode == 0, done.stderr
        assert "stream" not in {one.name for one in example.stack.status().services}
        assert example.stack.status().ok

    def test_make_lists_the_examples_and_says_what_is_missing(self, example: Stream) -> None:
        assert "NAME=stream" in example.make("example").stdout
        assert "There is no example none" in example.make("example", "NAME=none", "PORT=1").stdout
        assert "PORT is missing" in example.make("example", "NAME=stream").stdout
