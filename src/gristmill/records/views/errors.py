"""Errors of views.

GristmillError
├── NotFound
│   ├── UnknownView            the contract names no such view
│   └── UnknownBatch           no such job has brought records
├── TooLarge ── ViewTooLarge   more rows or bytes than a view may be made of
└── TooMany ── TooManyViews    so many are being made in this process
"""

from gristmill.core.errors import NotFound, TooLarge, TooMany


class UnknownView(NotFound):
    code = "unknown_view"
    title = "Unknown view"


class UnknownBatch(NotFound):
    code = "unknown_batch"
    title = "Unknown batch"


class ViewTooLarge(TooLarge):
    code = "view_too_large"
    title = "The view is made of too much"


class TooManyViews(TooMany):
    code = "too_many_views"
    title = "Too many views at once"
