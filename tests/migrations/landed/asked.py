"""What clients had asked of the database in ``dump.sql``, and what has to be there once all of it is carried out.

Each request has an Idempotency-Key: asked again, it is answered with the job of the dump.
"""

import json
from dataclasses import dataclass, field
from typing import Any

STATIONS = {
    "name": "stations",
    "fields": [
        {"name": "id", "type": "text", "required": True},
        {"name": "value", "type": "float"},
        {"name": "height", "type": "decimal"},
    ],
    "key": ["id"],
}
READINGS = {
    "name": "readings",
    "fields": [{"name": "n", "type": "integer", "required": True}, {"name": "at", "type": "timestamp"}],
    "key": ["n"],
    "embedding": {"dimensions": 3},
}
NOTES = {
    "name": "notes",
    "fields": [{"name": "text", "type": "text", "required": True}],
    "embedding": {"from": ["text"], "embedder": "hashing"},
}
FRESH = {"name": "fresh", "fields": [{"name": "k", "type": "integer", "required": True}], "key": ["k"]}


@dataclass(frozen=True)
class Asked:
    """One request below /api/v1. Its Idempotency-Key is ``key``."""

    key: str
    path: str
    body: bytes = b""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _reading(n: int) -> dict[str, Any]:
    return {"n": n, "at": f"2026-01-01T00:{n // 60:02}:{n % 60:02}.000001Z", "_embedding": [n, 1.5, -0.25]}


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(_json(row) + b"\n" for row in rows)


NDJSON = {"content-type": "application/x-ndjson"}

# Carried out before the dump was made.
DONE = [
    Asked("create stations", "datasets", _json(STATIONS)),
    Asked("create readings", "datasets", _json(READINGS)),
    Asked("create notes", "datasets", _json(NOTES)),
    Asked(
        "first stations",
        "datasets/stations/records",
        _json([{"id": f"s{n}", "value": n / 3, "height": "0.10"} for n in range(5)]),
    ),
    Asked("first readings", "datasets/readings/records", _lines([_reading(n) for n in range(30)]), headers=NDJSON),
    Asked("first notes", "datasets/notes/records", _json([{"text": "red"}, {"text": "NA"}, {"text": "ä\u2028"}])),
    Asked(
        "some are wrong",
        "datasets/stations/records?on_error=quarantine",
        _json([{"id": "s5", "value": 5}, {"id": "s6", "value": "five"}]),
    ),
]
# Accepted with 202, and waiting when the dump was made; in this order.
WAITING = [
    Asked("one upsert", "datasets/stations/records", _json([{"id": "s0", "value": 100.5}])),
    Asked("patch", "datasets/stations/records/s1", _json({"value": 42.0}), "PATCH"),
    Asked("delete", "datasets/stations/records/s2", method="DELETE"),
    Asked("upsert after delete", "datasets/stations/records", _json([{"id": "s2", "height": "123456789.50"}])),
    Asked("create only", "datasets/stations/records?on_conflict=fail", _json([{"id": "s9", "value": 9}])),
    Asked("three chunks", "datasets/readings/records", _lines([_reading(n) for n in range(20, 320)]), headers=NDJSON),
    Asked("delete by filter", "datasets/readings/records/delete", _json({"where": {"n": {"lt": 10}}})),
    Asked("after the filter", "datasets/readings/records", _lines([_reading(5)]), headers=NDJSON),
    Asked("another field", "datasets/notes", _json({"add_fields": [{"name": "stars", "type": "integer"}]}), "PATCH"),
    Asked("with the field", "datasets/notes/records", _json([{"text": "blue", "stars": 2**62 + 1}])),
    Asked("create fresh", "datasets", _json(FRESH)),
    Asked("into fresh", "datasets/fresh/records", _json([{"k": 1}, {"k": 2**53 + 1}])),
    Asked("rebuild", "datasets/readings/index/rebuild"),
]
# Its time had not come.
SCHEDULED = Asked("later", "datasets/stations/records?run_at=2100-01-01T00:00:00Z", _json([{"id": "s3", "value": -1}]))

# What is there when all of it has been carried out: (id, value, height), (n), (text, stars), (k).
STATIONS_AFTER = [
    ("s0", 100.5, None),
    ("s1", 42.0, "0.10"),
    ("s2", None, "123456789.50"),
    ("s3", -1.0, None),
    ("s4", 4 / 3, "0.10"),
    ("s5", 5.0, None),
    ("s9", 9.0, None),
]
READINGS_AFTER = [5, *range(10, 320)]
NOTES_AFTER = [("NA", None), ("blue", 2**62 + 1), ("red", None), ("ä\u2028", None)]
FRESH_AFTER = [1, 2**53 + 1]
# The chunks of the plugin's jobs: of one that waits, one that was sent, one whose worker was lost, one that failed.
PLUGIN_JOBS = ("waiting", "sent", "running", "failed")
PLUGIN_CHUNKS = 2
