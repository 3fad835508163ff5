"""The ETag of a record: which write it is of (number of the job, place in it), under which version of the contract.

The version counts for reads alone: a field that was added is a member of the record, but nobody has changed the record.
So does a digest behind it, of all that a read answered with: what is nested into a record may change while it does not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from gristmill.core.errors import PreconditionFailed
from gristmill.kit.entity_tags import Tag

_WRITE = re.compile(r"(\d{1,19})\.(\d{1,19})(?:\.\d{1,9})?(?:\.[0-9a-f]{32})?")


@dataclass(frozen=True, slots=True)
class LastWrite:
    """``_seq`` and ``_ord`` of a record."""

    seq: int
    ord: int

    def tag(self, version: int, answer: bytes | None = None) -> Tag:
        """version: that of the contract under which the record is read. answer: what more it depends on, if any."""
        digest = "" if answer is None else f".{blake2b(answer, digest_size=16).hexdigest()}"
        return Tag(f"{self.seq}.{self.ord}.{version}{digest}")


def named_writes(tags: Sequence[str] | None) -> list[list[int]] | None:
    """Return (number, place) of each write that a tag names, None for any. Other tags name nothing that exists."""
    if tags is None:
        return None
    return [[int(found[1]), int(found[2])] for tag in tags if (found := _WRITE.fullmatch(tag))]


def check_write(found: LastWrite, expected: Sequence[Sequence[int]] | None, version: int, shown: str) -> None:
    """Refuse a record whose last write is not an expected one. shown: its key. Raises PreconditionFailed."""
    if expected is None or [found.seq, found.ord] in expected:
        return
    tag = str(found.tag(version))
    raise PreconditionFailed(
        f"The record with the key {shown} is not the one that If-Match names: its ETag is {tag} now, so somebody has "
        "written it since. Read it again",
        etag=tag,
    )
