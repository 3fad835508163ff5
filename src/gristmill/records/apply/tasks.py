"""The handler of ingest jobs: rows and the chunk's ``done`` go into one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import Connection

from gristmill.jobs.handlers import ChunkTask, Outcome, Pair, SharingHandler
from gristmill.records.apply.groups import group_parts
from gristmill.records.apply.upsert import Part, upsert
from gristmill.records.embedding import BatchStep, Vectors
from gristmill.records.payload import decode
from gristmill.records.targets import Targets

INGEST = "records.ingest"


@dataclass(frozen=True, slots=True)
class Prepared:
    table: pa.Table
    embeddings: Vectors | None


class IngestHandler(SharingHandler):
    """Upserts a chunk of records, or small ones of several jobs. args: dataset_id, contract_version, on_conflict."""

    type = INGEST

    def __init__(self, targets: Targets, steps: Sequence[BatchStep]) -> None:
        self._targets = targets
        self._steps = steps

    def prepare(self, task: ChunkTask) -> Prepared:
        table = decode(task.payload or b"")
        dataset = self._targets.submitted(task)
        embeddings = None
        if table.num_rows == 0:
            # All records of the batch were rejected.
            return Prepared(table, None)
        for step in self._steps:
            if table.num_rows > 1000:
                task.check()
            made = step(dataset.contract, dataset, table)
            embeddings = embeddings if made is None else made
        return Prepared(table, embeddings)

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
        return [Outcome(succeeded=one.succeeded, superseded=one.superseded) for one in counts]


def _parts(pairs: Sequence[Pair]) -> list[Part]:
    return [Part(prepared.table, prepared.embeddings, task.seq, task.first_record) for task, prepared in pairs]
