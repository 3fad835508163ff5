"""Bodies of JSON that a model describes."""

from typing import TypeVar

from pydantic import BaseModel

from gristmill.core.errors import Invalid
from gristmill.core.http.bodies import parse_json
from gristmill.datasets.contract_checks import read_structure

Model = TypeVar("Model", bound=BaseModel)


def read_body(model: type[Model], raw: bytes) -> Model:
    """Return the body ``raw`` as ``model`` describes it. Raises Malformed, and Invalid with each mistake."""
    found = read_structure(model, parse_json(raw), "")
    if isinstance(found, list):
        raise Invalid(f"The body is not valid: {found[0].pointer or '/'}: {found[0].reason}", found)
    return found
