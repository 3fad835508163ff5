"""What each call takes and gives: bodies, answers, and the problems that it can have, by the name of its function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from gristmill.api.openapi import computed, datasets, exports, inference, jobs, records, schedules, sources
from gristmill.core.http.bodies import ARROW, CSV, FORM, JSON
from gristmill.datasets.fit.schemas import FIT_EXAMPLE, FitRequest
from gristmill.datasets.operations.schemas import COPY_EXAMPLE, RENAME_EXAMPLE, CopyOf, NewName
from gristmill.datasets.schemas import CHANGE_EXAMPLE, EXAMPLE
from gristmill.images.duplicates.schemas import EXAMPLE as DUPLICATES_EXAMPLE
from gristmill.images.duplicates.schemas import DuplicatesRequest
from gristmill.images.formats import MEDIA_TYPES as IMAGE_TYPES
from gristmill.jobs.job_types.schemas import JobRequest
from gristmill.records.aggregate.schemas import EXAMPLE as EXAMPLE_AGGREGATE
from gristmill.records.infer.endpoints import SAMPLE_TYPES
from gristmill.records.preview.schemas import PreviewRequest
from gristmill.records.read.schemas import KeyQuery
from gristmill.records.readers import MEDIA_TYPES, open_reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.recompute.schemas import RecomputeRequest
from gristmill.schedules import schemas as scheduled
from gristmill.sources.schemas import EXAMPLE as SOURCE_EXAMPLE
from gristmill.sources.schemas import PAUSE_EXAMPLE, SETTINGS_EXAMPLE, NewSource, SourceChange

Model = type[BaseModel]
# Statuses of problems. Every call under /api/v1 may have those of ASKED.
SERVICE = (400, 500)
ASKED = (400, 401, 403, 422, 500, 503)
NAMED = (*ASKED, 404)
# A dataset whose creation failed is there, and says so with 409.
READ = (*ASKED, 404, 409)
WRITTEN = (*NAMED, 409, 415, 429)
SENT = (*WRITTEN, 413)
ASKING = (*READ, 413, 415)

_TEXT = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_RECORD = {"sensor": "a", "at": "2026-01-31T12:00:00Z", "value": 1.5}
_COUNT = {"where": {"value": {"gt": 30}}}
_QUERY = {**_COUNT, "order": ["-at"], "fields": ["at", "value"]}
_REPORT = {"type": "reports.daily", "args": {"dataset": "readings", "since": "2026-01-01T00:00:00Z"}, "priority": 7}
_SMOOTH = {
    "fields": ["sensor", "at", "value"],
    "rolling": [{"column": "value", "window": "5s", "agg": "mean", "by": ["sensor"], "as": "smooth"}],
    "limit": 1000,
}
_SEARCH = {"text": "storm damage", "k": 5, "where": {"value": {"gt": 0}}}


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body. media: schema or model by media type. examples: by name, of the first media type."""

    media: Mapping[str, Any]
    examples: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """A call.

    answers: description and model, or contents by media type, by status. makes_job: answers with a job. refused:
    parameters of writes that this one does not take.
    """

    answers: Mapping[int, tuple[str, Any]]
    problems: Sequence[int] = ()
    body: Body | None = None
    makes_job: bool = False
    refused: Sequence[str] = ()


def _gives(text: str, model: Any) -> dict[int, tuple[str, Any]]:
    return {200: (text, model)}


_JOB = {202: ("The job that was accepted", jobs.Job), 200: ("The finished job, where it was waited for", jobs.Job)}
# Forms are not among them: of several bodies of which one is a form, generators make clients that do not run.
_RECORDS = Body(
    {
        kind: {"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Record"}}, records.RecordBatch]}
        if kind == JSON
        else (_TEXT if open_reader(kind) in (read_csv, read_ndjson) else _BINARY)["schema"]
        for kind in MEDIA_TYPES
    },
    {"array": [_RECORD], "object": {"records": [_RECORD]}},
)
_SAMPLE = Body({kind: _RECORDS.media[kind] for kind in SAMPLE_TYPES}, _RECORDS.examples)
_DOWNLOADS = {"application/x-ndjson": _TEXT, CSV: _TEXT, "application/vnd.apache.parquet": _BINARY, ARROW: _BINARY}
_IMAGES = dict.fromkeys(IMAGE_TYPES.values(), _BINARY)
_COMPUTED = {JSON: computed.AggregateAnswer, "application/x-ndjson": _TEXT, CSV: _TEXT, ARROW: _BINARY}
_LISTED_REJECTS = {JSON: jobs.RejectPage, "application/x-ndjson": _TEXT, CSV: _TEXT}

# What parameters take that are parsed by hand, by their names.
_TIME = {"type": "string", "format": "date-time"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "wait": {"type": "number", "minimum": 0},
    "priority": {"type": "integer", "minimum": 0, "maximum": 9},
    "label": {
        "type": "array",
        "items": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,63}=[ -~]{0,200}$"},
        "maxItems": 20,
    },
    "run_at": _TIME,
    "created_after": _TIME,
    "if_not_exists": {"type": "boolean"},
    "idempotency-key": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}

OPERATIONS: dict[str, Operation] = {
    "root": Operation(_gives("What this is, and where everything is", datasets.Root), SERVICE),
    "health": Operation(_gives("The process answers", datasets.Health), SERVICE),
    "ready": Operation(_gives("Postgres answers", datasets.Health), (*SERVICE, 503)),
    "metrics": Operation(_gives("Metrics in the text format of Prometheus", {"text/plain": _TEXT}), (*SERVICE, 503)),
    "version": Operation(_gives("Name and version", datasets.Version), SERVICE),
    "list_jobs": Operation(_gives("A page of jobs", jobs.JobPage), ASKED),
    "list_transforms": Operation(_gives("The steps", datasets.TransformList), ASKED),
    "list_functions_of_expressions": Operation(_gives("The functions", datasets.FunctionList), ASKED),
    "list_job_types": Operation(_gives("The job types and the plugins", jobs.JobTypeList), ASKED),
    "submit_job": Operation(_JOB, (*ASKED, 413, 415, 429), Body({JSON: JobRequest}, {"report": _REPORT}), True),
    "list_labels": Operation(_gives("The labels", jobs.Labels), ASKED),
    "get_job": Operation(_gives("The job, also where it has failed", jobs.Job), NAMED),
    "cancel_job": Operation(
        {202: ("The job, which is being cancelled", jobs.Job), 200: ("The cancelled job", jobs.Job)}, (*NAMED, 409)
    ),
    "retry_job": Operation(_JOB, (*NAMED, 409, 429), makes_job=True),
    "list_rejects": Operation(_gives("A page of rejects, or all of them as a file", _LISTED_REJECTS), NAMED),
    "list_datasets": Operation(_gives("A page of datasets", datasets.DatasetPage), ASKED),
    "create_dataset": Operation(
        _JOB, SENT, Body({JSON: datasets.NewContract}, {"readings": EXAMPLE}), True, ("run_at",)
    ),
    "infer_contract": Operation(_gives("The proposed contract", inference.Inferred), (*ASKED, 413, 415), _SAMPLE),
    "get_dataset": Operation(_gives("The dataset", datasets.Dataset), NAMED),
    "alter_dataset": Operation(
        _JOB, SENT, Body({JSON: datasets.ContractChange}, {"wider": CHANGE_EXAMPLE}), True, ("run_at",)
    ),
    "truncate_dataset": Operation(_JOB, WRITTEN, makes_job=True, refused=("run_at",)),
    "rename_dataset": Operation(_JOB, SENT, Body({JSON: NewName}, {"older": RENAME_EXAMPLE}), True, ("run_at",)),
    "fit_dataset": Operation(_JOB, SENT, Body({JSON: FitRequest}, {"some": FIT_EXAMPLE}), True, ("run_at",)),
    "recompute_dataset": Operation(
        _JOB,
        (*NAMED, 409, 413, 415, 429),
        Body({JSON: RecomputeRequest}, {"all": {}, "some": {"fields": ["odd"], "where": {"sensor": "a"}}}),
        True,
    ),
    "copy_dataset": Operation(_JOB, SENT, Body({JSON: CopyOf}, {"some": COPY_EXAMPLE}), True, ("run_at",)),
    "find_duplicates": Operation(
        _JOB, SENT, Body({JSON: DuplicatesRequest}, {"hashes": DUPLICATES_EXAMPLE}), True, ("run_at",)
    ),
    "drop_dataset": Operation(_JOB, (*WRITTEN, 428), makes_job=True, refused=("run_at",)),
    "submit_records": Operation(_JOB, SENT, _RECORDS, True),
    "validate_records": Operation(_gives("All records fit", records.Validation), SENT, _RECORDS),
    "preview_pipeline": Operation(
        _gives("The rows after each step", records.Preview),
        (*ASKING, 409),
        Body(
            {JSON: PreviewRequest}, {"sample": {"records": [{"sensor": "a", "at": "2026-01-31T12:00:00Z"}], "limit": 5}}
        ),
    ),
    "get_latest": Operation(_gives("The newest records", records.LatestRecords), READ),
    "list_records": Operation(_gives("A page of records", records.RecordPage), (*NAMED, 409)),
    "query_records": Operation(
        _gives("A page of records", records.RecordPage), ASKING, Body({JSON: records.RecordQuery}, {"hot": _QUERY})
    ),
    "get_records": Operation(
        _gives("The records that are there", records.FoundRecords),
        ASKING,
        Body({JSON: KeyQuery}, {"two": {"keys": [["a", "2026-01-31T12:00:00Z"], ["b", "2026-01-31T12:00:00Z"]]}}),
    ),
    "count_records": Operation(
        _gives("How many there are", records.Count), ASKING, Body({JSON: records.Selection}, {"hot": _COUNT})
    ),
    "distinct_values": Operation(
        _gives("The values", records.DistinctValues),
        ASKING,
        Body({JSON: records.DistinctQuery}, {"sensors": {"field": "sensor"}}),
    ),
    "aggregate_records": Operation(
        _gives("What was computed", _COMPUTED),
        (*ASKING, 406, 429),
        Body({JSON: computed.AggregateRequest}, {"hourly": EXAMPLE_AGGREGATE, "smooth": _SMOOTH}),
    ),
    "read_view": Operation(
        _gives("The rows of the view", {**_COMPUTED, JSON: computed.ViewAnswer}), (*READ, 406, 413, 429)
    ),
    "get_record": Operation(_gives("The record", records.Record), (*NAMED, 409)),
    "change_record": Operation(
        _JOB,
        SENT,
        Body({JSON: records.Record, "application/merge-patch+json": records.Record}, {"one": {"value": 2}}),
        True,
    ),
    "delete_record": Operation(_JOB, WRITTEN, makes_job=True),
    "change_records": Operation(
        _JOB,
        SENT,
        Body({JSON: records.ChangeByFilter}, {"cap": {"where": {"value": {"gt": 60}}, "changes": {"value": 60}}}),
        True,
    ),
    "delete_records": Operation(
        _JOB,
        SENT,
        Body(
            {JSON: {"anyOf": [records.DeleteByFilter, records.DeleteByKeys]}},
            {"negative": {"where": {"value": {"lt": 0}}}, "one": {"keys": [["a", "2026-01-31T12:00:00Z"]]}},
        ),
        True,
    ),
    "export_records": Operation(_gives("All matching records as a file", _DOWNLOADS), (*NAMED, 406, 409, 429)),
    "create_export": Operation(_JOB, SENT, Body({JSON: exports.NewExport}, {"some": exports.EXAMPLE}), True),
    "list_exports": Operation(_gives("A page of stored exports", exports.ExportPage), ASKED),
    "get_export": Operation(_gives("The stored export", exports.StoredExport), (*READ, 410)),
    "delete_export": Operation(_JOB, (*WRITTEN, 410), makes_job=True),
    "link_export": Operation(
        _gives("A link that needs no key", exports.Link),
        (*READ, 410, 413, 415),
        Body({JSON: exports.NewLink}, {"a day": {"expires_in": 86400}}),
    ),
    "read_export": Operation(
        {
            200: ("The file", _DOWNLOADS),
            206: ("The parts that `Range` names", {**_DOWNLOADS, "multipart/byteranges": _BINARY}),
        },
        (*READ, 410, 416, 429),
    ),
    "read_export_file": Operation(
        {
            200: ("The file", {"application/octet-stream": _BINARY}),
            206: ("The parts that `Range` names", {"application/octet-stream": _BINARY}),
        },
        (*READ, 410, 416, 429),
    ),
    "export_images": Operation(
        _JOB, (*SENT, 410), Body({JSON: exports.NewImageExport}, {"crop and resize": exports.IMAGES_EXAMPLE}), True
    ),
    "get_record_image": Operation(
        {
            200: ("The image", _IMAGES),
            206: ("The parts that `Range` names", {**_IMAGES, "multipart/byteranges": _BINARY}),
        },
        (*READ, 416, 429),
    ),
    "search": Operation(
        _gives("The records that were found", records.SearchAnswer),
        (*NAMED, 409, 413, 415),
        Body(
            {JSON: records.Search, FORM: records.ImageSearch},
            {"by text": _SEARCH, "like a record": {"like": ["a", "2026-01-31T12:00:00Z"]}},
        ),
    ),
    "get_index": Operation(_gives("The index", datasets.IndexReport), READ),
    "change_index": Operation(
        _gives("The index", datasets.IndexReport), SENT, Body({JSON: datasets.IndexChange}, {"hold": {"hold": True}})
    ),
    "rebuild_index": Operation(_JOB, WRITTEN, makes_job=True),
    "tune_index": Operation(_JOB, WRITTEN, makes_job=True),
    "list_source_kinds": Operation(_gives("The kinds", sources.SourceKindList), ASKED),
    "create_source": Operation(
        {201: ("The source", sources.Source)},
        SENT,
        Body({JSON: NewSource}, {"simulator": SOURCE_EXAMPLE}),
    ),
    "list_sources": Operation(_gives("A page of sources", sources.SourcePage), NAMED),
    "get_source": Operation(_gives("The source", sources.Source), NAMED),
    "change_source": Operation(
        _gives("The source", sources.Source),
        SENT,
        Body({JSON: SourceChange}, {"pause": PAUSE_EXAMPLE, "settings": SETTINGS_EXAMPLE}),
    ),
    "delete_source": Operation({204: ("It is deleted", None)}, NAMED),
    "create_schedule": Operation(
        {201: ("The schedule", schedules.Schedule)},
        SENT,
        Body({JSON: scheduled.NewSchedule}, {"cron": scheduled.EXAMPLE, "interval": scheduled.INTERVAL_EXAMPLE}),
    ),
    "list_schedules": Operation(_gives("A page of schedules", schedules.SchedulePage), ASKED),
    "get_schedule": Operation(_gives("The schedule", schedules.Schedule), NAMED),
    "change_schedule": Operation(
        _gives("The schedule", schedules.Schedule),
        SENT,
        Body(
            {JSON: scheduled.ScheduleChange},
            {"pause": scheduled.PAUSE_EXAMPLE, "other times": scheduled.TIMING_EXAMPLE},
        ),
    ),
    "run_schedule": Operation(_JOB, (*NAMED, 409, 429), makes_job=True),
    "delete_schedule": Operation({204: ("It is deleted", None)}, NAMED),
}
