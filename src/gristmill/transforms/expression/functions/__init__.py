"""The functions that expressions call, a file for each kind."""

from typing import Any

from gristmill.transforms.expression.functions import casts, json, moments, numbers, text
from gristmill.transforms.expression.functions.spec import Function

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for kind in (casts, numbers, text, moments, json)
    for function in sorted(kind.FUNCTIONS, key=lambda one: one.name)
}

# It takes values of any one type, and any number of them.
COALESCE = "coalesce"
_COALESCE = {
    "name": COALESCE,
    "signature": "coalesce(value, …)",
    "description": "The first of the values that is not null. Those after it are not computed.",
    "parameters": [{"name": "value", "types": ["any one type"], "constant": False, "default": None}],
    "examples": [{"expression": "coalesce(None, 'a')", "value": "a"}],
}


def list_functions() -> list[dict[str, Any]]:
    """Return all functions as a list of them shows."""
    return [*(function.as_json() for function in FUNCTIONS.values()), _COALESCE]
