"""Calls that read records: by key, pages, counts, search."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from gristmill.client._bodies import image_search_body, json_body
from gristmill.client._jobs import JobCalls
from gristmill.client._parameters import Where, given, time_text
from gristmill.client._paths import Key, dataset_path, record_path
from gristmill.client._rows import Rows, read_records
from gristmill.client._transport import Json

_KEYS_PER_CALL = 1000


class ReadCalls(JobCalls):
    """What answers at once, below ``/datasets/{dataset}``."""

    def record(
        self,
        dataset: str,
        key: Key,
        *,
        include: Sequence[str] | None = None,
        expand: Sequence[str] | None = None,
        depth: int | None = None,
    ) -> Json:
        """Return one record. A key of several fields is a list in the order of the contract. Raises NotFound.

        include: ``["embedding"]`` for its vector, too.
        expand: ``["children"]`` nests the records below it as ``_children``, ``["parent"]`` those above as
            ``_parents``, ``depth`` levels of them (1 to 5, the default of the server is 1). Raises TooLarge.
        """
        params = {"include": list(include or ()) or None, "expand": list(expand or ()) or None, "depth": depth}
        answer: Json = self._transport.call("GET", record_path(dataset, key), params=params)
        return answer

    def record_with_etag(self, dataset: str, key: Key) -> tuple[Json, str]:
        """Return one record and its ETag, which ``patch`` and ``delete`` take as ``if_match``. Raises NotFound."""
        answer = self._transport.answer("GET", record_path(dataset, key))
        return answer.json(), answer.headers["ETag"]

    def image(self, dataset: str, key: Key, field: str | None = None, size: int | None = None) -> bytes:
        """Return the image of a record: its file as it is, or a thumbnail.

        field: may be left out where the dataset has one image field.
        size: 16 to 2048: a JPEG, or a PNG or WebP where something is transparent, that fits into so many pixels in both
            directions, upright and never enlarged.
        Raises NotFound for no record, a null and a missing file, InvalidRequest for a broken one.
        """
        path = record_path(dataset, key) + "/image"
        return self._transport.answer("GET", path, params={"field": field, "size": size}).content

    def get_many(
        self,
        dataset: str,
        keys: Iterable[Key],
        *,
        fields: Sequence[str] | None = None,
        include: Sequence[str] | None = None,
        zone: str | None = None,
        expand: Sequence[str] | None = None,
        depth: int | None = None,
    ) -> list[Json]:
        """Return the records with these keys, in their order; keys that no record has are left out.

        However many keys: they are asked for a thousand at a time. fields: names of what to return, None for all.
        zone: as of ``records``. expand, depth: as of ``record``.
        """
        found: list[Json] = []
        rest = iter(keys)
        while part := list(islice(rest, _KEYS_PER_CALL)):
            body = given(keys=part, fields=fields, include=include, zone=zone, expand=expand, depth=depth)
            found += self._transport.call("POST", dataset_path(dataset, "records", "get"), body=json_body(body))[
                "records"
            ]
        return found

    def records(
        self,
        dataset: str,
        *,
        where: Where | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        order: str | Sequence[str] | None = None,
        page_size: int | None = None,
        fields: Sequence[str] | None = None,
        include: Sequence[str] | None = None,
        zone: str | None = None,
        expand: Sequence[str] | None = None,
        depth: int | None = None,
    ) -> Rows:
        """Yield the matching records, page by page as they are asked for; ``to_pandas()`` and the like fetch a frame.

        start, end: the window of the time field, both included.
        order: field names, ``-field`` for descending; the key comes last in any case.
        fields: names of what to return, None for all. include: ``["embedding"]`` for the vectors, too.
        zone: the time zone of timestamps, "contract" for that of each field; UTC without it.
        expand, depth: as of ``record``.
        """
        names = order.split(",") if isinstance(order, str) else order
        window = {"start": time_text(start), "end": time_text(end)}
        shown: dict[str, Any] = {"order": names, "fields": fields, "include": include, "zone": zone, "expand": expand}
        body = given(where=where, page_size=page_size, depth=depth, **shown, **window)
        pages = self._body_pages(dataset_path(dataset, "records", "query"), body, "records")
        return Rows(pages, lambda: read_records(self._transport, dataset, where=where, **shown, **window))

    def count(
        self,
        dataset: str,
        *,
        where: Where | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
    ) -> int:
        """Return how many records match."""
        body = given(where=where, start=time_text(start), end=time_text(end))
        path = dataset_path(dataset, "records", "count")
        return int(self._transport.call("POST", path, body=json_body(body))["count"])

    def distinct(
        self,
        dataset: str,
        field: str,
        *,
        where: Where | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        order: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Json]:
        """Yield ``{"value", "count"}`` for each value of a field, or of a member of a json field ("meta.kind").

        order: "count" (most frequent first, the default of the server) or "value".
        """
        window = {"start": time_text(start), "end": time_text(end)}
        body = given(field=field, where=where, order=order, page_size=page_size, **window)
        return self._body_pages(dataset_path(dataset, "records", "distinct"), body, "values")

    def latest(
        self, dataset: str, n: int = 10, *, expand: Sequence[str] | None = None, depth: int | None = None
    ) -> list[Json]:
        """Return the ``n`` newest records: by the time field, or without one in the order of submission.

        expand, depth: as of ``record``.
        """
        params = {"n": n, "expand": list(expand or ()) or None, "depth": depth}
        answer: list[Json] = self._transport.call("GET", dataset_path(dataset, "latest"), params=params)["records"]
        return answer

    def search(
        self,
        dataset: str,
        *,
        text: str | None = None,
        vector: Sequence[float] | str | None = None,
        image: bytes | str | os.PathLike[str] | None = None,
        like: Key | None = None,
        k: int = 10,
        where: Where | None = None,
        **options: Any,
    ) -> Json:
        """Return the ``k`` records closest to a text, a vector, an image, or the record whose key is ``like``.

        Give one of them. vector: numbers, or a string of bits. image: the bytes of a file, or its path.
        like: a key of one field as its value, of several fields as a list.
        options: further members of the request: ``mode`` ("vector", "text" for words, "hybrid"), ``max_distance``,
            ``min_score``, ``page_size``, ``page_token``, ``exact``, ``recall_target`` (0.9 to 0.999: the effort is
            chosen for it), ``ef`` (the effort by hand), ``include``, ``weights``, ``explain``.
        The answer has ``hits`` (closest first, each with ``key``, ``record``, ``distance`` and ``score``), ``plan``,
        ``complete``, ``expected_recall`` and ``took_ms``. Raises InvalidRequest naming each member that is wrong.
        """
        body = {"text": text, "vector": vector, "like": like, "where": where, **options}
        given = {**{name: value for name, value in body.items() if value is not None}, "k": k}
        sent = json_body(given) if image is None else image_search_body(given, image)
        answer: Json = self._transport.call("POST", dataset_path(dataset, "search"), body=sent)
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

        queries: ``{"text": …}``, ``{"vector": …}``, ``{"image": …}`` (bytes) or ``{"like": …}`` each.
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

    def _body_pages(self, path: str, body: dict[str, Any], member: str) -> Iterator[Json]:
        """Yield what the pages of a list have, whose query is a body."""
        token: str | None = None
        while True:
            answer = self._transport.call("POST", path, body=json_body(given(**body, page_token=token)))
            yield from answer[member]
            token = answer["next_page_token"]
            if token is None:
                return
