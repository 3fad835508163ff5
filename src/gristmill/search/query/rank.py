"""Carries out one ranking: chooses between filter and graphs, and proves or denies that the answer is complete."""

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.prepared import Prepared, fetch
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.version_checks import STILL_APPLIED
from gristmill.search.query.catalogue import Catalogue
from gristmill.search.query.hybrid import DEPTH
from gristmill.search.query.pages import Last
from gristmill.search.query.planned import PLANNED_ONCE, is_planned_once, planned
from gristmill.search.query.schemas import SearchRequest
from gristmill.search.query.selectivity import Estimates
from gristmill.search.query.settings import GRAPHS, QUICK, THOROUGH, Settings, set_all
from gristmill.search.query.statements import NOTHING, Condition, Layout, Shape
from gristmill.search.query.text import RANKED_AT_MOST, typed
from gristmill.search.query.vector import Ranges, candidates, ef_search

# How long the exact pass over a large dataset may take before an answer is given as incomplete.
EXACT_SECONDS = 10.0
# How long reading what a filter keeps may take, where the planner expected it to be quick, before graphs are tried.
FILTER_SECONDS = 1.0
# How long all records that match a text may take to rank, before only some of them are.
TEXT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sought:
    """One query, ready to run. vector: pgvector's text of it. last: the last hit of the page before.

    condition: what every hit fulfils: the filter, and not being the record that the others shall be like.
    """

    vector: str | None
    text: str | None
    condition: Condition = NOTHING
    last: Last | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of the statement (see ``Layout``), and how they were found: as ``SearchService.search`` describes them.

    more: there is another page. ef, graphs, keeps, of: what ``explain`` shows.
    """

    rows: list[Any]
    held: int
    within: int
    plan: str
    incomplete_because: str | None = None
    more: bool = False
    details: dict[str, Any] = field(default_factory=dict)


class Ranker:
    """Ranks the records of datasets. ef: the default effort of a walk through one graph."""

    def __init__(self, ef: int, exact_seconds: float = EXACT_SECONDS) -> None:
        self._catalogue = Catalogue()
        self._estimates = Estimates()
        self._ef = ef
        self._exact_seconds = exact_seconds

    def rank(
        self,
        connection: Connection,
        dataset: Dataset,
        layout: Layout,
        request: SearchRequest,
        where: Condition,
        sought: Sought,
    ) -> Found:
        """Return what was found. ``connection`` is in autocommit mode.

        Raises DBAPIError with the code ``NOT_APPLIED`` if the contract is not the dataset's any more.
        """
        ranking = _Ranking(connection, dataset, layout, request, sought)
        if request.mode == "text":
            return self._by_words(ranking)
        ranges = () if request.exact else self._catalogue.ready(connection, dataset.id)
        if not ranges:
            return self._named(ranking, ranking.run(QUICK, ()), "exact")
        ef = ef_search(self._ef, ranking.depth, len(ranges))
        if request.ef is not None:
            ef = max(request.ef, min(ranking.depth, 1000))
        details: dict[str, Any] = {"segments": len(ranges), "ef": ef}
        if where.sql:
            estimate = self._estimates.ask(connection, dataset.id, layout.table, where)
            details |= {"filter_keeps_about": estimate.rows, "records_about": estimate.total}
            if estimate.filter_first(ranking.depth, ef, len(ranges)):
                found = ranking.run_within(QUICK, (), FILTER_SECONDS)
                if found is not None:
                    return self._named(ranking, found, "filter, then exact", details)
        found = ranking.run({**GRAPHS, "hnsw.ef_search": ef}, ranges)
        if found.held >= ranking.depth:
            return self._named(ranking, found, "segments", details)
        exact = ranking.run_within(THOROUGH, (), self._exact_seconds)
        if exact is not None:
            return self._named(ranking, exact, "segments, then exact", details)
        # What the graphs gave is still true, but nothing says that it is all.
        reason = f"Comparing every record did not end within {self._exact_seconds:g} seconds: there may be more hits"
        return self._named(ranking, replace(found, incomplete_because=reason), "segments", details)

    def _by_words(self, ranking: "_Ranking") -> Found:
        found = ranking.run_within(QUICK, (), TEXT_SECONDS)
        if found is None:
            reason = f"So many records match that only {RANKED_AT_MOST} of them were ranked: narrow the search down"
            found = replace(ranking.run(QUICK, (), all_ranked=False), incomplete_because=reason)
        return self._named(ranking, found, "text")

    def _named(self, ranking: "_Ranking", found: Found, plan: str, details: dict[str, Any] | None = None) -> Found:
        request = ranking.request
        reason = found.incomplete_because
        if reason is None and request.most is not None and found.within > request.k:
            reason = f"More than k = {request.k} records are within the limit: these are the nearest of them"
        plan = f"{plan} + text" if request.mode == "hybrid" else plan
        return replace(found, plan=plan, incomplete_because=reason, details=details or {})


class _Ranking:
    """One query in one dataset, to be run in one or several ways."""

    def __init__(
        self,
        connection: Connection,
        dataset: Dataset,
        layout: Layout,
        request: SearchRequest,
        sought: Sought,
    ) -> None:
        self.request = request
        self._connection = connection
        self._layout = layout
        self._last = sought.last
        # One more than asked for tells whether k was all that is within the limit.
        limit = request.k + (request.most is not None)
        self.depth = max(DEPTH, limit) if request.mode == "hybrid" else limit
        self._size = request.page_size or request.k
        self._where = sought.condition.sql
        self._parameters = {
            **sought.condition.parameters,
            "dataset_id": str(dataset.id),
            "dataset_version": dataset.version,
            "query": sought.vector,
            "text": None if sought.text is None else typed(sought.text),
            "k": request.k,
            "limit": limit,
            "depth": self.depth,
            "candidates": candidates(self.depth),
            # One more than fits the page tells whether there is another.
            "size": self._size + 1,
            "most": request.most,
            "after_place": None if sought.last is None else sought.last.place,
            "after_id": None if sought.last is None else sought.last.id,
            "vector_weight": request.weights[0],
            "text_weight": request.weights[1],
        }

    def run(self, settings: Settings, ranges: Ranges, *, all_ranked: bool = True) -> Found:
        """Run the statement over ``ranges`` (segments whose graphs are walked; all else is compared)."""
        request = self.request
        shape = Shape(
            mode=request.mode,
            ranges=ranges,
            where=self._where,
            limited=request.most is not None,
            after=self._last is not None,
            embedding=request.embedding,
            all_ranked=all_ranked,
        )
        statement: str | Prepared = self._layout.statement(shape)
        if is_planned_once(shape):
            settings = {**settings, **PLANNED_ONCE}
            statement = planned(str(statement), self._parameters, settings)
        rows = fetch(self._connection, self._parameters, STILL_APPLIED, set_all(settings), statement)
        held, within = rows[0][-2], rows[0][-1]
        hits = [row for row in rows if row[self._layout.width(request.embedding)] is not None]
        return Found(hits[: self._size], held, within, "", more=len(hits) > self._size)

    def run_within(self, settings: Settings, ranges: Ranges, seconds: float) -> Found | None:
        """Run as ``run`` does, for so many seconds at most; None if that was not enough."""
        try:
            return self.run({**settings, "statement_timeout": int(seconds * 1000)}, ranges)
        except DBAPIError as error:
            # 57014: query_canceled.
            if getattr(error.orig, "pgcode", None) != "57014":
                raise
            return None
