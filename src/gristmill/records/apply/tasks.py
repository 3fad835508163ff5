"""The handler of ingest jobs: rows and the chunk's ``done`` go into one commit."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection

from gristmill.jobs.handlers import ChunkTask, Outcome, Pair, SharingHandler
from gristmill.records.apply.pipeline import BatchPipeline, Prepared
from gristmill.records.apply.upsert import WriteCounts, upsert
from gristmill.records.apply.upsert_group import Part, group_parts, upsert_group
from gristmill.records.payload import decode
from gristmill.records.rejects.repository import store_rejects
from gristmill.records.targets import Targets

INGEST = "records.ingest"


class IngestHandler(SharingHandler):
    """Upserts a chunk of records. args: dataset_id, contract_version, on_conflict, on_error."""

    type = INGEST

    def __init__(self, targets: Targets, pipeline: BatchPipeline) -> None:
        self._targets = targets
        self._pipeline = pipeline

    def prepare(self, task: ChunkTask) -> Prepared:
        return self._pipeline.prepare(task, decode(task.payload or b""))

    def apply(self, connection: Connection, task: ChunkTask, prepared: Prepared) -> Outcome:
        contract = self._targets.present(connection, task).contract
        mode: Literal["replace", "fail"] = "fail" if task.args.get("on_conflict") == "fail" else "replace"
        counts = upsert(connection, contract, prepared.table, None, task.seq, task.first_record, mode)
        store_rejects(connection, task.job_id, prepared.rejects)
        return prepared.outcome(contract, counts)

    def groups(self, pairs: Sequence[Pair]) -> list[list[Pair]]:
        by_target: dict[tuple[Any, ...], list[Pair]] = {}
        for task, prepared in pairs:
            key = (task.args["dataset_id"], task.args["contract_version"], task.args.get("on_conflict"))
            by_target.setdefault(key, []).append((task, prepared))
        return [
            [members[place] for place in places]
            for members in by_target.values()
            for places in group_parts(self._targets.submitted(members[0][0]).contract, _parts(members))
        ]

    def apply_all(self, connection: Connection, group: Sequence[Pair]) -> list[Outcome]:
        contract = self._targets.present(connection, group[0][0]).contract
        counts: list[WriteCounts] = upsert_group(connection, contract, _parts(group))
        outcomes = []
        for (task, prepared), one in zip(group, counts, strict=True):
            store_rejects(connection, task.job_id, prepared.rejects)
            outcomes.append(prepared.outcome(contract, one))
        return outcomes


def _parts(pairs: Sequence[Pair]) -> list[Part]:
    return [Part(prepared.table, None, task.seq, task.first_record) for task, prepared in pairs]
