"""Texts of moments (RFC 3339)."""

from datetime import UTC, datetime


def rfc3339(moment: datetime | None) -> str | None:
    """Return an aware datetime in UTC, such as 2026-01-31T12:00:00.5Z with six digits, or none, after the point."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
