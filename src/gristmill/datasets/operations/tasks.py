"""Handlers of the jobs that truncate, rename and copy a dataset, each in one transaction."""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gristmill.core.database import DATA_SCHEMA, set_time_limit
from gristmill.datasets import ddl
from gristmill.datasets import repository as datasets
from gristmill.datasets.contract import load_contract
from gristmill.datasets.creation import is_free
from gristmill.datasets.errors import ChangeFailed, DatasetExists, UnknownDataset
from gristmill.datasets.extensions import DatasetExtension
from gristmill.datasets.lookup import DROPPED, scope_of
from gristmill.datasets.operations import repository
from gristmill.datasets.operations.service import COPY, RENAME, TRUNCATE
from gristmill.datasets.parents.judge import check_table
from gristmill.datasets.parents.relations import Relations, all_below
from gristmill.datasets.parents.removal import remove
from gristmill.datasets.schemas import contract_tag
from gristmill.datasets.tasks import DatasetHandler, id_of, require_ready
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, Outcome
from gristmill.jobs.repository import scopes


class TruncateHandler(DatasetHandler):
    """``dataset.truncate``: empties the table, having told those who build on it. args: dataset_id, below.

    Children that go with it are deleted record by record: their tables may hold others.
    """

    type = TRUNCATE

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        row = self.dataset(connection, task)
        require_ready(connection, row)
        for extension in self.extensions:
            extension.on_alter(connection, row["id"], row["name"])
        cascaded: dict[str, int] = {}
        if row["hierarchy"]:
            cascaded = self._remove_children(connection, task, row)
        with ddl.limited(connection):
            repository.truncate_table(connection, row["name"])
            for extension in self.extensions:
                extension.on_truncate(connection, row["id"], row["name"])
        result = {"table": f"{DATA_SCHEMA}.{row['name']}"}
        return Outcome(result=result | ({"cascaded": cascaded} if cascaded else {}))

    def _remove_children(self, connection: Connection, task: ChunkTask, row: datasets.Row) -> dict[str, int]:
        applied = datasets.find_applied(connection, row["id"])
        assert applied is not None  # it is ready
        contract = load_contract(applied["contract"])
        relations = all_below(connection, contract, task.args.get("below", ()))
        # However many they are: the time limit of the worker ends it.
        set_time_limit(connection, 0)
        return remove(connection, contract, sa.true(), relations, keep_root=True)[1]


class RenameHandler(DatasetHandler):
    """``dataset.rename``: gives dataset and table their new name. args: dataset_id, version, name.

    It is alone in the scopes of both names. Jobs that were submitted under the old name after it move to the scope of
    the new one: they name the dataset by its id.
    """

    type = RENAME

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        row = self.dataset(connection, task)
        require_ready(connection, row)
        old, new, version = row["name"], task.args["name"], task.args["version"]
        wanted = datasets.find_version(connection, row["id"], version)
        if wanted is None or (
            wanted["state"] == "failed" and datasets.has_later_version(connection, row["id"], version)
        ):
            raise ChangeFailed(f"The contract was changed since: version {version} is no longer wanted")
        scopes.merge(connection, scope_of(old), scope_of(new), dataset=new, but=task.job_id)
        self._take_name(connection, row["id"], new)
        self.clear(connection, new)
        for extension in self.extensions:
            extension.on_alter(connection, row["id"], old)
        ddl.require_no_table(connection, new)
        with ddl.limited(connection):
            repository.rename_table(connection, old, new)
        for extension in self.extensions:
            extension.on_rename(connection, row["id"], old, new)
        datasets.set_version_state(connection, row["id"], version, "applied")
        datasets.show_version(connection, row["id"], version, wanted["contract"])
        datasets.set_state(connection, row["id"], row["state"])
        result = {"name": new, "table": f"{DATA_SCHEMA}.{new}", "etag": str(contract_tag(row["id"], version))}
        return Outcome(result=result)

    def _take_name(self, connection: Connection, dataset_id: uuid.UUID, name: str) -> None:
        try:
            if is_free(connection, name):
                datasets.release_failed(connection, name)
                repository.rename_dataset(connection, dataset_id, name)
                return
        except IntegrityError as error:
            raise DatasetExists(f"A dataset {name} was created meanwhile") from error
        raise DatasetExists(f"A dataset {name} was created meanwhile")


class CopyHandler(DatasetHandler):
    """``dataset.copy``: makes the table and fills it from another one. args: dataset_id, version, source_id, where.

    The new dataset's row is locked at the end only: whoever drops it does not wait for the copy, which ends then.
    """

    type = COPY
    queue = "long"

    def __init__(self, extensions: Sequence[DatasetExtension], relations: Relations) -> None:
        super().__init__(extensions)
        self._relations = relations

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        row = datasets.find(connection, id_of(task))
        source = datasets.find(connection, uuid.UUID(task.args["source_id"]))
        made = datasets.find_version(connection, id_of(task), task.args["version"])
        if row is None or made is None or row["state"] in ("dropping", "dropped"):
            raise JobDropped(DROPPED)
        if source is None or source["state"] in ("dropping", "dropped"):
            raise UnknownDataset("The dataset that was to be copied was dropped meanwhile")
        require_ready(connection, source)
        applied = datasets.find_applied(connection, source["id"])
        assert applied is not None  # it is ready
        target = load_contract(made["contract"])
        self.clear(connection, target.name)
        ddl.create_table(connection, target, row["id"])
        set_time_limit(connection, 0)
        rows = 0
        where, contract = task.args["where"], load_contract(applied["contract"])
        for copied, share in repository.copy_rows(connection, contract, target, where):
            rows += copied
            task.report(share)
            task.check()
        for relation in self._relations.above(connection, target):
            check_table(connection, relation)
        self.dataset(connection, task)
        self.finish_creation(connection, row["id"], target.name, task.args["version"])
        return Outcome(result={"table": f"{DATA_SCHEMA}.{target.name}", "rows": rows})
