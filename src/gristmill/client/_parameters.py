"""Parameters of calls as bodies and URLs have them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gristmill.client._json import dumps

Where = Mapping[str, Any]


def given(**members: Any) -> dict[str, Any]:
    """Return what is not None; lists for other sequences."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in members.items() if value is not None
    }


def time_text(value: datetime | str | None) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else value


def where_text(where: Where | None) -> str | None:
    """Return a filter as the parameter of a URL."""
    return None if where is None else dumps(where).decode()
