"""The body that asks for a stored export, read and checked; each thing that is wrong is named by its place."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.retention_period import parse_retention_period
from gristmill.records.export.formats import FORMATS
from gristmill.records.export.scan import ExportQuery, Scan

MEMBERS = ("format", "where", "start", "end", "fields", "include", "keep")
# Seconds.
DEFAULT_LINK = 3600
LONGEST_LINK = 7 * 86400
_LONGEST_TIME = 64


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, as what, and for how many seconds the file is kept."""

    format: str
    query: ExportQuery
    keep: float

    def args(self) -> dict[str, Any]:
        """Return the arguments of the job."""
        return {"format": self.format, "query": asdict(self.query), "keep": self.keep}


def read_export_request(body: bytes, most_days: float) -> ExportRequest:
    """Return what a body asks for, not yet compared with a contract. Raises Malformed, Invalid."""
    parsed = parse_json(body or b"{}")
    if not isinstance(parsed, dict):
        reason = f"{shorten(parsed)} is not a JSON object"
        raise Invalid(reason, [Violation("", "wrong_type", reason)])
    violations = [
        Violation(
            f"/{name[:80]}",
            "unknown_member",
            f"There is no member {shorten(name)} here; there are {', '.join(MEMBERS)}",
            field=name[:80],
        )
        for name in parsed
        if name not in MEMBERS
    ]
    found: dict[str, Any] = {}
    checks = {"format": _format, "start": _time, "end": _time, "fields": _fields, "include": _include}
    for name, check in checks.items():
        if parsed.get(name) is not None:
            try:
                found[name] = check(parsed[name])
            except ValueError as error:
                violations.append(_violation(name, parsed[name], str(error)))
    keep = most_days * 86400
    if parsed.get("keep") is not None:
        try:
            keep = _keep(parsed["keep"], keep)
        except ValueError as error:
            violations.append(_violation("keep", parsed["keep"], str(error)))
    if violations:
        raise Invalid(violations[0].reason, violations)
    query = ExportQuery(
        found.get("start"), found.get("end"), parsed.get("where"), found.get("fields"), found.get("include", False)
    )
    return ExportRequest(found.get("format", "parquet"), query, keep)


def read_link_request(body: bytes) -> int:
    """Return for how many seconds a link is wanted: ``{"expires_in": 3600}``. Raises Malformed, Invalid."""
    parsed = parse_json(body or b"{}")
    if not isinstance(parsed, dict) or set(parsed) - {"expires_in"}:
        reason = f'{shorten(parsed)} is not valid: give {{"expires_in": seconds}}, or {{}}'
        raise Invalid(reason, [Violation("", "unknown_member", reason)])
    seconds = parsed.get("expires_in", DEFAULT_LINK)
    if type(seconds) is not int or not 1 <= seconds <= LONGEST_LINK:
        valid = f"a whole number of seconds from 1 to {LONGEST_LINK}"
        violation = _violation("expires_in", seconds, valid)
        raise Invalid(violation.reason, [violation])
    return seconds


def check_export(contract: Contract, request: ExportRequest) -> None:
    """Raise Invalid where the request does not fit the contract, with places of the body."""
    try:
        scan = Scan(contract, request.query)
        FORMATS[request.format](scan.contract, scan.names)
    except Invalid as error:
        # The same checks serve the query of a streamed export.
        moved = [replace(one, pointer=one.pointer.removeprefix("/query")) for one in error.violations]
        raise Invalid(error.detail, moved, error.total) from error


def _violation(name: str, value: Any, valid: str) -> Violation:
    return Violation(f"/{name}", "bad_value", f"{name} {shorten(value)} is not valid: give {valid}", field=name)


def _format(value: Any) -> str:
    if not isinstance(value, str) or value not in FORMATS:
        raise ValueError(f"one of {', '.join(FORMATS)}")
    return value


def _time(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        raise ValueError("a time as text, as in the field's own values")
    return value


def _fields(value: Any) -> str:
    # As the query of a streamed export has them, which knows no comma within a name; no field has one either.
    if not isinstance(value, list) or not value or not all(isinstance(n, str) and "," not in n for n in value):
        raise ValueError("a list of names of fields, such as " + json.dumps(["id", "note"]))
    return ",".join(value)


def _include(value: Any) -> bool:
    if value not in ([], ["embedding"]):
        raise ValueError('["embedding"] for each record\'s vector, or nothing')
    return bool(value)


def _keep(value: Any, most: float) -> float:
    if not isinstance(value, str):
        raise ValueError("a text such as 24h or 7d")
    seconds = parse_retention_period(value).total_seconds()
    if seconds > most:
        raise ValueError(f"at most {most / 86400:g} days (export_keep_days)")
    return seconds
