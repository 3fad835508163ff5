"""Views: pipelines of a dataset, run when they are read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gristmill.client._bodies import CONTENT_TYPES, format_of
from gristmill.client._frames import import_arrow
from gristmill.client._jobs import JobCalls
from gristmill.client._parameters import time_text, where_text
from gristmill.client._paths import view_path
from gristmill.client._tables import Frame, read_table
from gristmill.client._transport import Json

_SUFFIXES = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".arrows": "arrow"}
# The server sends nothing until the rows have passed the steps.
_SILENCE = 120.0


class ViewCalls(JobCalls):
    """Read views."""

    def view(
        self,
        dataset: str,
        view: str,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        where: Mapping[str, Any] | None = None,
        batch: str | None = None,
    ) -> Json:
        """Return ``{"view", "batch", "columns": [{"name", "type"}, …], "rows": [{…}, …]}``.

        Without a window and a filter it is made of the newest batch, and ``batch`` says which: ``{"job", "finished_at",
        "rows", "superseded"}``. start, end: the window of the time field, both included. batch: the id of the job whose
        batch is taken in place of the newest, so that several views are of one batch.
        Raises NotFound for a view that is none, TooLarge where there are more rows than a view may be made of.
        """
        params = _params(start, end, where, batch)
        answer: Json = self._transport.call("GET", view_path(dataset, view), params=params, hold=_SILENCE)
        return answer

    def view_frame(self, dataset: str, view: str, **request: Any) -> Frame:
        """Return a view as a frame, whose ``to_pandas()``, ``to_polars()`` and ``to_arrow()`` have its columns.

        It comes in Arrow, so no type is lost on the way; ``gristmill[frames]`` is needed. request: as of ``view``.
        """
        import_arrow()
        return Frame(read_table([self.view_bytes(dataset, view, "arrow", **request)]))

    def view_bytes(
        self,
        dataset: str,
        view: str,
        format: str,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        where: Mapping[str, Any] | None = None,
        batch: str | None = None,
    ) -> bytes:
        """Return the answer in a format: "json", "ndjson", "csv" or "arrow" (an IPC stream). Otherwise as ``view``."""
        headers = {"Accept": CONTENT_TYPES[format_of("", format, _SUFFIXES)]}
        params = _params(start, end, where, batch)
        answer = self._transport.answer("GET", view_path(dataset, view), params=params, headers=headers, hold=_SILENCE)
        return answer.content


def _params(
    start: datetime | str | None, end: datetime | str | None, where: Mapping[str, Any] | None, batch: str | None
) -> dict[str, Any]:
    return {"start": time_text(start), "end": time_text(end), "where": where_text(where), "batch": batch}
