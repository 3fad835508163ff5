"""Errors of stored exports.

GristmillError
├── NotFound ── UnknownExport         no export has that id, or it has no file of that name
│   └── Gone ── ExportExpired         it had a file, which has expired or was deleted
├── Conflict ── ExportNotReady        its job has not succeeded yet
├── Forbidden ── BadLink              the signature of a link is wrong, or its time is over
└── TooMany ── ExportsFull            the stored exports have all the bytes that they may have
"""

from gristmill.core.errors import Conflict, Forbidden, Gone, NotFound, TooMany


class UnknownExport(NotFound):
    code = "unknown_export"
    title = "Unknown export"


class ExportExpired(Gone):
    code = "export_expired"
    title = "The export has expired"


class ExportNotReady(Conflict):
    code = "export_not_ready"
    title = "The export is not ready"


class BadLink(Forbidden):
    code = "bad_link"
    title = "The link is not valid"


class ExportsFull(TooMany):
    code = "exports_full"
    title = "Too many bytes are stored"
