"""Triggers for the databases of tests: they refuse a change of state that states.py does not know.

The statements of the jobs' repository say in their WHERE from which states they start; these triggers are the proof, in
every test that moves a job.
"""

from collections.abc import Mapping
from enum import StrEnum

from gristmill.jobs.states import CHUNK_TRANSITIONS, JOB_TRANSITIONS

_FUNCTION = """
CREATE FUNCTION gristmill.test_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (OLD.state || '>' || NEW.state) = ANY (TG_ARGV) THEN
        RAISE EXCEPTION '% of % went from % to %', TG_TABLE_NAME, NEW, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = """
CREATE TRIGGER test_transition BEFORE UPDATE OF state ON gristmill.{table} FOR EACH ROW
WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION gristmill.test_transition({allowed})
"""


def _trigger(table: str, transitions: Mapping[StrEnum, frozenset[StrEnum]]) -> str:
    allowed = ", ".join(f"'{old}>{new}'" for old, states in transitions.items() for new in states)
    return _TRIGGER.format(table=table, allowed=allowed).replace("%", "%%")


TRIGGERS = (
    _FUNCTION.replace("%", "%%"),
    _trigger("jobs", JOB_TRANSITIONS),
    _trigger("chunks", CHUNK_TRANSITIONS),
)
