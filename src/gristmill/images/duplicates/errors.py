"""Errors of near-duplicates.

GristmillError
└── TooLarge ── TooManyCompared   more records would be compared with each other than the settings allow
"""

from gristmill.core.errors import TooLarge


class TooManyCompared(TooLarge):
    code = "too_many_compared"
    title = "Too many records to compare with each other"
