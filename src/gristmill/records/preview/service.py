"""Previews: a sample passes the steps of a contract as it does in a worker, and every frame is shown."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import CSV, JSON
from gristmill.datasets.contract import Contract
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.service import DatasetService
from gristmill.datasets.step_types import bound_types, column_of
from gristmill.records.apply.output import of_record, validate_output
from gristmill.records.batch import Batch
from gristmill.records.bodies import read_body
from gristmill.records.changes.recompute import Recompute
from gristmill.records.preview.frames import Frames
from gristmill.records.preview.schemas import PreviewRequest
from gristmill.records.read.service import RecordReads
from gristmill.records.readers import open_reader
from gristmill.records.readers.context import ReadContext, RecordBlock
from gristmill.records.readers.dialect import DEFAULT, CsvDialect, given_parameters, read_dialect, refuse_parameters
from gristmill.records.reject import Reject
from gristmill.records.submit import Submitter
from gristmill.records.transform import Pipelines, transform
from gristmill.records.validation.rows import Problems, output_validator_of, validator_of
from gristmill.transforms.spec import Indexes, StepContext

# Bytes of the rows that a step makes: a sample is small, and somebody waits.
_MOST_BYTES = 16 * 1024 * 1024
_FORMATS = {"csv": CSV, "ndjson": "application/x-ndjson"}


@dataclass(frozen=True, slots=True)
class _Sample:
    """Valid records, their places in what was given, and what is wrong with the others."""

    table: pa.Table
    places: Sequence[int]
    rejects: Sequence[Reject]


class RecordPreview:
    """Shows what the pipeline of a dataset makes of a sample."""

    def __init__(
        self,
        submitter: Submitter,
        datasets: DatasetService,
        reads: RecordReads,
        recompute: Recompute,
        pipelines: Pipelines,
    ) -> None:
        self._submitter = submitter
        self._datasets = datasets
        self._reads = reads
        self._recompute = recompute
        self._pipelines = pipelines

    def preview(self, name: str, raw: bytes) -> dict[str, Any]:
        """Return the frame of the sample, those after each step, what would be written, and what does not fit.

        raw: a PreviewRequest. Raises Malformed; Invalid for the body, the contract that is tried, or a sample that
        cannot be read at all; UnknownDataset; InputNotStored where a stored sample does not have what steps need.
        """
        request = read_body(PreviewRequest, raw)
        if request.records is not None and request.data is not None:
            reason = "A sample is either records or data"
            raise Invalid(reason, [Violation("/data", "not_applicable", reason, field="data")])
        given = given_parameters(request)
        dialect = read_dialect(given, "")
        if request.data is None or request.format != "csv":
            what = "a sample of records" if request.data is None else request.format
            refuse_parameters(given, what, "")
        contract, dataset = self._contract(name, request)
        return self._shown(contract, self._sample(contract, request, dataset, dialect))

    def _contract(self, name: str, request: PreviewRequest) -> tuple[Contract, Dataset | None]:
        """Return the contract that is tried, and the dataset if there is one."""
        try:
            dataset = self._submitter.load(name)
        except UnknownDataset:
            if request.contract is None:
                raise
            dataset = None
        if request.contract is None:
            assert dataset is not None
            return dataset.contract, dataset
        own = {} if dataset is None else dataset.contract.as_json()
        body = {**own, **request.contract, "name": name}
        try:
            return self._datasets.check_contract(
                {member: value for member, value in body.items() if value is not None}
            ), dataset
        except Invalid as error:
            places = [replace(one, pointer=f"/contract{one.pointer}") for one in error.violations]
            raise Invalid(error.detail, places, error.total) from error

    def _sample(
        self, contract: Contract, request: PreviewRequest, dataset: Dataset | None, dialect: CsvDialect
    ) -> _Sample:
        if request.data is not None:
            return _read(contract, request.data.encode(), _FORMATS[request.format], request.limit, dialect)
        records = request.records
        if records is None:
            records = [] if dataset is None else self._stored(contract, dataset.name, request.limit)
        return _read(contract, json.dumps(records[: request.limit]).encode(), JSON, request.limit)

    def _stored(self, contract: Contract, name: str, limit: int) -> list[Any]:
        """Return what clients sent of the newest records. Raises InputNotStored."""
        self._recompute.check_merge(contract)
        sent = {column.name for column in contract.input_columns}
        found = self._reads.latest(name, limit, embedding=contract.takes_vectors).body["records"]
        return [{name: value for name, value in record.items() if name in sent} for record in found]

    def _shown(self, contract: Contract, sample: _Sample) -> dict[str, Any]:
        steps = self._pipelines.steps(contract)
        frames = Frames(bound_types(contract), sample.places, len(steps) + 2)
        every = np.arange(sample.table.num_rows, dtype=np.int64)
        answer: dict[str, Any] = {
            "dataset": contract.name,
            "records": len(sample.places) + len(sample.rejects),
            "input": frames.show([column_of(field) for field in contract.input_fields], sample.table, every),
            "steps": [],
        }

        def seen(table: pa.Table, origins: Indexes) -> None:
            step = steps[len(answer["steps"])]
            shown = frames.show(list(step.columns.values()), table, origins)
            answer["steps"].append({"step": len(answer["steps"]), "op": step.kind.op, **shown})

        batch = transform(steps, Batch(sample.table, every), contract, StepContext(most_bytes=_MOST_BYTES), seen)
        table, origins, unfit = validate_output(output_validator_of(contract), batch)
        columns = [column_of(field) for field in contract.fields]
        answer["output"] = frames.show(columns, table, origins)
        rejects = [(one.record, one.violations) for one in sample.rejects]
        rejects += [(sample.places[row], of_record(sample.places[row], found)) for row, found in unfit.items()]
        answer["rejects"] = [
            {"record": record, "errors": [one.as_json() for one in found]} for record, found in sorted(rejects)
        ]
        written = set((origins if batch.merged is None else batch.merged).tolist())
        answer["dropped"] = [
            place for row, place in enumerate(sample.places) if row not in written and row not in unfit
        ]
        return answer


def _read(contract: Contract, raw: bytes, media_type: str, limit: int, dialect: CsvDialect = DEFAULT) -> _Sample:
    """Return the first records of a body; those that are not valid are rejects."""
    rejects: list[Reject] = []
    validator = validator_of(contract)
    source = ReadContext(io.BytesIO(raw), validator, Problems(), rejects=rejects.append, dialect=dialect)
    blocks: list[RecordBlock] = []
    for block in open_reader(media_type)(source):
        blocks.append(block)
        if sum(one.table.num_rows for one in blocks) + len(rejects) >= limit:
            break
    source.problems.raise_if_any()
    table = pa.concat_tables([block.table for block in blocks]) if blocks else validator.to_table([])
    places = np.concatenate([block.ords for block in blocks]) if blocks else np.empty(0, np.int64)
    kept = int(np.searchsorted(places, limit))
    return _Sample(table.slice(0, kept), places[:kept].tolist(), [one for one in rejects if one.record < limit])
