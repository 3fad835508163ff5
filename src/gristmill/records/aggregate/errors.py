"""Errors of aggregates.

GristmillError
├── Invalid
│   ├── TooManyColumns    a pivot would have more columns than a table may have
│   ├── TooManyRows       the answer would have more rows than aggregate_max_rows
│   ├── NumberTooLarge    a number of the answer leaves the range of its type
│   └── TakesTooLong      Postgres was not done within its time limit
├── Conflict ── NameTaken a value of a pivot is called as a column that stays, or as another value
└── TooMany ── TooManyAggregates
"""

from gristmill.core.errors import Conflict, Invalid, TooMany


class TooManyColumns(Invalid):
    code = "too_many_columns"
    title = "The pivot has too many columns"


class TooManyRows(Invalid):
    code = "too_many_rows"
    title = "The answer has too many rows"


class NumberTooLarge(Invalid):
    code = "number_too_large"
    title = "A number leaves the range of its type"


class TakesTooLong(Invalid):
    code = "takes_too_long"
    title = "The aggregate takes too long"


class NameTaken(Conflict):
    code = "name_taken"
    title = "Two columns would have one name"


class TooManyAggregates(TooMany):
    code = "too_many_aggregates"
    title = "Too many aggregates at once"
