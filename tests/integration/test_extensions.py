"""What another domain adds to datasets is one object: hooks, state, figures and maintenance all come from it."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.support.in_process import InProcess

from gristmill.bootstrap import dispatcher
from gristmill.bootstrap.extensions import build_extensions
from gristmill.core.errors import Conflict
from gristmill.datasets.extensions import DatasetExtension, Gauge

BODY: dict[str, Any] = {"fields": [{"name": "n", "type": "integer"}]}


class Notes:
    """Writes down in Postgres, within the transaction of each hook, what was called for which dataset."""

    def __init__(self) -> None:
        self.refused = ""
        self.runs = 0

    def hook(self, what: str) -> Any:
        def note(connection: Connection, dataset_id: uuid.UUID, name: str) -> None:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS public.notes (what text, id uuid, name text)")
            connection.exec_driver_sql("INSERT INTO public.notes VALUES (%s, %s, %s)", (what, str(dataset_id), name))
            if what == self.refused:
                raise Conflict(f"no {what} today")

        return note

    def read(self, connection: Connection) -> list[str]:
        return list(connection.exec_driver_sql("SELECT what FROM public.notes ORDER BY ctid").scalars())

    def run(self) -> int:
        self.runs += 1
        return 0

    def extension(self) -> DatasetExtension:
        return DatasetExtension(
            name="notes",
            on_create=self.hook("create"),
            on_alter=self.hook("alter"),
            on_drop=self.hook("drop"),
            state=lambda connection, dataset: {"of": dataset.name, "seen": self.read(connection)},
            gauges=lambda connection: [Gauge("notes", "Notes.", ["kind"], [(["all"], len(self.read(connection)))])],
            maintenance=((7.0, self.run),),
        )


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    found = Notes()
    for module in ("api", "registry", "dispatcher"):
        monkeypatch.setattr(
            f"gristmill.bootstrap.{module}.build_extensions", lambda g: [*build_extensions(g), found.extension()]
        )
    return found


@pytest.fixture
def extended(notes: Notes, database_url: str) -> Iterator[InProcess]:
    found = InProcess(database_url)
    with found.http:
        yield found
    found.gristmill.database.close()


def test_hooks_run_in_the_transactions_of_the_changes_and_the_state_is_shown(extended: InProcess, notes: Notes) -> None:
    name = extended.dataset(BODY)
    url = f"/api/v1/datasets/{name}"
    assert extended.http.get(url).json()["notes"] is None
    extended.work()
    shown = extended.http.get(url).json()
    assert shown["notes"] == {"of": name, "seen": ["create"]}
    assert (shown["index"], shown["retention"]) == (None, None)
    assert extended.job(extended.http.patch(url, json={"add_fields": [{"name": "m", "type": "text"}]}))["done"]
    assert extended.http.get(url).json()["notes"]["seen"] == ["create", "alter"]
    assert 'notes{kind="all"} 2.0' in extended.http.get("/metrics").text
    notes.refused = "drop"
    job = extended.job(extended.http.delete(f"{url}?confirm={name}"))
    assert (job["state"], job["error"]["detail"]) == ("failed", "no drop today")
    with extended.gristmill.database.autocommit() as connection:
        assert notes.read(connection) == ["create", "alter"]
        assert connection.exec_driver_sql(f'SELECT count(*) FROM data."{name}"').scalar() == 0


def test_its_maintenance_is_done_by_the_dispatcher(extended: InProcess, notes: Notes) -> None:
    due = [run for every, run in dispatcher.maintenance_tasks(extended.gristmill) if every == 7.0]
    assert len(due) == 1
    due[0]()
    assert notes.runs == 1
