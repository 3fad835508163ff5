"""Reads of one dataset's records: finds the dataset, opens the connection, answers in JSON."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection

from gristmill.core.database import Database, read_one_moment
from gristmill.core.page_tokens import read_page_token
from gristmill.datasets.applied import AppliedDataset, AppliedDatasets
from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import check_keys, parse_key
from gristmill.datasets.lookup import DatasetLookup
from gristmill.datasets.parents.above import attach_above
from gristmill.kit.entity_tags import Tag
from gristmill.kit.pagination import encode_page_token
from gristmill.records.bodies import read_body
from gristmill.records.errors import UnknownRecord
from gristmill.records.read.answer import Answer, Texts
from gristmill.records.read.distinct import check_last, values_of
from gristmill.records.read.nested.build import Nesting, needed
from gristmill.records.read.nested.request import NOTHING, Expand, read_expand
from gristmill.records.read.pages import (
    MAX_PAGE,
    Page,
    PageQuery,
    conditions_of,
    read_count,
    read_latest,
    read_one,
    read_page,
    read_value,
)
from gristmill.records.read.repository import read_distinct, read_many
from gristmill.records.read.schemas import DistinctQuery, KeyQuery, RecordQuery, Selection
from gristmill.records.read.shape import RecordShape, check_fields, check_zone


class RecordReads:
    """Synchronous reads. Every method raises UnknownDataset for a name that no dataset has.

    max_expanded, max_expanded_bytes: how many records are nested into one answer, and of how many bytes.
    """

    def __init__(
        self,
        database: Database,
        datasets: DatasetLookup,
        max_expanded: int = 100_000,
        max_expanded_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._database = database
        self._most, self._most_bytes = max_expanded, max_expanded_bytes
        self._datasets = AppliedDatasets(datasets)

    # expand: what is nested into the records. All of an answer is of one moment; these raise ExpandedTooLarge too.

    def get(
        self, name: str, key: str, embedding: bool = False, zone: str | None = None, expand: Expand = NOTHING
    ) -> tuple[bytes, Tag]:
        """Return the record with the key ``key``, as it stands in a URL, as JSON text, and its ETag.

        Raises UnknownRecord, NoKey, Invalid.
        """
        with self._reading(name, expand) as (connection, found):
            contract = found.dataset.contract
            values, also = parse_key(contract, key), needed(contract, expand)
            one = read_one(connection, contract, values, embedding, zone, also) if found.has_table else None
            if one is None:
                raise _unknown(name, key)
            record, written, row = one
            texts = self._nest(connection, contract, expand, Page([record], None, rows=[row]), embedding, zone)
            version = found.dataset.version
        answer = texts.encode(record)
        return answer, written.tag(version, answer if expand else None)

    def value(self, name: str, key: str, choose: Callable[[Contract], str]) -> tuple[str, Any]:
        """Return the name of the field that ``choose`` picks, and its value in the record with the key ``key``.

        The value is as Postgres gives it. Raises UnknownRecord, NoKey, Invalid.
        """
        with self._reading(name, NOTHING) as (connection, found):
            contract = found.dataset.contract
            field, values = choose(contract), parse_key(contract, key)
            row = read_value(connection, contract, values, field) if found.has_table else None
        if row is None:
            raise _unknown(name, key)
        return field, row[0]

    def latest(
        self, name: str, count: int, embedding: bool = False, zone: str | None = None, expand: Expand = NOTHING
    ) -> Answer:
        """Return ``{"records": [...]}``, newest first."""
        with self._reading(name, expand) as (connection, found):
            page, contract = Page([], None), found.dataset.contract
            if found.has_table:
                page = read_latest(connection, contract, count, embedding, zone, needed(contract, expand))
            texts = self._nest(connection, contract, expand, page, embedding, zone)
        return Answer({"records": page.records}, texts)

    def page(self, name: str, query: PageQuery, expand: Expand = NOTHING) -> Answer:
        """Return ``{"records": [...], "next_page_token": ...}``; the token is null on the last page."""
        with self._reading(name, expand) as (connection, found):
            contract = attach_above(connection, found.dataset.contract, query.where)
            query = replace(query, also=needed(contract, expand))
            page = read_page(connection, contract, query, query.identity(found.dataset.id), found.has_table)
            texts = self._nest(connection, contract, expand, page, query.embedding, query.zone)
        return Answer(page.as_json(), texts)

    @contextlib.contextmanager
    def _reading(self, name: str, expand: Expand) -> Iterator[tuple[Connection, AppliedDataset]]:
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            if not expand:
                yield connection, found
        # A change that has failed is settled above, which a read-only transaction cannot.
        if expand:
            with self._database.transaction() as connection:
                read_one_moment(connection)
                with self._datasets.reading(connection, name) as found:
                    yield connection, found

    def _nest(
        self, connection: Connection, contract: Contract, expand: Expand, page: Page, embedding: bool, zone: str | None
    ) -> Texts:
        """Nest what is asked for; return what of it is text."""
        nesting = Nesting(connection, expand, self._most, self._most_bytes, embedding, zone)
        nesting.nest(contract, page.records, page.rows)
        return nesting.texts

    # What has a body: each returns JSON text, and raises Malformed and Invalid for the body.

    def query(self, name: str, raw: bytes) -> bytes:
        """Return the page that ``raw``, a RecordQuery, asks for."""
        body = read_body(RecordQuery, raw)
        order = None if body.order is None else ",".join(body.order)
        query = _page_query(body, order=order, total=body.total, fields=body.fields, zone=body.zone)
        return self.page(name, query, read_expand(body.expand, body.depth, "")).to_json()

    def get_many(self, name: str, raw: bytes) -> bytes:
        """Return ``{"records": [...], "missing": [...]}``: the records in the order of the keys of a KeyQuery."""
        body = read_body(KeyQuery, raw)
        expand = read_expand(body.expand, body.depth, "")
        with self._reading(name, expand) as (connection, found):
            contract = found.dataset.contract
            fields = check_fields(body.fields, contract, "/fields")
            keys = check_keys(contract, body.keys, MAX_PAGE)
            zone, also = check_zone(body.zone, "/zone"), needed(contract, expand)
            shape = RecordShape(contract, bool(body.include), fields, zone, also)
            page, missing = Page([], None), body.keys
            if found.has_table:
                records, missing, rows = read_many(connection, contract, keys, shape)
                page = Page(records, None, rows=rows)
            texts = self._nest(connection, contract, expand, page, bool(body.include), zone)
        return texts.encode({"records": page.records, "missing": missing})

    def count(self, name: str, raw: bytes) -> bytes:
        """Return ``{"count": ...}`` of the records that a Selection finds."""
        query = _page_query(read_body(Selection, raw))
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract = attach_above(connection, found.dataset.contract, query.where)
            count = read_count(connection, contract, query, found.has_table)
        return to_json({"count": count})

    def distinct(self, name: str, raw: bytes) -> bytes:
        """Return ``{"values": [{"value", "count"}, ...], "next_page_token": ...}`` for a DistinctQuery."""
        body = read_body(DistinctQuery, raw)
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            table = record_table(found.dataset.contract)
            values = values_of(found.dataset.contract, table, body.field)
            contract = attach_above(connection, found.dataset.contract, body.where)
            conditions = conditions_of(contract, _page_query(body), table)
            identity = f"{found.dataset.id} {body.model_dump_json(exclude={'page_size', 'page_token'})}"
            last = None
            if body.page_token is not None:
                last = check_last(values, read_page_token(body.page_token, identity, pointer="/page_token"))
            rows = []
            if found.has_table:
                size = body.page_size + 1
                rows = read_distinct(connection, values, table, conditions, body.order, size, last)
        shown = [{"value": values.shown(row[0]), "count": row[1]} for row in rows[: body.page_size]]
        token = None
        if len(rows) > body.page_size:
            token = encode_page_token([shown[-1]["value"], shown[-1]["count"]], identity)
        return to_json({"values": shown, "next_page_token": token})


def _unknown(name: str, key: str) -> UnknownRecord:
    return UnknownRecord(f"The dataset {name} has no record with the key {shorten(key)}")


def _page_query(body: Selection, **further: Any) -> PageQuery:
    paging: Mapping[str, Any] = {}
    if isinstance(body, RecordQuery):
        paging = {"page_size": body.page_size, "page_token": body.page_token, "embedding": bool(body.include)}
    return PageQuery(start=body.start, end=body.end, where=body.where, at="", **paging, **further)
