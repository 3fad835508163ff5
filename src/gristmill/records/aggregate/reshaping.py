"""What pivot and melt make of the columns of a result: checked before any statement, but for the names of a pivot."""

from collections.abc import Iterator, Sequence

from gristmill.core.errors import Violation
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.records.aggregate.measures import RESULTS
from gristmill.records.aggregate.schemas import Melt, Pivot

# Columns that a pivot may make: more is a mistake, and Postgres has 1,664 of them at most.
MAX_COLUMNS = 1000


def index_of(pivot: Pivot, columns: Sequence[FieldSpec]) -> list[str]:
    """Return the columns that tell the rows of a pivot apart."""
    if pivot.index is not None:
        return list(pivot.index)
    return [column.name for column in columns if column.name not in (pivot.columns, pivot.column)]


def pivoted(pivot: Pivot, source: FieldSpec) -> FieldSpec:
    """Return what the new columns are like, but for their names."""
    kind = source.type if pivot.agg is None else RESULTS[pivot.agg][source.type]
    return source.model_copy(update={"type": kind, "required": False})


def check_pivot(pivot: Pivot, columns: Sequence[FieldSpec], unique: set[str] | None) -> Iterator[Violation]:
    """Yield what is wrong. unique: columns that tell all rows apart, None where there are none."""
    known = {column.name: column for column in columns}
    index = index_of(pivot, columns)
    named = {"/pivot/columns": pivot.columns, "/pivot/column": pivot.column}
    named |= {f"/pivot/index/{place}": name for place, name in enumerate(pivot.index or ())}
    seen: set[str] = set()
    wrong = False
    for pointer, name in named.items():
        if name not in known:
            wrong = True
            yield _unknown(pointer, name, known)
        elif name in seen:
            wrong = True
            yield Violation(pointer, "duplicate", f"The column {name} is named twice", field=name)
        elif pointer != "/pivot/column" and (not TYPES[known[name].type].comparable or TYPES[known[name].type].nests):
            wrong = True
            reason = f"{name} is of type {known[name].type}, whose values are not compared"
            yield Violation(pointer, "not_comparable", reason, field=name)
        seen.add(name)
    if wrong:
        return
    source = known[pivot.column]
    if pivot.agg is not None and source.type not in RESULTS[pivot.agg]:
        valid = ", ".join(RESULTS[pivot.agg])
        reason = f"{pivot.agg} does not take {source.type}, as {source.name} is: it takes {valid}"
        yield Violation("/pivot/agg", "wrong_type", reason, field="agg")
    if pivot.agg is None and (unique is None or not unique <= {*index, pivot.columns}):
        reason = "Several rows may have one index and one column: say what becomes of them (agg), such as sum or last"
        yield Violation("/pivot/agg", "missing", reason, field="agg")


def check_melt(melt: Melt, columns: Sequence[FieldSpec]) -> Iterator[Violation]:
    """Yield what is wrong."""
    known = {column.name: column for column in columns}
    seen: set[str] = set()
    wrong = False
    for member, names in (("index", melt.index or ()), ("columns", melt.columns or ())):
        for place, name in enumerate(names):
            if name not in known:
                wrong = True
                yield _unknown(f"/melt/{member}/{place}", name, known)
            elif name in seen:
                wrong = True
                reason = f"The column {name} is named twice"
                yield Violation(f"/melt/{member}/{place}", "duplicate", reason, field=name)
            seen.add(name)
    if wrong:
        return
    index, melted = melted_columns(melt, columns)
    if not melted:
        yield Violation("/melt/columns", "missing", "No column is left that could become rows", field="columns")
    kinds = {column.type: column.name for column in melted}
    if len(kinds) > 1:
        shown = " and ".join(f"{name} is {kind}" for kind, name in list(kinds.items())[:3])
        reason = f"All columns that become one have one type, and here {shown}"
        yield Violation("/melt/columns", "mixed_types", reason, field="columns")
    kept = {column.name for column in index}
    for member, name in (("variable", melt.variable), ("value", melt.value)):
        if name in kept or (member == "value" and name == melt.variable):
            reason = f"Two columns would be called {name}: give another name"
            yield Violation(f"/melt/{member}", "duplicate", reason, field=member)


def melted_columns(melt: Melt, columns: Sequence[FieldSpec]) -> tuple[list[FieldSpec], list[FieldSpec]]:
    """Return the columns that stay, and those that become rows."""
    known = {column.name: column for column in columns}
    if melt.columns is not None:
        melted = [known[name] for name in melt.columns]
        kept = melt.index if melt.index is not None else [name for name in known if name not in melt.columns]
        return [known[name] for name in kept], melted
    index = melt.index or []
    return [known[name] for name in index], [column for column in columns if column.name not in index]


def _unknown(pointer: str, name: str, known: dict[str, FieldSpec]) -> Violation:
    reason = f"There is no column {shorten(name)} here; there are: {', '.join(known)[:400]}"
    return Violation(pointer, "unknown_column", reason, field=name[:80])
