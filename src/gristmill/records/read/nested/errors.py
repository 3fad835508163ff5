"""Errors of nested reads.

GristmillError
└── TooLarge ── ExpandedTooLarge    more records, or bytes, would be nested in one answer than is allowed
"""

from gristmill.core.errors import TooLarge


class ExpandedTooLarge(TooLarge):
    code = "expanded_too_large"
    title = "Too many records are nested"
