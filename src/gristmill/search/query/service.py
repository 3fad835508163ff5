"""Search: checks the request, finds the vectors, has the ranking made, shows the hits."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from pydantic_core import from_json, to_json
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import UNDEFINED_TABLE, Database
from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.applied import AppliedDataset, AppliedDatasets
from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.embedders import require_same
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.keys import show_key
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.parents.above import attach_above, names_parents
from gristmill.datasets.version_checks import NOT_APPLIED, is_applied
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.kit.caches import SharedCache
from gristmill.records.errors import UnknownRecord
from gristmill.records.read.pages import key_is
from gristmill.search.query import pages
from gristmill.search.query.form import read_form
from gristmill.search.query.hits import show_hits
from gristmill.search.query.images import QueryImages, vector_text
from gristmill.search.query.kept import KeptQueries
from gristmill.search.query.queries import Query
from gristmill.search.query.rank import EXACT_SECONDS, Found, Ranker, Sought
from gristmill.search.query.schemas import SearchRequest, check_search, read_body
from gristmill.search.query.statements import Layout, condition_of
from gristmill.search.query.text import query_of, typed

MAX_LAYOUTS = 1000
# A statement made for a contract that has just been changed (or for a table that was just dropped) fails: undefined
# column or table, or the check that is sent with it.
_OUTDATED = (NOT_APPLIED, UNDEFINED_TABLE, "42703")
# 54000, 54001: a limit of Postgres is exceeded, such as the depth of its stack by a word of many hyphens.
_TOO_COMPLEX = ("54000", "54001")
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search as the contract reads it, its texts embedded. last: where the page before ended."""

    request: SearchRequest
    identity: str
    last: pages.Last | None
    vectors: list[str | None]


class SearchService:
    """Searches by text, by vector, by image, by likeness to a stored record, by words, and by both."""

    def __init__(
        self,
        database: Database,
        datasets: DatasetLookup,
        embedders: EmbedderRegistry,
        *,
        exact_seconds: float = EXACT_SECONDS,
    ) -> None:
        self._database = database
        self._datasets = AppliedDatasets(datasets)
        self._embedders = embedders
        self._images = QueryImages(embedders)
        self._ranker = Ranker(exact_seconds)
        self._kept = KeptQueries()
        self._layouts: SharedCache[tuple[uuid.UUID, int], Layout] = SharedCache(MAX_LAYOUTS)

    def answer(self, name: str, raw: bytes, form: str = "") -> bytes:
        """Return what ``search`` does as JSON text."""
        return to_json(self.search(name, raw, form))

    def search(self, name: str, raw: bytes, form: str = "") -> dict[str, Any]:
        """Return the answer to the search in ``raw``: hits, best first, at most k.

        raw: a JSON body, or a form, whose Content-Type is then ``form``.

        plan: ``exact`` compared every record; ``segments`` walked the graphs of the sealed segments and compared the
        rest; ``segments, then exact`` found fewer than k that way and compared every record after all; ``filter, then
        exact`` read what the filter keeps and compared all of that; ``text`` ranked all that match the words. For mode
        hybrid `` + text`` is added.
        complete: there are k hits, or fewer because no more records match, which an exact pass has proven; with a
        limit of the distance or score: all that are within it are there. Else False, with ``incomplete_because``.
        Raises UnknownDataset, UnknownRecord for ``like``, Malformed, Invalid, NotSearchable.
        """
        started = time.perf_counter()
        answer = self._answer(name, read_form(raw, form) if form else read_body(raw))
        answer["took_ms"] = round((time.perf_counter() - started) * 1000, 3)
        return answer

    def _answer(self, name: str, body: Any) -> dict[str, Any]:
        """Try with the cached dataset; the statement itself checks that the cache is still current."""
        for _ in range(_ATTEMPTS):
            remembered = self._datasets.remembered(name)
            try:
                applied = self._find(name) if remembered is None else AppliedDataset(remembered, True)
                # No connection is held here: texts may be embedded for long, and by a service.
                asked = self._ask(applied.dataset, body)
                with self._database.autocommit() as connection:
                    return self._run(connection, applied, asked)
            except Invalid:
                # The request may only be invalid under the cached contract, which may be outdated.
                if remembered is None or self._is_applied(remembered):
                    raise
            except DBAPIError as error:
                code = getattr(error.orig, "pgcode", None)
                if code in _TOO_COMPLEX:
                    raise _too_complex() from error
                if code not in _OUTDATED:
                    raise
            self._datasets.forget(name)
        raise UnknownDataset(f"There is no dataset {shorten(name)}")

    def _find(self, name: str) -> AppliedDataset:
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as applied:
            return applied

    def _is_applied(self, dataset: Dataset) -> bool:
        with self._database.autocommit() as connection:
            return is_applied(connection, dataset)

    def _ask(self, dataset: Dataset, body: Any) -> _Asked:
        request = check_search(body, self._with_above(dataset.contract, body))
        identity = pages.identity(dataset.id, body) if request.page_size is not None else ""
        last = None if request.page_token is None else pages.decode(request.page_token, identity)
        return _Asked(request, identity, last, self._vectors(dataset, request))

    def _with_above(self, contract: Contract, body: Any) -> Contract:
        where = body.get("where") if isinstance(body, dict) else None
        if not names_parents(where, contract):
            return contract
        with self._database.autocommit() as connection:
            return attach_above(connection, contract, where)

    def _run(self, connection: Connection, applied: AppliedDataset, asked: _Asked) -> dict[str, Any]:
        dataset, request = applied.dataset, asked.request
        where = condition_of(request.where)
        layout = self._layout(dataset)
        vectors = [
            vector if query.like is None or request.mode == "text" else _stored_vector(connection, applied, query)
            for query, vector in zip(request.queries, asked.vectors, strict=True)
        ]
        answers = []
        for query, vector in zip(request.queries, vectors, strict=True):
            found = Found([], 0, 0, "exact")
            if applied.has_table:
                condition = condition_of(request.where, self._other_than(dataset, query)) if query.like else where
                sought = Sought(vector, query.text, condition, asked.last)
                found = self._ranker.rank(connection, dataset, layout, request, where, sought)
                if request.mode == "text" and not found.rows and asked.last is None:
                    self._require_words(connection, layout, query)
            answer = self._show(layout, request, found, asked.identity)
            if request.query_vector:
                answer["query_vector"] = None if vector is None else _shown_vector(vector)
            answers.append(answer)
        sent = [vector for query, vector in zip(request.queries, vectors, strict=True) if vector and not query.like]
        self._kept.offer(connection, dataset, sent)
        if request.several:
            return {"answers": answers}
        return answers[0]

    def _show(self, layout: Layout, request: SearchRequest, found: Found, identity: str) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "hits": show_hits(layout, request, found.rows),
            "k": request.k,
            "plan": found.plan,
            "complete": found.incomplete_because is None,
        }
        if found.incomplete_because is not None:
            answer["incomplete_because"] = found.incomplete_because
        if request.mode != "text":
            answer |= _recall_of(found)
        if request.page_size is not None:
            token = None
            if found.more:
                written = "" if found.effort is None else found.effort.written
                id_, place = found.rows[-1][layout.width(request.embedding) :][:2]
                token = pages.encode(pages.Last(float(place), int(id_), written), identity)
            answer["next_page_token"] = token
        if request.explain:
            answer["explain"] = found.details
        return answer

    def _layout(self, dataset: Dataset) -> Layout:
        known = self._layouts.get((dataset.id, dataset.version))
        if known is None:
            known = self._layouts.put((dataset.id, dataset.version), Layout(dataset.contract))
        return known

    def _vectors(self, dataset: Dataset, request: SearchRequest) -> list[str | None]:
        """Return the vector of each query as pgvector text, None for those that are stored or not needed.

        All texts are embedded in one batch.
        """
        if request.mode == "text":
            return [None] * len(request.queries)
        texts = [(index, query.text) for index, query in enumerate(request.queries) if _embeds(query)]
        embedded = dict(zip([index for index, _ in texts], self._embed(dataset, request, texts), strict=True))
        embedded |= self._images.embed(dataset, request.queries)
        return [
            embedded.get(index) if query.vector is None else vector_text(query.vector)
            for index, query in enumerate(request.queries)
        ]

    def _embed(self, dataset: Dataset, request: SearchRequest, texts: list[tuple[int, str | None]]) -> list[str]:
        if not texts:
            return []
        assert dataset.contract.embedding is not None
        assert dataset.contract.embedding.embedder is not None
        embedder = self._embedders.get(dataset.contract.embedding.embedder)
        require_same(dataset, embedder.name, embedder.version)
        vectors = embedder.embed([text or "" for _, text in texts])
        violations = []
        for empty in np.flatnonzero(np.isnan(vectors).any(axis=1)):
            query = request.queries[texts[empty][0]]
            reason = f"There is nothing in the text {shorten(query.text)} that the embedder knows"
            violations.append(Violation(f"{query.pointer}/text", "nothing_to_embed", reason, field="text"))
        if violations:
            raise Invalid(violations[0].reason, violations)
        return [vector_text(vector) for vector in vectors.tolist()]

    @staticmethod
    def _other_than(dataset: Dataset, query: Query) -> sa.ColumnElement[bool] | None:
        if query.like is None:
            return None
        return sa.not_(key_is(record_table(dataset.contract), dataset.contract, query.like))

    @staticmethod
    def _require_words(connection: Connection, layout: Layout, query: Query) -> None:
        """Raise Invalid if nothing was found because there is nothing to look for."""
        sql = f"SELECT numnode({query_of(layout.contract)})"
        if connection.exec_driver_sql(sql, {"text": typed(query.text or "")}).scalar() == 0:
            reason = f"There is no word in the text {shorten(query.text)} to search by"
            raise Invalid(reason, [Violation(f"{query.pointer}/text", "nothing_to_search", reason, field="text")])


def _recall_of(found: Found) -> dict[str, Any]:
    """Return what an answer says of its recall: the effort, what to expect of it, and how that is known."""
    effort = found.effort
    if effort is None:
        return {"ef": None, "expected_recall": 1.0, "recall_known_from": "exact"}
    said = {"ef": effort.ef, "expected_recall": round(effort.expected, 4), "recall_known_from": effort.source}
    return said if found.below_target is None else {**said, "below_target_because": found.below_target}


def _too_complex() -> Invalid:
    reason = "The text nests more deeply than Postgres can search for: leave out hyphens and quotes, or part of it"
    return Invalid(reason, [Violation("/text", "too_complex", reason, field="text")])


def _embeds(query: Query) -> bool:
    return query.text is not None and query.vector is None and query.image is None and query.like is None


def _shown_vector(text: str) -> Any:
    """Return a vector of pgvector's text as JSON has it: numbers, or a string of bits."""
    return from_json(text) if text.startswith("[") else text


def _stored_vector(connection: Connection, applied: AppliedDataset, query: Query) -> str:
    assert query.like is not None
    contract = applied.dataset.contract
    table = record_table(contract)
    statement = sa.select(sa.cast(table.c[EMBEDDING_COLUMN], sa.Text)).where(key_is(table, contract, query.like))
    row = connection.execute(statement).first() if applied.has_table else None
    shown = shorten(show_key(contract, query.like))
    if row is None:
        reason = f"The dataset {contract.name} has no record with the key {shown}"
        violation = Violation(f"{query.pointer}/like", UnknownRecord.code, reason, field="like")
        raise UnknownRecord(reason, errors=[violation.as_json()], errors_total=1)
    if row[0] is None:
        reason = f"The record {shown} has no vector: there was nothing to embed in it"
        raise Invalid(reason, [Violation(f"{query.pointer}/like", "no_vector", reason, field="like")])
    return str(row[0])
