"""Errors of writing records.

GristmillError
└── Conflict ── KeyExists    on_conflict=fail, and a record with that key is there already
"""

from gristmill.core.errors import Conflict


class KeyExists(Conflict):
    code = "key_exists"
    title = "The key exists"
