"""What measures there are: the types that each takes, the type that it gives, and its SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract, FieldSpec, TypeName
from gristmill.datasets.describe import shorten
from gristmill.records.aggregate.numbers import quotient
from gristmill.records.aggregate.schemas import Measure

_ORDERED: tuple[TypeName, ...] = (
    *("integer", "float", "decimal", "duration"),
    *("timestamp", "date", "text", "boolean", "uuid"),
)
_SAME: Mapping[TypeName, TypeName] = {name: name for name in _ORDERED}
_NUMBERS: Mapping[TypeName, TypeName] = {name: name for name in ("integer", "float", "decimal", "duration")}
_AVERAGES: Mapping[TypeName, TypeName] = {**_NUMBERS, "integer": "float"}
# The type of the result by that of the field.
RESULTS: Mapping[str, Mapping[TypeName, TypeName]] = {
    "count": dict.fromkeys(get_args(TypeName), "integer"),
    "sum": _NUMBERS,
    "mean": _AVERAGES,
    "min": _SAME,
    "max": _SAME,
    "first": _SAME,
    "last": _SAME,
    "median": _AVERAGES,
    "quantile": _AVERAGES,
    "stddev": {"integer": "float", "float": "float", "decimal": "float"},
    "distinct": dict.fromkeys(_ORDERED, "integer"),
}
# What no records have none of.
COUNTS = ("count", "distinct")
# Places behind the point that a mean has more than the field; and those where the contract names none.
MORE_PLACES, MOST_PLACES, UNNAMED_PLACES = 6, 38, 20


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure that fits. field: what is measured, None for records. result: the column that it gives."""

    agg: str
    field: FieldSpec | None
    q: str
    result: FieldSpec

    @property
    def ranked(self) -> str | None:
        """What the rows of a group must be numbered by: "time" or "value"; None where they need not be."""
        if self.agg in ("first", "last"):
            return "time"
        exact = self.field is not None and self.field.type in ("decimal", "duration")
        return "value" if exact and self.agg in ("median", "quantile") else None


def places_of(field: FieldSpec) -> int:
    """Return how many places behind the point the mean of a field has."""
    if field.type == "duration":
        return 0
    return UNNAMED_PLACES if field.precision is None else min((field.scale or 0) + MORE_PLACES, MOST_PLACES)


def read_measure(measure: Measure, contract: Contract, pointer: str) -> Measured | list[Violation]:
    """Return the measure, or what is wrong with it."""
    agg, name = measure.agg, measure.field
    wrong: list[Violation] = []
    if agg == "quantile" and measure.q is None:
        wrong.append(Violation(f"{pointer}/q", "missing", "A quantile needs q, from 0 to 1", field="q"))
    if agg != "quantile" and measure.q is not None:
        wrong.append(Violation(f"{pointer}/q", "not_applicable", f"{agg} takes no q: only quantile does", field="q"))
    if name is None and agg != "count":
        wrong.append(Violation(f"{pointer}/field", "missing", f"{agg} needs a field", field="field"))
    field = None
    if name is not None:
        found = find_field(name, contract, f"{pointer}/field")
        if isinstance(found, Violation):
            wrong.append(found)
        elif found.type not in RESULTS[agg]:
            valid = ", ".join(RESULTS[agg])
            reason = f"{agg} does not take {found.type}, as {name} is: it takes {valid}"
            wrong.append(Violation(f"{pointer}/field", "wrong_type", reason, field=name))
        else:
            field = found
    if wrong:
        return wrong
    label = measure.as_ or (agg if field is None else f"{agg}_{field.name}")
    kind: TypeName = "integer" if field is None else RESULTS[agg][field.type]
    result = result_of(field, label, kind, agg)
    return Measured(agg, field, repr(measure.q if agg == "quantile" else 0.5), result)


def result_of(field: FieldSpec | None, label: str, kind: TypeName, agg: str) -> FieldSpec:
    """Return the column that a measure of ``field`` gives; of a decimal with the digits that it has."""
    result = FieldSpec(name=label, type=kind, required=agg in COUNTS)
    if field is None or kind != "decimal" or field.precision is None:
        return result
    scale = places_of(field) if agg in ("mean", "median", "quantile") else field.scale
    return result.model_copy(update={"precision": MOST_PLACES, "scale": scale})


def find_field(name: str, contract: Contract, pointer: str) -> FieldSpec | Violation:
    """Return the field called ``name``, or that there is none."""
    if contract.has_field(name):
        return contract.field(name)
    valid = ", ".join(field.name for field in contract.fields)
    reason = f"There is no field {shorten(name)}; the fields are: {valid[:400]}"
    return Violation(pointer, "unknown_field", reason, field=name[:80])


def measure_sql(measured: Measured, column: str, rank: str, count: str) -> str:
    """Return the SQL of a measure over the rows of a group.

    column: what is measured. rank, count: the numbers of the rows and how many there are, where it is ``ranked``.
    """
    field, q = measured.field, measured.q
    if field is None:
        return "count(*)"
    kind = field.type
    match measured.agg:
        case "count":
            return f"count({column})"
        case "distinct":
            return f"count(DISTINCT {column})"
        case "first" | "last":
            # Of one value: Postgres has max() for most types only.
            return f"(array_agg({column}) FILTER (WHERE {rank} = 1 AND {column} IS NOT NULL))[1]"
        case "sum":
            return sum_sql(kind, f"sum({column})")
        case "mean" if kind == "float":
            return f"avg({column})"
        case "mean" if kind == "integer":
            return f"avg({column})::double precision"
        case "mean":
            return as_type(kind, quotient(f"sum({column})", f"count({column})", places_of(field)))
        case "min" | "max":
            return extreme_sql(kind, measured.agg, column)
        case "stddev":
            return f"stddev_samp({column})::double precision"
        case _ if measured.ranked is None:
            return f"percentile_cont({q}) WITHIN GROUP (ORDER BY {column}::double precision)"
        case _:
            return _exact_quantile(kind, column, rank, count, q)


def sum_sql(kind: TypeName, total: str) -> str:
    """Return a sum as its type has it. Of integers it is a number of any size; one beyond 64 bits is an error."""
    return f"({total})::bigint" if kind in ("integer", "duration") else total


def extreme_sql(kind: TypeName, agg: str, column: str) -> str:
    if kind == "boolean":
        return f"{'bool_and' if agg == 'min' else 'bool_or'}({column})"
    # Postgres has neither for UUIDs, which are ordered as their texts are.
    return f'{agg}({column}::text COLLATE "C")::uuid' if kind == "uuid" else f"{agg}({column})"


def as_type(kind: TypeName, number: str) -> str:
    return f"({number})::bigint" if kind == "duration" else number


def _exact_quantile(kind: TypeName, column: str, rank: str, count: str, q: str) -> str:
    """Return the quantile by decimals: interpolated between the two values beside it."""
    position = f"({q}::numeric * (max({count}) - 1))"
    place = f"floor({q}::numeric * ({count} - 1))"
    lower = f"max({column}) FILTER (WHERE {column} IS NOT NULL AND {rank} = {place} + 1)"
    upper = f"max({column}) FILTER (WHERE {column} IS NOT NULL AND {rank} = least({place} + 2, {count}))"
    fraction = f"({position} - floor{position})"
    exact = f"({lower}::numeric + ({upper}::numeric - {lower}::numeric) * {fraction})"
    if kind == "duration":
        return f"({quotient(exact, '1', 0)})::bigint"
    return f"trim_scale({exact})"
