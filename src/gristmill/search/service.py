"""Similarity search: checks the request, finds the vector, runs the statement, proves or denies completeness."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Place
from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.embedders import require_same
from gristmill.datasets.model import EMBEDDING_COLUMN
from gristmill.datasets.reader import Dataset, DatasetReader
from gristmill.embeddings.port import Embedder
from gristmill.records.keys import show_key
from gristmill.records.read import RecordShape, UnknownRecord, key_is
from gristmill.records.readable import Readable, Readables, dropped_is_unknown
from gristmill.search.catalogue import Catalogue
from gristmill.search.schemas import SearchRequest, check_search, read_body
from gristmill.search.settings import execute_with
from gristmill.search.vector import Ranges, ef_search, nearest, score_of

# How long the exact pass over a large dataset may take before an answer is given as incomplete.
EXACT_SECONDS = 10.0
# A filter or dead rows may use a graph's first candidates up: it then goes on looking. Compiling to machine code and
# starting parallel workers take longer than the whole search.
GRAPH_SETTINGS: dict[str, str | int] = {
    "hnsw.iterative_scan": "relaxed_order",
    "jit": "off",
    "max_parallel_workers_per_gather": 0,
}


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of the statement, and how they were found: plan and complete as ``SearchService.search`` describes them."""

    rows: list[Any]
    plan: str
    complete: bool


class SearchService:
    """Searches by text, by vector, or by likeness to a stored record."""

    def __init__(
        self,
        database: Database,
        datasets: DatasetReader,
        embedder: Callable[[str], Embedder],
        *,
        ef: int = 100,
        exact_seconds: float = EXACT_SECONDS,
    ) -> None:
        self._database = database
        self._datasets = Readables(datasets)
        self._embedder = embedder
        self._catalogue = Catalogue()
        self._ef = ef
        self._exact_seconds = exact_seconds

    def search(self, name: str, raw: bytes) -> dict[str, Any]:
        """Return the hits of the search in ``raw`` (a JSON body), nearest first, at most k.

        plan: ``exact`` compared every record; ``segments`` walked the graphs of the sealed segments and compared the
        rest; ``segments, then exact`` found fewer than k that way and compared every record after all.
        complete: there are k hits, or fewer because no more records match, which an exact pass has proven. False with
        the reason in ``incomplete_because`` when that pass did not end in time.
        Raises UnknownDataset, UnknownRecord for ``like``, Malformed, Invalid.
        """
        started = time.perf_counter()
        body = read_body(raw)
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as readable:
            dataset = readable.dataset
            request = check_search(body, dataset.contract)
            # The record that the others shall be like is its own nearest: one more is fetched to leave it out.
            wanted = request.k + (request.like is not None)
            vector = self._vector(connection, readable, request)
            found = Found([], "exact", True)
            if readable.has_table:
                found = self._find(connection, dataset, request, vector, wanted)
        if found.plan == "segments" and len(found.rows) < wanted:
            with dropped_is_unknown(name):
                found = self._find_exactly(dataset.contract, request, vector, wanted, found)
        return {
            "hits": self._hits(dataset.contract, request, found.rows),
            "k": request.k,
            "plan": found.plan,
            "complete": found.complete,
            **({} if found.complete else {"incomplete_because": self._reason()}),
            "took_ms": round((time.perf_counter() - started) * 1000, 3),
        }

    def _find(
        self, connection: Connection, dataset: Dataset, request: SearchRequest, vector: str, wanted: int
    ) -> Found:
        ranges = self._catalogue.ready(connection, dataset.id)
        ef = ef_search(self._ef, wanted, len(ranges)) if request.ef is None else max(request.ef, min(wanted, 1000))
        rows = execute_with(
            connection,
            {**GRAPH_SETTINGS, "hnsw.ef_search": ef},
            _statement(dataset.contract, ranges, request),
            {"query": vector, "k": wanted},
        )
        return Found(list(rows), "segments" if ranges else "exact", True)

    def _find_exactly(
        self, contract: Contract, request: SearchRequest, vector: str, wanted: int, found: Found
    ) -> Found:
        with self._database.autocommit() as connection:
            try:
                rows = execute_with(
                    connection,
                    {"jit": "off", "statement_timeout": int(self._exact_seconds * 1000)},
                    _statement(contract, (), request),
                    {"query": vector, "k": wanted},
                )
            except DBAPIError as error:
                # 57014, query_canceled: what the graphs gave is still true, but nothing says that it is all.
                if getattr(error.orig, "pgcode", None) != "57014":
                    raise
                return Found(found.rows, found.plan, False)
            return Found(list(rows), "segments, then exact", True)

    def _vector(self, connection: Connection, readable: Readable, request: SearchRequest) -> str:
        """Return the vector to search by, as pgvector's text."""
        contract = readable.dataset.contract
        assert contract.embedding is not None
        if request.like is not None:
            return _stored_vector(connection, readable, request.like)
        if request.vector is not None:
            return str(request.vector)
        assert request.text is not None
        assert contract.embedding.embedder is not None
        embedder = self._embedder(contract.embedding.embedder)
        require_same(readable.dataset, embedder.name, embedder.version)
        vector = embedder.embed([request.text])[0]
        if np.isnan(vector).any():
            reason = f"There is nothing in the text {shorten(request.text)} that the embedder knows"
            raise Invalid(reason, [Place("/text", "nothing_to_embed", reason, field="text")])
        return str(vector.tolist())

    def _hits(self, contract: Contract, request: SearchRequest, rows: list[Any]) -> list[dict[str, Any]]:
        assert contract.embedding is not None
        shape = RecordShape(contract, request.embedding)
        places = [shape.names.index(name) for name in contract.key]
        hits: list[dict[str, Any]] = []
        for row in rows:
            key = tuple(row[place] for place in places)
            if request.like is not None and key == request.like:
                continue
            distance = float(row[-1])
            hit = {
                "key": show_key(contract, key),
                "record": shape.to_json(row),
                "distance": distance,
                "score": score_of(contract.embedding.metric, distance),
            }
            if not contract.key:
                del hit["key"]
            hits.append(hit)
        return hits[: request.k]

    def _reason(self) -> str:
        return f"Comparing every record did not end within {self._exact_seconds:g} seconds: there may be more hits"


def _statement(contract: Contract, ranges: Ranges, request: SearchRequest) -> sa.Select[Any]:
    if request.where is None:
        return _unfiltered(contract, ranges, request.embedding)
    return nearest(contract, ranges, request.where, request.embedding)


@lru_cache(maxsize=1024)
def _unfiltered(contract: Contract, ranges: Ranges, embedding: bool) -> sa.Select[Any]:
    # Building the statement takes longer than everything else that Python does for a search.
    return nearest(contract, ranges, None, embedding)


def _stored_vector(connection: Connection, readable: Readable, key: tuple[Any, ...]) -> str:
    contract = readable.dataset.contract
    table = RecordShape(contract).table
    statement = sa.select(sa.cast(table.c[EMBEDDING_COLUMN], sa.Text)).where(key_is(table, contract, key))
    row = connection.execute(statement).first() if readable.has_table else None
    shown = shorten(show_key(contract, key))
    if row is None:
        raise UnknownRecord(f"The dataset {contract.name} has no record with the key {shown}")
    if row[0] is None:
        reason = f"The record {shown} has no vector: there was nothing to embed in it"
        raise Invalid(reason, [Place("/like", "no_vector", reason, field="like")])
    return str(row[0])
