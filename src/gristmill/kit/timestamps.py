"""Texts of moments (RFC 3339)."""

import contextlib
from datetime import UTC, datetime, tzinfo


def rfc3339(moment: datetime | None, zone: tzinfo = UTC) -> str | None:
    """Return an aware datetime, such as 2026-01-31T12:00:00.5Z with six digits, or none, after the point.

    zone: the one that it is shown in. It is UTC after all where that has no such text: for offsets with seconds, which
    places had before they had zones, and beyond the years 1 and 9999.
    """
    if moment is None:
        return None
    shown = moment.astimezone(UTC)
    if zone is not UTC:
        with contextlib.suppress(OverflowError):
            local = shown.astimezone(zone)
            offset = local.utcoffset()
            if offset is not None and not offset.total_seconds() % 60:
                shown = local
    return shown.isoformat().replace("+00:00", "Z")
