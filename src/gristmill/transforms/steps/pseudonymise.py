"""``pseudonymise``: values become codes that only the owner of a secret can make of them.

{"op": "pseudonymise", "column": "email", "as": "person", "secret": "customers"}

Source: HMAC of RFC 2104 with SHA-256.
"""

import hmac
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field

from gristmill.transforms.run import column_of, set_column, whole
from gristmill.transforms.schema_rules import check_target, need_type, refuse
from gristmill.transforms.spec import (
    ColumnParameters,
    Columns,
    Example,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    reads_column,
    writes_target,
)

_TYPES = ("text", "integer", "uuid", "date")


class Pseudonymise(ColumnParameters):
    """Parameters of ``pseudonymise``."""

    secret: str = Field(description="The name of a secret of the setting `transforms.secrets`.")
    length: int = Field(
        64,
        ge=16,
        le=64,
        description=(
            "How many hexadecimal digits the code has. With 16, two of a million values have the same code once in 37"
            " million times."
        ),
    )


def pseudonymise_kind(secrets: Mapping[str, bytes]) -> StepKind:
    """Return the kind of step. secrets: by name."""

    def schema(step: Pseudonymise, columns: Columns, types: Types) -> Columns:
        need_type(columns, step.column, _TYPES, "/column")
        check_target(step.target, "/as")
        if step.secret not in secrets:
            valid = ", ".join(sorted(secrets)) or "none: see the setting transforms.secrets"
            raise refuse("secret", "unknown_value", f"There is no secret {step.secret[:80]!r}; they are: {valid}")
        return {**columns, step.target: types.column(step.target, "text")}

    def make(step: Pseudonymise, columns: Columns, types: Types) -> Transform:
        source, secret = columns[step.column], secrets[step.secret]

        def code(value: Any) -> str:
            return hmac.digest(secret, str(value).encode(), "sha256").hex()[: step.length]

        def transform(frame: Any, context: StepContext) -> Output:
            values = types.shown(source, whole(column_of(frame, step.column)))
            codes = pa.array([None if value is None else code(value) for value in values], pa.string())
            return Output(set_column(frame, step.target, pa.chunked_array([codes])))

        return transform

    return StepKind(
        "pseudonymise",
        Pseudonymise,
        schema,
        make,
        reads=reads_column,
        writes=writes_target,
        description=(
            "Replaces values by the keyed hash (HMAC-SHA-256) of the text that records show. Equal values have equal "
            "codes in all datasets that name the same secret; "
            "without it nobody can try values out. Another secret gives other codes. Null stays null."
        ),
        examples=[
            Example(
                {"op": "pseudonymise", "column": "email", "secret": "example", "length": 16},
                {"email": "text"},
                [{"email": "ada@example.org"}, {"email": None}],
                [{"email": "4b67f42fbddfa5f5"}, {"email": None}],
            )
        ],
    )
