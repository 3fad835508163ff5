"""The bodies of operations on datasets."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_checks import check_name, read_structure

RENAME_EXAMPLE = {"name": "readings_2025"}
COPY_EXAMPLE = {"name": "warm", "where": {"value": {"gt": 20}}}


class NewName(BaseModel):
    """name: the new name of the dataset, which no other one may have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str


class CopyOf(NewName):
    """name: of the copy. where: a filter of the records that are copied; without it all are."""

    where: dict[str, Any] | None = Field(None)


Body = TypeVar("Body", bound=NewName)


def read_body(model: type[Body], body: Any) -> Body:
    """Return ``body`` (parsed JSON), checked. Raises Invalid with every mistake."""
    found = read_structure(model, body, "")
    violations = found if isinstance(found, list) else list(check_name(found.name))
    if violations or isinstance(found, list):
        raise Invalid(f"The body is not valid: {violations[0].reason}", violations)
    return found
