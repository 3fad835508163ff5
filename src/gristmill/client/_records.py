"""Calls about records: submit, validate, read, change, delete, search."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gristmill.client._bodies import Records, dumps, json_body, records_body
from gristmill.client._jobs import JobCalls, Progress, Wait
from gristmill.client._paths import Key, dataset_path, record_path
from gristmill.client._transport import Json

Where = Mapping[str, Any]


class RecordCalls(JobCalls):
    """Everything below ``/datasets/{dataset}``."""

    def submit(
        self,
        dataset: str,
        records: Records,
        *,
        format: str | None = None,
        on_conflict: str | None = None,
        on_error: str | None = None,
        retry_of: str | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        run_at: datetime | str | None = None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Submit a batch and return its job.

        records: mappings (any iterable of them), the path of a file, or a binary file object. Sent in constant memory;
            what can be read only once is copied to a temporary file first, so that it can be sent again.
        format: "json", "ndjson", "csv", "parquet" or "arrow" (an IPC stream); for a path it is known by the suffix,
            mappings go as ndjson.
        on_conflict: "replace" (the default of the server) or "fail" where a record with the key exists.
        on_error: "reject" (the default of the server) or "quarantine": records that do not fit are kept aside, see
            ``rejects``, and the others go on.
        retry_of: the id of the job whose rejects these are, corrected.
        priority: 0 to 9; 9 goes first.
        labels: what ``jobs(label=...)`` finds the job by.
        run_at: the earliest time to run, with an offset.
        idempotency_key: give your own to repeat a submission safely across restarts of your program.
        Raises InvalidRequest with the record, field and reason of each error: then nothing was stored or queued.
        """
        with records_body(records, format) as body:
            return self._write(
                "POST",
                dataset_path(dataset, "records"),
                body,
                wait,
                on_progress,
                idempotency_key,
                {
                    "on_conflict": on_conflict,
                    "on_error": on_error,
                    "retry_of": retry_of,
                    "priority": priority,
                    "label": [f"{name}={value}" for name, value in (labels or {}).items()] or None,
                    "run_at": _time_text(run_at),
                },
            )

    def validate(self, dataset: str, records: Records, *, format: str | None = None) -> Json:
        """Check a batch as ``submit`` would and store nothing. Raises InvalidRequest as ``submit`` does."""
        with records_body(records, format) as body:
            answer: Json = self._transport.call("POST", dataset_path(dataset, "validate"), body=body)
        return answer

    def record(self, dataset: str, key: Key) -> Json:
        """Return one record. A key of several fields is a list in the order of the contract. Raises NotFound."""
        answer: Json = self._transport.call("GET", record_path(dataset, key))
        return answer

    def record_with_etag(self, dataset: str, key: Key) -> tuple[Json, str]:
        """Return one record and its ETag, which ``patch`` and ``delete`` take as ``if_match``. Raises NotFound."""
        answer = self._transport.answer("GET", record_path(dataset, key))
        return answer.json(), answer.headers["ETag"]

    def records(
        self,
        dataset: str,
        *,
        where: Where | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        order: str | Sequence[str] | None = None,
        page_size: int | None = None,
    ) -> Iterator[Json]:
        """Yield the matching records, page by page as they are asked for.

        start, end: the window of the time field, both included.
        order: field names, ``-field`` for descending; the key comes last in any case.
        """
        params = {
            "where": _where_text(where),
            "start": _time_text(start),
            "end": _time_text(end),
            "order": order if order is None or isinstance(order, str) else ",".join(order),
            "page_size": page_size,
        }
        return self._pages(dataset_path(dataset, "records"), params, "records")

    def latest(self, dataset: str, n: int = 10) -> list[Json]:
        """Return the ``n`` newest records: by the time field, or without one in the order of submission."""
        answer: list[Json] = self._transport.call("GET", dataset_path(dataset, "latest"), params={"n": n})["records"]
        return answer

    def search(
        self,
        dataset: str,
        *,
        text: str | None = None,
        vector: Sequence[float] | None = None,
        like: Key | None = None,
        k: int = 10,
        where: Where | None = None,
        **options: Any,
    ) -> Json:
        """Return the ``k`` records closest to a text, a vector, or the record whose key is ``like``; give one of them.

        like: a key of one field as its value, of several fields as a list.
        options: further members of the request: ``mode`` ("vector", "text" for words, "hybrid"), ``max_distance``,
            ``min_score``, ``page_size``, ``page_token``, ``exact``, ``ef``, ``include``, ``weights``, ``explain``.
        The answer has ``hits`` (closest first, each with ``key``, ``record``, ``distance`` and ``score``), ``plan``,
        ``complete`` and ``took_ms``. Raises InvalidRequest naming each member that is wrong.
        """
        body = {"text": text, "vector": vector, "like": like, "where": where, **options}
        given = {name: value for name, value in body.items() if value is not None}
        answer: Json = self._transport.call("POST", dataset_path(dataset, "search"), body=json_body({**given, "k": k}))
        return answer

    def search_many(
        self,
        dataset: str,
        queries: Sequence[Mapping[str, Any]],
        *,
        k: int = 10,
        where: Where | None = None,
        **options: Any,
    ) -> list[Json]:
        """Return the answer to each of up to 100 queries in one call.

        queries: ``{"text": …}``, ``{"vector": …}`` or ``{"like": …}`` each.
        ``k``, ``where`` and ``options`` (see ``search``) count for all of them.
        """
        body = {"where": where, **options}
        given = {name: value for name, value in body.items() if value is not None}
        sent = json_body({**given, "queries": list(queries), "k": k})
        answers: list[Json] = self._transport.call("POST", dataset_path(dataset, "search"), body=sent)["answers"]
        return answers

    def search_pages(self, dataset: str, *, page_size: int = 100, **search: Any) -> Iterator[Json]:
        """Yield the hits of ``search`` (which see) one by one, page by page as they are asked for: ``k`` in all."""
        token: str | None = None
        while True:
            answer = self.search(dataset, page_size=page_size, page_token=token, **search)
            yield from answer["hits"]
            token = answer["next_page_token"]
            if token is None:
                return

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
        """Delete one record and return the job. if_match: as of ``patch``."""
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


def _where_text(where: Where | None) -> str | None:
    return None if where is None else dumps(where).decode()


def _time_text(value: datetime | str | None) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else value
