"""Every table has a primary key: new ones at once, those of releases before by a job beside all writes."""

import warnings
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session
from tests.support.in_process import InProcess

from gristmill.datasets.primary_key.tasks import primary_keys
from gristmill.jobs.repository.dispatch import mark_sent

ID = {"name": "id", "type": "integer", "required": True}
FIELDS = [ID, {"name": "t", "type": "text"}, {"name": "at", "type": "timestamp", "required": True}]
KEYED: dict[str, Any] = {"fields": FIELDS, "key": ["at", "id"], "embedding": {"dimensions": 2}}
ONE: dict[str, Any] = {"fields": [ID, FIELDS[1]], "key": ["id"]}
PLAIN: dict[str, Any] = {"fields": [ID, FIELDS[1]]}
# What tables of the release before look like.
BACK = {
    "keyed": "ALTER TABLE data.{0} DROP CONSTRAINT {0}__key; ALTER TABLE data.{0} ADD CONSTRAINT {0}__key UNIQUE ({1})",
    "plain": "ALTER TABLE data.{0} DROP CONSTRAINT {0}__id; CREATE INDEX {0}__id ON data.{0} (_id)",
}


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """They look at every job."""
    return fresh_app


def catalogue(app: InProcess, name: str) -> tuple[list[str], list[str]]:
    """Return the definitions of a table's constraints but NOT NULL, and of its indexes."""
    constraints = """
        SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = %s::regclass AND contype <> 'n' ORDER BY 1
    """
    with app.gristmill.database.autocommit() as connection:
        found = [row[0] for row in connection.exec_driver_sql(constraints, (f"data.{name}",))]
        indexes = connection.exec_driver_sql("SELECT indexdef FROM pg_indexes WHERE tablename = %s ORDER BY 1", (name,))
        return found, [row[0] for row in indexes]


def as_before(app: InProcess, contract: dict[str, Any]) -> str:
    """Make a dataset with a table as the release before made it; return its name."""
    name = app.dataset(contract)
    app.work()
    kind = "keyed" if "key" in contract else "plain"
    with app.gristmill.database.transaction() as connection:
        connection.exec_driver_sql(BACK[kind].format(name, ", ".join(contract.get("key", []))))
    return name


def run_jobs(app: InProcess) -> list[Any]:
    """Run what is due in the queue ``long``; return the results."""
    with app.gristmill.database.transaction() as connection:
        messages = mark_sent(connection, "long", 100)
    for message in messages:
        app.executor.run(message.job_id, message.number, message.dispatch)
    return [app.http.get(f"/api/v1/jobs/{message.job_id}").json()["result"] for message in messages]


class TestNewTables:
    def test_tools_that_map_tables_to_classes_find_every_dataset(self, app: InProcess) -> None:
        keyed, one, plain = (app.dataset(contract) for contract in (KEYED, ONE, PLAIN))
        app.job(app.post(keyed, [{"id": 1, "at": "2026-01-31T12:00:00Z", "t": "a", "_embedding": [1, 2]}]))
        app.job(app.post(one, [{"id": 1, "t": "b"}]))
        app.job(app.post(plain, [{"id": 1, "t": "c"}, {"id": 1, "t": "d"}]))
        engine = sa.create_engine(app.gristmill.database.url)
        base = automap_base()
        with warnings.catch_warnings():
            # SQLAlchemy does not know the type of vectors.
            warnings.simplefilter("ignore", sa.exc.SAWarning)
            base.prepare(autoload_with=engine, schema="data")
        keys = {name: [column.name for column in sa.inspect(base.classes[name]).primary_key] for name in (keyed, one)}
        assert keys == {keyed: ["at", "id"], one: ["id"]}
        assert [column.name for column in sa.inspect(base.classes[plain]).primary_key] == ["_id"]
        with Session(engine) as session:
            assert [row.t for row in session.query(base.classes[plain]).order_by("_id")] == ["c", "d"]
            assert session.get(base.classes[one], 1).t == "b"
        engine.dispose()

    def test_a_key_of_one_integer_is_no_serial(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.work()
        sql = """
            SELECT column_default, data_type FROM information_schema.columns
            WHERE table_name = %s AND column_name = 'id'
        """
        with app.gristmill.database.autocommit() as connection:
            assert tuple(connection.exec_driver_sql(sql, (name,)).one()) == (None, "bigint")


class TestLandedTables:
    @pytest.mark.parametrize("contract", [KEYED, ONE, PLAIN], ids=["composite", "one field", "without a key"])
    def test_a_job_makes_them_what_new_ones_are(self, app: InProcess, contract: dict[str, Any]) -> None:
        fresh = app.dataset(contract)
        name = as_before(app, contract)
        record = {"id": 1, "at": "2026-01-31T12:00:00Z", "t": "a", "_embedding": [1, 2]}
        names = {field["name"] for field in contract["fields"]} | ({"_embedding"} if "embedding" in contract else set())
        record = {member: value for member, value in record.items() if member in names}
        app.job(app.post(name, [record]))
        rows = app.rows(name)
        keys = primary_keys(app.gristmill.database)
        assert (keys.run(), keys.run()) == (1, 0)
        assert run_jobs(app) == [{"made": True}]
        made, wanted = catalogue(app, name), catalogue(app, fresh)
        assert [[line.replace(name, "d") for line in part] for part in made] == [
            [line.replace(fresh, "d") for line in part] for part in wanted
        ]
        assert app.rows(name) == rows
        app.job(app.post(name, [{**record, "t": "b"}]))
        assert len(app.rows(name)) == (1 if "key" in contract else 2)
        assert primary_keys(app.gristmill.database).run() == 0

    def test_an_index_that_is_complete_is_taken_and_one_that_is_not_is_made_anew(self, app: InProcess) -> None:
        whole, broken = as_before(app, ONE), as_before(app, ONE)
        with app.gristmill.database.transaction() as connection:
            for name in (whole, broken):
                connection.exec_driver_sql(f"CREATE UNIQUE INDEX {name}__pk ON data.{name} (id)")
            connection.exec_driver_sql(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (f"data.{broken}__pk",)
            )
            oid = connection.exec_driver_sql("SELECT %s::regclass::oid", (f"data.{whole}__pk",)).scalar()
        assert primary_keys(app.gristmill.database).run() == 2
        assert run_jobs(app) == [{"made": True}] * 2
        with app.gristmill.database.autocommit() as connection:
            assert connection.exec_driver_sql("SELECT %s::regclass::oid", (f"data.{whole}__key",)).scalar() == oid
        assert not any("__pk" in line for part in catalogue(app, broken) for line in part)

    def test_a_job_that_does_not_help_is_followed_by_another_one_ever_later(
        self, app: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [1000.0]
        monkeypatch.setattr("gristmill.datasets.repairs.time.monotonic", lambda: now[0])
        as_before(app, ONE)
        keys = primary_keys(app.gristmill.database)
        submitted = []
        for _ in range(8):
            submitted.append(keys.run())
            with app.gristmill.database.transaction() as connection:
                connection.exec_driver_sql(
                    "UPDATE gristmill.jobs SET finished_at = now(), state = 'cancelled' WHERE finished_at IS NULL"
                )
            now[0] += 60
        assert submitted == [1, 1, 0, 1, 0, 0, 0, 1]

    def test_one_that_was_dropped_meanwhile_is_left_alone(self, app: InProcess) -> None:
        name = as_before(app, ONE)
        assert primary_keys(app.gristmill.database).run() == 1
        app.job(app.http.delete(f"/api/v1/datasets/{name}?confirm={name}"))
        assert run_jobs(app) == [None]

    def test_one_that_was_renamed_meanwhile_gets_it_under_its_new_name(self, app: InProcess) -> None:
        name = as_before(app, ONE)
        assert primary_keys(app.gristmill.database).run() == 1
        app.job(app.http.post(f"/api/v1/datasets/{name}/rename", json={"name": "renamed"}))
        assert run_jobs(app) == [{"made": True}]
        assert catalogue(app, "renamed")[0] == ["renamed__key PRIMARY KEY (id)"]
