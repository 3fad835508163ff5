"""Names of fields made of the headers of files: "Flight No." becomes flight_no."""

import re
import unicodedata
from collections.abc import Sequence

from gristmill.datasets.contract_checks import FILTER_WORDS, POSTGRES_COLUMNS
from gristmill.kit.identifiers import is_name

# Room for a number behind a name that another header has too, and for ``_text`` behind that.
_LONGEST = 40
_RESERVED = frozenset({*FILTER_WORDS, *POSTGRES_COLUMNS})
# Between the words of InvoiceNo and HTTPStatus.
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Letters that are no Latin letter with a mark.
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "œ": "oe", "ł": "l", "Ł": "L", "đ": "d"})
_OTHER = re.compile(r"[^a-z0-9]+")


def field_names(headers: Sequence[str]) -> list[str]:
    """Return a name for each header, no two alike. A header that is a name keeps it, whatever the others become."""
    taken = {header for header in headers if _is_free(header)}
    names = []
    for place, header in enumerate(headers, 1):
        name = header if _is_free(header) else _numbered(make_name(header) or f"column_{place}", taken)
        taken.add(name)
        names.append(name)
    return names


def text_name(name: str, taken: set[str]) -> str:
    """Return a name for the text that the field ``name`` is made of."""
    return _numbered(f"{name[:_LONGEST]}_text", taken)


def make_name(header: str) -> str:
    """Return a name like ``header``, "" where it has no Latin letter and no digit."""
    plain = unicodedata.normalize("NFKD", header.translate(_LETTERS)).encode("ascii", "ignore").decode()
    name = _OTHER.sub("_", _WORDS.sub("_", plain).lower()).strip("_")
    if name[:1].isdigit():
        name = f"column_{name}"
    name = name[:_LONGEST].rstrip("_")
    return f"{name}_field" if name in _RESERVED else name


def _is_free(header: str) -> bool:
    return is_name(header) and header not in _RESERVED


def _numbered(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found
