"""What people write where they have no value."""

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.formats.blanks import trim

# Without regard to case. In a column of texts each of these is a text: NA is Namibia.
_NULLS = ("", "n/a", "na", "n.a.", "#n/a", "null", "none", "nil", "nan", "-", "--", "?")


def split_nulls(texts: pa.Array) -> tuple[list[str], pa.Array]:
    """Return the texts that may stand for null as they are written, and the others without blanks around them."""
    trimmed = trim(texts)
    stands_for_null = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(_NULLS))
    nulls = sorted(set(trimmed.filter(stands_for_null).to_pylist()))
    return nulls, pc.unique(trimmed.filter(pc.invert(stands_for_null)))
