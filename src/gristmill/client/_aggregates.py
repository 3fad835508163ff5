"""Aggregates: buckets, groups, measures, windows over the records."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from gristmill.client._bodies import CONTENT_TYPES, Body, format_of, json_body
from gristmill.client._exports import finished_file
from gristmill.client._frames import import_arrow
from gristmill.client._jobs import JobCalls
from gristmill.client._parameters import given, time_text
from gristmill.client._paths import dataset_path
from gristmill.client._tables import Frame, read_table
from gristmill.client._transport import Json
from gristmill.client.errors import InvalidArgument

AGGREGATE_SUFFIXES = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".arrows": "arrow"}
# The server sends nothing until the answer is computed.
_SILENCE = 120.0

Objects = Sequence[Mapping[str, Any]]


class AggregateCalls(JobCalls):
    """Compute over a dataset."""

    def aggregate(
        self,
        dataset: str,
        *,
        every: str | None = None,
        zone: str | None = None,
        origin: datetime | str | None = None,
        offset: str | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        where: Mapping[str, Any] | None = None,
        by: Sequence[str] | None = None,
        measures: Objects | None = None,
        fields: Sequence[str] | None = None,
        fill: str | Mapping[str, Any] | None = None,
        order: str | Sequence[str] | None = None,
        limit: int | None = None,
        rolling: Objects | None = None,
        pivot: Mapping[str, Any] | None = None,
        melt: Mapping[str, Any] | None = None,
    ) -> Json:
        """Return ``{"columns": [{"name", "type"}, …], "rows": [{…}, …]}``.

        every: the length of buckets: "15m", "1h", "1d", "1mo", "PT5S". zone: whose calendar they follow.
        start, end: the window of the time field, both included.
        by: fields whose values make groups. measures: ``{"agg": "mean", "field": "value", "as": "m"}`` each.
        fields: in place of measures: the records themselves, for ``rolling``, ``pivot`` and ``melt``.
        fill: "none", "null", "previous", "linear" or ``{"value": …}`` for empty buckets.
        order: names of columns, ``-name`` for descending.
        rolling: ``{"column": "m", "window": "5s", "agg": "mean"}`` each. Raises InvalidRequest naming each mistake.
        """
        body = _body(
            every=every, zone=zone, origin=origin, offset=offset, start=start, end=end, where=where, by=by,
            measures=measures, fields=fields, fill=fill, order=order, limit=limit, rolling=rolling, pivot=pivot,
            melt=melt,
        )  # fmt: skip
        answer: Json = self._transport.call("POST", dataset_path(dataset, "aggregate"), body=body, hold=_SILENCE)
        return answer

    def aggregate_rows(self, dataset: str, **request: Any) -> Iterator[Json]:
        """Yield the rows of an aggregate as they arrive, however many. request: as of ``aggregate``."""
        rest = b""
        for piece in self.aggregate_pieces(dataset, "ndjson", **request):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)

    def aggregate_frame(self, dataset: str, **request: Any) -> Frame:
        """Return an aggregate as a frame, whose ``to_pandas()``, ``to_polars()`` and ``to_arrow()`` have its columns.

        It comes in Arrow, so no type is lost on the way; ``gristmill[frames]`` is needed. request: as of ``aggregate``.
        """
        import_arrow()
        return Frame(read_table(self.aggregate_pieces(dataset, "arrow", **request)))

    def aggregate_pieces(self, dataset: str, format: str, **request: Any) -> Iterator[bytes]:
        """Yield the bytes of an answer as they arrive. request: as of ``aggregate``.

        format: "json", "ndjson", "csv" or "arrow" (an IPC stream).
        """
        chosen = format_of("", format, AGGREGATE_SUFFIXES)
        path, headers = dataset_path(dataset, "aggregate"), {"Accept": CONTENT_TYPES[chosen]}
        return self._transport.stream(path, {}, _SILENCE, method="POST", body=_body(**request), headers=headers)

    def aggregate_file(
        self, dataset: str, file: str | os.PathLike[str] | IO[bytes], *, format: str | None = None, **request: Any
    ) -> int:
        """Write an answer to ``file`` in constant memory and return its size in bytes. request: as of ``aggregate``.

        file: a path, which is there when the answer is complete and not before; or a binary file object.
        format: as of ``aggregate_pieces``; for a path it is known by the suffix (.json, .ndjson, .csv, .arrows).
        """
        if isinstance(file, (str, os.PathLike)):
            chosen = format_of(file, format, AGGREGATE_SUFFIXES)
            with finished_file(Path(file)) as target:
                return self.aggregate_file(dataset, target, format=chosen, **request)
        if format is None:
            raise InvalidArgument(
                f"a file object needs a format: one of {', '.join(dict.fromkeys(AGGREGATE_SUFFIXES.values()))}"
            )
        size = 0
        for piece in self.aggregate_pieces(dataset, format, **request):
            file.write(piece)
            size += len(piece)
        return size


def _body(
    *,
    origin: datetime | str | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    order: str | Sequence[str] | None = None,
    **members: Any,
) -> Body:
    names = order.split(",") if isinstance(order, str) else order
    times = {"origin": time_text(origin), "start": time_text(start), "end": time_text(end)}
    return json_body(given(order=names, **times, **members))
