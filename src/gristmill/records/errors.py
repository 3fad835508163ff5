"""Errors of the record domain.

GristmillError
├── Conflict ── KeyExists         on_conflict=fail, and a record with that key is there already
└── NotFound ── UnknownRecord     no record has that key
"""

from gristmill.core.errors import Conflict, NotFound


class KeyExists(Conflict):
    code = "key_exists"
    title = "The key exists"


class UnknownRecord(NotFound):
    code = "unknown_record"
    title = "Unknown record"
