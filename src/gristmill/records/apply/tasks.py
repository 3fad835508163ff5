"""The handler of ingest jobs: rows and the chunk's ``done`` go into one commit."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection

from gristmill.jobs.handlers import ChunkTask, Outcome, Pair, SharingHandler
from gristmill.records.apply.groups import group_parts
from gristmill.records.apply.pipeline import BatchPipeline, Prepared
from gristmill.records.apply.upsert import Part, upsert
from gristmill.records.payload import decode
from gristmill.records.rejects.repository import store_rejects
from gristmill.records.targets import Targets

INGEST = "records.ingest"


class IngestHandler(SharingHandler):
    """Upserts a chunk of records, or small ones of several jobs. args: dataset_id, contract_version, on_conflict,
    on_error.
    """

    type = INGEST

    def __init__(self, targets: Targets, pipeline: BatchPipeline) -> None:
        self._targets = targets
        self._pipeline = pipeline

    def prepare(self, task: ChunkTask) -> Prepared:
        return self._pipeline.prepare(task, decode(task.payload or b""))

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
        task, _ = group[0]
        contract = self._targets.present(connection, task).contract
        mode: Literal["replace", "fail"] = "fail" if task.args.get("on_conflict") == "fail" else "replace"
        counts = upsert(connection, contract, _parts(group), mode)
        for member, prepared in group:
            store_rejects(connection, member.job_id, prepared.rejects)
        return [prepared.outcome(contract, one) for (_, prepared), one in zip(group, counts, strict=True)]


def _parts(pairs: Sequence[Pair]) -> list[Part]:
    return [Part(prepared.table, task.seq, task.first_record) for task, prepared in pairs]
