"""Calls that write records: submit, validate, change, delete. Each but ``validate`` returns a job."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from gristmill.client._bodies import Records, csv_parameters, json_body, records_body
from gristmill.client._frames import ArrowStream, first_rows, is_frame
from gristmill.client._jobs import Progress, Wait
from gristmill.client._parameters import Where, given, time_text
from gristmill.client._paths import API, Key, dataset_path, record_path
from gristmill.client._reads import ReadCalls
from gristmill.client._transport import Json


class RecordCalls(ReadCalls):
    """Everything below ``/datasets/{dataset}``."""

    def submit(
        self,
        dataset: str,
        records: Records,
        *,
        format: str | None = None,
        sheet: str | None = None,
        on_conflict: str | None = None,
        mode: str | None = None,
        on_error: str | None = None,
        retry_of: str | None = None,
        delimiter: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        encoding: str | None = None,
        null: str | None = None,
        quote: str | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        run_at: datetime | str | None = None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Submit a batch and return its job.

        records: mappings (any iterable of them), a frame (pandas, Polars, pyarrow, DuckDB; ``gristmill[frames]`` is
            needed), the path of a file, or a binary file object. Sent in constant memory; mappings, frames, and what
            can be read only once, are written to a temporary file first, so that they can be sent again.
        format: "json", "ndjson", "csv", "parquet", "arrow" (an IPC stream) or "zip" (metadata and images); for a path
            it is known by the suffix, mappings go as ndjson, frames as arrow. A workbook of Excel ("xlsx") goes as CSV
            (``gristmill[excel]`` is needed).
        sheet: of a workbook; None where one sheet alone has values.
        on_conflict: where a record with the key exists: "replace" (the default of the server), "fail" or "skip".
        mode: "replace" (the default of the server) or "merge": only the fields that a record gives are changed.
        on_error: "reject" (the default of the server) or "quarantine": records that do not fit are kept aside, see
            ``rejects``, and the others go on.
        retry_of: the id of the job whose rejects these are, corrected.
        delimiter, decimal, thousands, encoding, null, quote: what CSV is written in, where that is not "," and ".",
            no sign between thousands, "utf-8", nothing and '"'. A .tsv has tabs unless ``delimiter`` says otherwise.
        priority: 0 to 9; 9 goes first.
        labels: what ``jobs(label=...)`` finds the job by.
        run_at: the earliest time to run, with an offset.
        idempotency_key: give your own to repeat a submission safely across restarts of your program.
        Raises InvalidRequest with the record, field and reason of each error: then nothing was stored or queued; and
        InvalidArgument for a frame or workbook that would lose something, such as an index without a name.
        """
        csv = csv_parameters(records, format, delimiter, decimal, thousands, encoding, null, quote)
        with records_body(records, format, as_it_is="delimiter" in csv, sheet=sheet) as body:
            return self._write(
                "POST",
                dataset_path(dataset, "records"),
                body,
                wait,
                on_progress,
                idempotency_key,
                {
                    "on_conflict": on_conflict,
                    "mode": mode,
                    "on_error": on_error,
                    "retry_of": retry_of,
                    "priority": priority,
                    "label": [f"{name}={value}" for name, value in (labels or {}).items()] or None,
                    "run_at": time_text(run_at),
                    **csv,
                },
            )

    def validate(
        self,
        dataset: str,
        records: Records,
        *,
        format: str | None = None,
        sheet: str | None = None,
        pipeline: bool = False,
        delimiter: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        encoding: str | None = None,
        null: str | None = None,
        quote: str | None = None,
    ) -> Json:
        """Check a batch as ``submit`` would and store nothing. Raises InvalidRequest as ``submit`` does.

        pipeline: the records pass the steps of the contract too, so that what a worker would refuse is refused now;
            ``rows`` of the answer is how many rows would be written.
        """
        csv = csv_parameters(records, format, delimiter, decimal, thousands, encoding, null, quote)
        params = {**csv, **({"pipeline": "true"} if pipeline else {})}
        with records_body(records, format, as_it_is="delimiter" in csv, sheet=sheet) as body:
            answer: Json = self._transport.call("POST", dataset_path(dataset, "validate"), params=params, body=body)
        return answer

    def transforms(self) -> list[Json]:
        """Return the steps that pipelines may have, each with the JSON Schema of its ``parameters`` and examples."""
        answer: list[Json] = self._transport.call("GET", f"{API}/transforms")["transforms"]
        return answer

    def functions(self) -> list[Json]:
        """Return the functions that expressions of pipelines call, with their parameters and examples."""
        answer: list[Json] = self._transport.call("GET", f"{API}/functions")["functions"]
        return answer

    def preview_pipeline(
        self,
        dataset: str,
        records: Sequence[Mapping[str, Any]] | ArrowStream | None = None,
        *,
        data: str | None = None,
        format: str = "csv",
        delimiter: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        null: str | None = None,
        quote: str | None = None,
        contract: Mapping[str, Any] | None = None,
        limit: int = 20,
    ) -> Json:
        """Return what the pipeline of a dataset makes of a sample, step by step; nothing is stored.

        records: the sample, mappings or a frame; or ``data``, its text in the ``format`` csv or ndjson. Without both,
        the newest records that are stored.
        delimiter, decimal, thousands, null, quote: what ``data`` is written in if it is CSV, as of ``submit``.
        contract: members that are tried in place of those of the contract; a whole one for a dataset that is not there.
        limit: how many records of the sample are taken, at most 100.
        The answer has ``input``, ``steps`` and ``output``, each with ``columns`` and ``rows``; ``rejects`` with the
        errors of records that do not fit, and ``dropped``, the places of those that a filter took away. Raises
        InvalidRequest for a contract that is not valid.
        """
        rows: Any = first_rows(records, limit) if is_frame(records) else records
        dialect = given(delimiter=delimiter, decimal=decimal, thousands=thousands, null=null, quote=quote)
        sample = given(records=None if rows is None else list(rows), data=data, contract=contract)
        body = json_body({**sample, **dialect, "limit": limit, **({} if data is None else {"format": format})})
        answer: Json = self._transport.call("POST", dataset_path(dataset, "pipeline/preview"), body=body)
        return answer

    def patch(
        self,
        dataset: str,
        key: Key,
        changes: Mapping[str, Any],
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> Json:
        """Change fields of one record and return the job, whose ``result`` has the new ``etag`` once it is done.

        Fields of the key among them give it another key, unless a record has that (Conflict): its children follow,
        which ``result["moved"]`` counts by their datasets, or keep it as it is.

        if_match: the ETag that the record must still have, see ``record_with_etag``: so that no change of somebody
            else is overwritten. Raises PreconditionFailed where it has another one, at once or, when waited for, by
            the job.
        """
        path, body = record_path(dataset, key), json_body(changes)
        return self._write("PATCH", path, body, wait, on_progress, idempotency_key, if_match=if_match)

    def delete(
        self,
        dataset: str,
        key: Key,
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> Json:
        """Delete one record and return the job. if_match: as of ``patch``.

        Its children go along, which ``result["cascaded"]`` counts by their datasets, or keep it (Conflict), as the
        contracts of their datasets say. So it is with all deletions.
        """
        path = record_path(dataset, key)
        return self._write("DELETE", path, None, wait, on_progress, idempotency_key, if_match=if_match)

    def delete_where(
        self,
        dataset: str,
        where: Where,
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Delete every record that matches when the job runs, and return the job."""
        path = dataset_path(dataset, "records", "delete")
        return self._write("POST", path, json_body({"where": where}), wait, on_progress, idempotency_key)

    def delete_many(
        self,
        dataset: str,
        keys: Iterable[Key],
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Delete up to 100,000 records by their keys, and return the job, whose ``result`` says how many were there."""
        path = dataset_path(dataset, "records", "delete")
        return self._write("POST", path, json_body({"keys": list(keys)}), wait, on_progress, idempotency_key)

    def patch_where(
        self,
        dataset: str,
        where: Where,
        changes: Mapping[str, Any],
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Change every record that matches when the job runs, each in the same way, and return the job."""
        body = json_body({"where": where, "changes": changes})
        return self._write("PATCH", dataset_path(dataset, "records"), body, wait, on_progress, idempotency_key)
