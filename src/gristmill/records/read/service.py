"""Reads of one dataset's records: finds the dataset, opens the connection, answers in JSON."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from gristmill.core.database import Database
from gristmill.core.page_tokens import read_page_token
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import check_keys, parse_key
from gristmill.datasets.lookup import DatasetLookup
from gristmill.datasets.parents.above import attach_above
from gristmill.kit.entity_tags import Tag
from gristmill.kit.pagination import encode_page_token
from gristmill.records.bodies import read_body
from gristmill.records.errors import UnknownRecord
from gristmill.records.read.distinct import check_last, values_of
from gristmill.records.read.pages import (
    MAX_PAGE,
    PageQuery,
    conditions_of,
    read_count,
    read_latest,
    read_one,
    read_page,
)
from gristmill.records.read.repository import read_distinct, read_many
from gristmill.records.read.schemas import DistinctQuery, KeyQuery, RecordQuery, Selection
from gristmill.records.read.shape import RecordShape, check_fields, check_zone


class RecordReads:
    """Synchronous reads. Every method raises UnknownDataset for a name that no dataset has."""

    def __init__(self, database: Database, datasets: DatasetLookup) -> None:
        self._database = database
        self._datasets = AppliedDatasets(datasets)

    def get(self, name: str, key: str, embedding: bool = False, zone: str | None = None) -> tuple[dict[str, Any], Tag]:
        """Return the record with the key ``key``, as it stands in a URL, and its ETag.

        Raises UnknownRecord, NoKey, Invalid.
        """
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract = found.dataset.contract
            values = parse_key(contract, key)
            one = read_one(connection, contract, values, embedding, zone) if found.has_table else None
            version = found.dataset.version
        if one is None:
            raise UnknownRecord(f"The dataset {name} has no record with the key {shorten(key)}")
        record, written = one
        return record, written.tag(version)

    def latest(self, name: str, count: int, embedding: bool = False, zone: str | None = None) -> dict[str, Any]:
        """Return ``{"records": [...]}``, newest first."""
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract = found.dataset.contract
            return {"records": read_latest(connection, contract, count, embedding, zone) if found.has_table else []}

    def page(self, name: str, query: PageQuery) -> dict[str, Any]:
        """Return ``{"records": [...], "next_page_token": ...}``; the token is null on the last page."""
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract = attach_above(connection, found.dataset.contract, query.where)
            identity = query.identity(found.dataset.id)
            return read_page(connection, contract, query, identity, has_table=found.has_table).as_json()

    # What has a body: each returns JSON text, and raises Malformed and Invalid for the body.

    def query(self, name: str, raw: bytes) -> bytes:
        """Return the page that ``raw``, a RecordQuery, asks for."""
        body = read_body(RecordQuery, raw)
        order = None if body.order is None else ",".join(body.order)
        return to_json(
            self.page(name, _page_query(body, order=order, total=body.total, fields=body.fields, zone=body.zone))
        )

    def get_many(self, name: str, raw: bytes) -> bytes:
        """Return ``{"records": [...], "missing": [...]}``: the records in the order of the keys of a KeyQuery."""
        body = read_body(KeyQuery, raw)
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract = found.dataset.contract
            fields = check_fields(body.fields, contract, "/fields")
            keys = check_keys(contract, body.keys, MAX_PAGE)
            shape = RecordShape(contract, bool(body.include), fields, check_zone(body.zone, "/zone"))
            if found.has_table:
                records, missing = read_many(connection, contract, keys, shape)
            else:
                records, missing = [], body.keys
        return to_json({"records": records, "missing": missing})

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


def _page_query(body: Selection, **further: Any) -> PageQuery:
    paging: Mapping[str, Any] = {}
    if isinstance(body, RecordQuery):
        paging = {"page_size": body.page_size, "page_token": body.page_token, "embedding": bool(body.include)}
    return PageQuery(start=body.start, end=body.end, where=body.where, at="", **paging, **further)
