"""Carries out one ranking: chooses between filter and graphs, and proves or denies that the answer is complete."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.prepared import Prepared, fetch
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.version_checks import STILL_APPLIED
from gristmill.search.query.catalogue import Catalogue, Graphs
from gristmill.search.query.effort import Effort, repeated
from gristmill.search.query.hybrid import DEPTH
from gristmill.search.query.pages import Last
from gristmill.search.query.planned import PLANNED_ONCE, is_planned_once, planned
from gristmill.search.query.schemas import SearchRequest
from gristmill.search.query.selectivity import Estimates
from gristmill.search.query.settings import GRAPHS, QUICK, THOROUGH, Settings, set_all
from gristmill.search.query.statements import NOTHING, Condition, Layout, Shape
from gristmill.search.query.text import RANKED_AT_MOST, typed
from gristmill.search.query.vector import MAX_EF, Ranges, candidates, taken
from gristmill.search.repository.catalogue import Range

# How long the exact pass over a large dataset may take before an answer is given as incomplete.
EXACT_SECONDS = 10.0
# How long reading what a filter keeps may take, where the planner expected it to be quick, before graphs are tried.
FILTER_SECONDS = 1.0
# How long all records that match a text may take to rank, before only some of them are.
TEXT_SECONDS = 5.0
# Of the matching records that a walk is expected to visit, the part that is asked for: asked for all, half of the walks
# would make another round for the last few.
TAKEN_PART = 0.75


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

    more: there is another page. effort: of the walks; None where every record was compared, or words were ranked.
    below_target: why the recall to expect is not the target. details: what ``explain`` shows.
    """

    rows: list[Any]
    held: int
    within: int
    plan: str
    incomplete_because: str | None = None
    more: bool = False
    effort: Effort | None = None
    below_target: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Ranker:
    """Ranks the records of datasets."""

    def __init__(self, exact_seconds: float = EXACT_SECONDS) -> None:
        self._catalogue = Catalogue()
        self._estimates = Estimates()
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
        # A page is cut from the ranking of the first one: what compared every record then does so again.
        compared = request.exact or (sought.last is not None and not sought.last.visits)
        known = None if compared else self._catalogue.ready(connection, dataset.id)
        if known is None or not known.graphs:
            return self._named(ranking, ranking.run(QUICK), "exact")
        details: dict[str, Any] = {"segments": len(known.graphs)}
        share = 1.0
        estimate = None
        if where.sql:
            estimate = self._estimates.ask(connection, dataset.id, layout.table, where)
            share = estimate.share
            details |= {"filter_keeps_about": estimate.rows, "records_about": estimate.total}
        effort = self._effort(known, dataset, ranking, ranking.depth / share, filtered=bool(where.sql))
        details |= {"ef": effort.ef, "visits": effort.largest}
        if estimate is not None and sought.last is None and estimate.filter_first(effort):
            found = ranking.run_within(QUICK, FILTER_SECONDS)
            if found is not None:
                return self._named(ranking, found, "filter, then exact", details)
        below = None
        if not effort.reached:
            if known.is_compared(effort, layout.vector_bytes):
                return self._named(ranking, ranking.run(QUICK), "exact", details)
            below = f"The largest effort, ef {MAX_EF}, is expected to find {effort.expected:.4f} of the nearest"
        found = replace(ranking.walk(effort, share), effort=effort, below_target=below)
        if found.held >= ranking.depth:
            return self._named(ranking, found, "segments", details)
        exact = ranking.run_within(THOROUGH, self._exact_seconds)
        if exact is not None:
            return self._named(ranking, exact, "segments, then exact", details)
        # What the graphs gave is still true, but nothing says that it is all.
        reason = f"Comparing every record did not end within {self._exact_seconds:g} seconds: there may be more hits"
        return self._named(ranking, replace(found, incomplete_because=reason), "segments", details)

    @staticmethod
    def _effort(known: Graphs, dataset: Dataset, ranking: "_Ranking", k: float, filtered: bool) -> Effort:
        """k: of how many nearest records as many as are ranked match the filter, as expected."""
        request = ranking.request
        if request.ef is not None:
            ef = max(request.ef, min(ranking.depth, MAX_EF))
            return known.by_hand(ef, k, filtered=filtered)
        assert dataset.contract.embedding is not None
        target = request.recall_target or dataset.contract.embedding.recall_target
        if ranking.last is not None:
            again = repeated(known.graphs, ranking.last.visits, target, k, filtered=filtered)
            if again is not None:
                return again
        return known.effort(target, k, filtered=filtered)

    def _by_words(self, ranking: "_Ranking") -> Found:
        found = ranking.run_within(QUICK, TEXT_SECONDS)
        if found is None:
            reason = f"So many records match that only {RANKED_AT_MOST} of them were ranked: narrow the search down"
            found = replace(ranking.run(QUICK, all_ranked=False), incomplete_because=reason)
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
        self.last = sought.last
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
            # One more than fits the page tells whether there is another.
            "size": self._size + 1,
            "most": request.most,
            "after_place": None if sought.last is None else sought.last.place,
            "after_id": None if sought.last is None else sought.last.id,
            "vector_weight": request.weights[0],
            "text_weight": request.weights[1],
        }

    def walk(self, effort: Effort, share: float) -> Found:
        """Walk the graphs. share: the part of the records that the filter keeps.

        Of the records that a walk visits, this part is taken: a walk that meets fewer of them goes on.
        """
        wanted = [self._wanted(*walk, share) for walk in zip(effort.ranges, effort.visits, strict=True)]
        return self.run({**GRAPHS, "hnsw.ef_search": effort.ef}, effort.ranges, wanted=wanted)

    def _wanted(self, range_: Range, visits: int, share: float) -> int:
        """Return how many rows to take from the graph of a range whose walk visits so many records."""
        at_hand = math.ceil(visits * share * TAKEN_PART) if share < 1 else min(visits, MAX_EF)
        wanted = taken(range_, self.depth, at_hand)
        if share < 1:
            return max(wanted, at_hand)
        return max(wanted, visits) if visits > MAX_EF else wanted

    def run(
        self, settings: Settings, ranges: Ranges = (), *, wanted: Sequence[int] = (), all_ranked: bool = True
    ) -> Found:
        """Run the statement over ``ranges`` (segments whose graphs are walked; all else is compared).

        wanted: how many records to take from each of these, at least as many as are ranked.
        """
        request = self.request
        shape = Shape(
            mode=request.mode,
            ranges=ranges,
            where=self._where,
            limited=request.most is not None,
            after=self.last is not None,
            embedding=request.embedding,
            all_ranked=all_ranked,
        )
        parameters = {**self._parameters, **candidates(ranges, wanted, self.depth)}
        statement: str | Prepared = self._layout.statement(shape)
        if is_planned_once(shape):
            settings = {**settings, **PLANNED_ONCE}
            statement = planned(str(statement), parameters, settings)
        rows = fetch(self._connection, parameters, STILL_APPLIED, set_all(settings), statement)
        held, within = rows[0][-2], rows[0][-1]
        hits = [row for row in rows if row[self._layout.width(request.embedding)] is not None]
        return Found(hits[: self._size], held, within, "", more=len(hits) > self._size)

    def run_within(self, settings: Settings, seconds: float) -> Found | None:
        """Compare every record, for so many seconds at most; None if that was not enough."""
        try:
            return self.run({**settings, "statement_timeout": int(seconds * 1000)})
        except DBAPIError as error:
            # 57014: query_canceled.
            if getattr(error.orig, "pgcode", None) != "57014":
                raise
            return None
