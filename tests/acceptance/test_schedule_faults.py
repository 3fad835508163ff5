"""Schedules whose dispatcher is dead, frozen or killed at its commit, or of which there are two."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.faults import FaultStack
from tests.support.rest import new_name
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
Json = dict[str, Any]


def create(stack: FaultStack, **timing: Any) -> str:
    name = new_name("s")
    body = {"name": name, "type": "own.plain", **timing}
    with stack.system.http() as http:
        answer = http.post("/api/v1/schedules", json=body)
        assert answer.status_code == 201, answer.text
    return name


def show(stack: FaultStack, name: str) -> Json:
    with stack.system.http() as http:
        return dict(http.get(f"/api/v1/schedules/{name}").json())


def times(stack: FaultStack, name: str) -> list[str]:
    """Return what the jobs of a schedule are for, in the order of their submission."""
    rows = stack.system.query(
        "SELECT labels->>'scheduled_for' AS time FROM gristmill.jobs "
        "WHERE labels->>'schedule' = %s ORDER BY created_at",
        (name,),
    )
    return [row["time"] for row in rows]


def delete(stack: FaultStack, name: str) -> None:
    with stack.system.http() as http:
        assert http.delete(f"/api/v1/schedules/{name}").status_code == 204


def test_dead_for_an_hour_it_runs_once_and_then_on_time(stack: FaultStack) -> None:
    stack.system.kill("dispatcher")
    name = create(stack, every="2s")
    # As if the hour had gone by.
    stack.system.query(
        "UPDATE gristmill.schedules SET next_run_at = next_run_at - interval '1 hour', "
        "start = start - interval '1 hour' WHERE name = %s",
        (name,),
    )
    due = show(stack, name)["next_runs"][0]
    assert show(stack, name)["late"]
    stack.system.start("dispatcher")
    eventually(lambda: len(times(stack, name)) >= 3, "it runs on", 60)
    delete(stack, name)
    found = times(stack, name)
    assert found[0] == due
    moments = [datetime.fromisoformat(one) for one in found]
    assert moments[1] - moments[0] > timedelta(minutes=59), "what was missed is caught up once"
    assert len(set(found)) == len(found)


def test_two_dispatchers_one_of_which_is_killed_again_and_again(stack: FaultStack) -> None:
    names = [create(stack, every="1s") for _ in range(5)]
    for round_ in range(3):
        stack.system.start("dispatcher2")
        seen = len(times(stack, names[0]))
        eventually(lambda seen=seen: len(times(stack, names[0])) > seen, f"runs in round {round_}", 60)
        stack.system.kill("dispatcher2")
    for name in names:
        delete(stack, name)
        found = times(stack, name)
        assert found
        assert len(set(found)) == len(found), "no run is submitted twice"
        # Each is for a time of its own row.
        seconds = {datetime.fromisoformat(one).microsecond for one in found}
        assert len(seconds) == 1


def test_killed_at_its_commit_the_run_is_submitted_once(stack: FaultStack) -> None:
    stack.system.kill("dispatcher")
    name = create(stack, every="1h")
    stack.system.query("UPDATE gristmill.schedules SET next_run_at = now() WHERE name = %s", (name,))
    # Its row is locked and its job inserted when the next run is to be written.
    stack.system.query("""
        CREATE FUNCTION data.hold_schedule() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_xact_lock(471148); RETURN NEW; END $$""")
    stack.system.query(
        "CREATE TRIGGER hold BEFORE UPDATE ON gristmill.schedules FOR EACH ROW EXECUTE FUNCTION data.hold_schedule()"
    )
    try:
        with stack.locked("SELECT pg_advisory_lock(471148)"):
            stack.system.start("dispatcher")
            eventually(lambda: held(stack), "the run is to be written", 60)
            stack.system.kill("dispatcher")
    finally:
        stack.system.query("DROP TRIGGER hold ON gristmill.schedules")
        stack.system.query("DROP FUNCTION data.hold_schedule()")
    assert times(stack, name) == []
    stack.system.start("dispatcher")
    eventually(lambda: times(stack, name), "it runs", 60)
    eventually(lambda: show(stack, name)["runs"] == 1 and not show(stack, name)["late"], "it is noted", 60)
    assert len(times(stack, name)) == 1
    delete(stack, name)


def held(stack: FaultStack) -> list[Json]:
    return stack.system.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 471148 AND NOT granted")
