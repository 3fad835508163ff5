"""Checks a request against the contract, all of it before any statement, and names every mistake with its place."""

from collections.abc import Iterator, Sequence
from typing import Any

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import parse_where
from gristmill.kit.buckets import Buckets
from gristmill.records.aggregate.fill_values import read_fill
from gristmill.records.aggregate.measures import Measured, find_field, read_measure
from gristmill.records.aggregate.plan import END, START, Plan
from gristmill.records.aggregate.reshaping import check_melt, check_pivot
from gristmill.records.aggregate.rolling_checks import read_rolling
from gristmill.records.aggregate.schemas import AggregateRequest
from gristmill.records.aggregate.time_checks import read_buckets, read_window, read_zone


def read_plan(request: AggregateRequest, contract: Contract) -> Plan:
    """Return what ``request`` asks for. Raises Invalid with a Violation for every mistake."""
    found: list[Violation] = []
    _check_where(request.where, contract, found)
    time = None if contract.time_field is None else contract.field(contract.time_field)
    _check_kind(request, found)
    zone = read_zone(request, time, found)
    buckets = read_buckets(request, contract, zone, found)
    start, end = read_window(request, contract, zone, found)
    by = _by(request.by, contract, found)
    measures = _measures(request, contract, found)
    fields = None if request.fields is None else _fields(request.fields, contract, found)
    edges = [] if buckets is None or time is None else [_edge(START, time), _edge(END, time)]
    columns = [*edges, *by, *(one.result for one in measures)] if fields is None else fields
    _check_names(columns, request, len(edges) + len(by), found)
    fill, values = read_fill(request, measures, buckets is not None, found)
    order = list(_order(request.order or (), columns, found))
    known = [*columns]
    rolling = []
    for index, one in enumerate(request.rolling):
        step = read_rolling(one, known, fields is not None, edges, time, f"/rolling/{index}")
        if isinstance(step, list):
            found.extend(step)
        else:
            rolling.append(step)
            known.append(step.result)
    if request.pivot is not None:
        found.extend(check_pivot(request.pivot, known, unique_names(contract, buckets, by, fields)))
    elif request.melt is not None:
        found.extend(check_melt(request.melt, known))
    if found:
        raise Invalid(f"The aggregate is not valid: {found[0].pointer}: {found[0].reason}", found)
    return Plan(
        contract=contract,
        time=time,
        buckets=buckets,
        zone=zone,
        start=start,
        end=end,
        where=request.where,
        by=by,
        measures=measures,
        fields=fields,
        fill=fill,
        values=values,
        order=order,
        limit=request.limit,
        rolling=rolling,
        pivot=request.pivot,
        melt=request.melt,
        columns=known,
    )


def unique_names(
    contract: Contract, buckets: Buckets | None, by: Sequence[FieldSpec], fields: Sequence[FieldSpec] | None
) -> set[str] | None:
    """Return columns that tell all rows of the result apart; None where those shown do not."""
    if fields is None:
        return {*((START,) if buckets is not None else ()), *(one.name for one in by)}
    shown = {one.name for one in fields}
    return set(contract.key) if contract.key and shown >= set(contract.key) else None


def _check_where(where: Any, contract: Contract, found: list[Violation]) -> None:
    try:
        parse_where(where, contract)
    except Invalid as error:
        found.extend(error.violations)


def _check_kind(request: AggregateRequest, found: list[Violation]) -> None:
    if request.fields is None:
        if not request.measures and not request.by and request.every is None:
            reason = "What is to be computed? Name measures, groups (by), buckets (every), or fields for the records"
            found.append(Violation("/measures", "missing", reason, field="measures"))
        return
    given: dict[str, Any] = {
        "every": request.every,
        "by": request.by,
        "measures": request.measures,
        "origin": request.origin,
    }
    given |= {"offset": request.offset, "fill": None if request.fill == "none" else True}
    for name, value in given.items():
        if value not in (None, []):
            reason = f"fields asks for the records themselves, which have no {name}: give one of both"
            found.append(Violation(f"/{name}", "not_applicable", reason, field=name))


def _by(names: Sequence[str], contract: Contract, found: list[Violation]) -> list[FieldSpec]:
    by: list[FieldSpec] = []
    for index, name in enumerate(names):
        one = find_field(name, contract, f"/by/{index}")
        if isinstance(one, Violation):
            found.append(one)
        elif not TYPES[one.type].comparable or TYPES[one.type].nests:
            reason = f"{name} is of type {one.type}, whose values make no groups"
            found.append(Violation(f"/by/{index}", "not_comparable", reason, field=name))
        else:
            by.append(one)
    return by


def _measures(request: AggregateRequest, contract: Contract, found: list[Violation]) -> list[Measured]:
    measures: list[Measured] = []
    for index, one in enumerate(request.measures):
        measured = read_measure(one, contract, f"/measures/{index}")
        if isinstance(measured, list):
            found.extend(measured)
        else:
            measures.append(measured)
    return measures


def _fields(names: Sequence[str], contract: Contract, found: list[Violation]) -> list[FieldSpec]:
    fields: list[FieldSpec] = []
    for index, name in enumerate(names):
        one = find_field(name, contract, f"/fields/{index}")
        if isinstance(one, Violation):
            found.append(one)
        else:
            fields.append(one)
    return fields


def _edge(name: str, time: FieldSpec) -> FieldSpec:
    return FieldSpec(name=name, type=time.type, required=True)


def _check_names(columns: Sequence[FieldSpec], request: AggregateRequest, groups: int, found: list[Violation]) -> None:
    """Refuse a result with two columns of one name."""
    seen: set[str] = set()
    for index, column in enumerate(columns):
        if column.name in seen:
            measured = index >= groups and request.fields is None
            pointer = "/measures" if measured else "/by" if request.fields is None else "/fields"
            reason = f"Two columns would be called {column.name}" + (": give one another name (as)" if measured else "")
            found.append(Violation(pointer, "duplicate", reason, field=column.name))
        seen.add(column.name)


def _order(terms: Sequence[str], columns: Sequence[FieldSpec], found: list[Violation]) -> Iterator[tuple[str, bool]]:
    known = {column.name: column for column in columns}
    seen: set[str] = set()
    for index, term in enumerate(terms):
        name = term.removeprefix("-")
        if name not in known:
            valid = ", ".join(known)
            reason = f"There is no column {shorten(name)} to order by; there are: {valid[:400]}"
        elif not TYPES[known[name].type].comparable:
            reason = f"The column {name} is of type {known[name].type}, which has no order"
        elif name in seen:
            reason = f"The column {name} is named twice"
        else:
            seen.add(name)
            yield name, term.startswith("-")
            continue
        found.append(Violation(f"/order/{index}", "bad_order", reason, field=name[:80]))
