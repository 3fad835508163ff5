"""The first part of a file, as an inference takes it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from gristmill.client._bodies import CONTENT_TYPES, Body, Records, records_body
from gristmill.client.errors import InvalidArgument

# What an inference takes at most, and how much of a file is sent to it where the first part will do.
MAX_SAMPLE = 64 * 1024 * 1024
_SAMPLE = 16 * 1024 * 1024
_MAGIC = b"PAR1"
_PARQUET, _ARROW = CONTENT_TYPES["parquet"], CONTENT_TYPES["arrow"]


@contextmanager
def sample_body(records: Records, format: str | None, sheet: str | None = None) -> Iterator[tuple[Body, bool]]:
    """Open the first part of records as a body; yields also whether it is a part only. Arguments as of
    ``records_body``.

    Of a Parquet file that is too long as a whole the footer is taken, which says what its columns are.
    """
    with records_body(records, format, as_it_is=True, sheet=sheet) as body:
        whole = body.encoding is None and body.content_type in (_PARQUET, _ARROW)
        if body.length <= (MAX_SAMPLE if whole else _SAMPLE):
            yield body, False
        elif whole and body.content_type == _PARQUET:
            yield Body(io.BytesIO(_footer(body)), _PARQUET), True
        else:
            yield Body(io.BytesIO(body.part(0, _SAMPLE)), body.content_type, body.encoding), True


def _footer(body: Body) -> bytes:
    """Return the footer of a Parquet file as a file without a row group of its own. Raises InvalidArgument."""
    tail = body.part(body.length - 8, 8)
    size = int.from_bytes(tail[:4], "little") + 8
    if tail[4:] != _MAGIC or size > min(body.length, MAX_SAMPLE - len(_MAGIC)):
        raise InvalidArgument("the file is no whole Parquet file: it does not end with a footer and PAR1")
    return _MAGIC + body.part(body.length - size, size)
