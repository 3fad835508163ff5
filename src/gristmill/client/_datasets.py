"""Calls about datasets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gristmill.client._bodies import json_body
from gristmill.client._jobs import JobCalls, Progress, Wait
from gristmill.client._paths import API, dataset_path
from gristmill.client._transport import Json


class DatasetCalls(JobCalls):
    """List, show, create, alter, truncate, rename, copy and drop datasets."""

    def datasets(self) -> Iterator[Json]:
        """Yield all datasets in the order of their names, page by page as they are asked for."""
        return self._pages(f"{API}/datasets", {}, "datasets")

    def dataset(self, name: str) -> Json:
        """Return a dataset: contract, version, state, rows, sizes, index. Raises NotFound."""
        answer: Json = self._transport.call("GET", dataset_path(name))
        return answer

    def dataset_with_etag(self, name: str) -> tuple[Json, str]:
        """Return a dataset and its ETag, which names its contract. Raises NotFound."""
        answer = self._transport.answer("GET", dataset_path(name))
        return answer.json(), answer.headers["ETag"]

    def create_dataset(
        self,
        contract: Mapping[str, Any],
        *,
        if_not_exists: bool = False,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Create a dataset and return the job. Records may be submitted at once; they wait for it.

        if_not_exists: a dataset of the name that has this contract will do; the job's result says ``created``.
        Raises InvalidRequest naming each place of the contract that is wrong, Conflict if the name is taken.
        """
        path, query = f"{API}/datasets", {"if_not_exists": "true"} if if_not_exists else None
        return self._write("POST", path, json_body(contract), wait, on_progress, idempotency_key, query)

    def alter_dataset(
        self,
        name: str,
        change: Mapping[str, Any],
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> Json:
        """Change a contract and return the job. ``change`` has ``add_fields``, ``alter_fields``, ``title`` and more.

        if_match: the ETag that the dataset must still have, see ``dataset_with_etag``. Raises PreconditionFailed.
        """
        path, body = dataset_path(name), json_body(change)
        return self._write("PATCH", path, body, wait, on_progress, idempotency_key, if_match=if_match)

    def drop_dataset(
        self,
        name: str,
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> Json:
        """Drop a dataset with all its records and return the job. The name is free at once.

        if_match: as of ``alter_dataset``.
        """
        path, query = dataset_path(name), {"confirm": name}
        return self._write("DELETE", path, None, wait, on_progress, idempotency_key, query, if_match)

    def truncate_dataset(
        self,
        name: str,
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Delete all records of a dataset that were submitted before, at once, and return the job.

        Their children go along or keep them, as with ``delete``.
        """
        return self._write("POST", dataset_path(name, "truncate"), None, wait, on_progress, idempotency_key)

    def fit_dataset(
        self,
        name: str,
        *,
        where: Mapping[str, Any] | None = None,
        steps: Sequence[int] | None = None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Fit the steps that need statistics to the records that are there, and return the job.

        where: which records; without it all. steps: numbers of steps; without it all that are fitted. The job makes a
        new version of the contract; its ``result`` has ``version`` and ``fitted``, the statistics by step.
        """
        body = json_body({"where": where or {}, **({} if steps is None else {"steps": list(steps)})})
        return self._write("POST", dataset_path(name, "fit"), body, wait, on_progress, idempotency_key)

    def recompute_dataset(
        self,
        name: str,
        *,
        where: Mapping[str, Any] | None = None,
        fields: Sequence[str] | None = None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Make computed fields anew of what is stored, as after a change of the pipeline, and return the job.

        where: which records; without it all. fields: names of computed fields; without it all that steps fill.
        Raises Conflict (``input_not_stored``) where a field is made of something that is not stored.
        """
        body = json_body({"where": where or {}, **({} if fields is None else {"fields": list(fields)})})
        return self._write("POST", dataset_path(name, "recompute"), body, wait, on_progress, idempotency_key)

    def rename_dataset(
        self,
        name: str,
        new_name: str,
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Rename a dataset and its table and return the job; it has its old name until the job is done.

        Raises Conflict if the new name is taken, or while the dataset is being changed.
        """
        path, body = dataset_path(name, "rename"), json_body({"name": new_name})
        return self._write("POST", path, body, wait, on_progress, idempotency_key)

    def copy_dataset(
        self,
        name: str,
        new_name: str,
        *,
        where: Mapping[str, Any] | None = None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Copy a dataset, or the records that a filter finds, to a new one and return the job."""
        given = {"name": new_name} if where is None else {"name": new_name, "where": where}
        path = dataset_path(name, "copy")
        return self._write("POST", path, json_body(given), wait, on_progress, idempotency_key)

    def find_duplicates(
        self,
        name: str,
        threshold: float,
        into: str,
        *,
        where: Mapping[str, Any] | None = None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Find records whose vectors are at most ``threshold`` apart, as the new dataset ``into``; return the job.

        threshold: a distance in the metric of the dataset.
        """
        given = {"threshold": threshold, "into": into, **({} if where is None else {"where": where})}
        path = dataset_path(name, "images", "duplicates")
        return self._write("POST", path, json_body(given), wait, on_progress, idempotency_key)

    def index(self, name: str) -> Json:
        """Return the plan report of a dataset's vector index. Raises NotFound, InvalidRequest without an embedding."""
        answer: Json = self._transport.call("GET", dataset_path(name, "index"))
        return answer

    def hold_index(self, name: str, hold: bool = True) -> Json:
        """Hold a dataset's index builds back, or let them go on; return the plan report."""
        body = json_body({"hold": hold})
        answer: Json = self._transport.call("PATCH", dataset_path(name, "index"), body=body)
        return answer

    def rebuild_index(
        self,
        name: str,
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Build a dataset's indexes anew, while searches go on with the old ones, and return the job."""
        return self._write("POST", dataset_path(name, "index", "rebuild"), None, wait, on_progress, idempotency_key)

    def tune_index(
        self,
        name: str,
        *,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Have learnt what searches find by their effort, and return the job; ``index`` shows what was learnt."""
        return self._write("POST", dataset_path(name, "index", "tune"), None, wait, on_progress, idempotency_key)
