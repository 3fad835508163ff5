"""Normal forms of Unicode, in time that grows with the length of a text alone."""

import unicodedata
from functools import lru_cache
from typing import Literal

Form = Literal["NFC", "NFKC"]
# Marks behind one character are put in their order one by one.
MOST_MARKS = 1000


def normal_form(text: str, form: Form) -> str:
    """Return a text in a normal form of Unicode. Raises ValueError for more combining marks in a row than 1,000."""
    if text.isascii():
        return text
    run = 0
    for character in text if len(text) > MOST_MARKS else "":
        run = run + 1 if _is_mark(character) else 0
        if run > MOST_MARKS:
            raise ValueError(f"has more than {MOST_MARKS} combining marks in a row")
    return unicodedata.normalize(form, text)


@lru_cache(maxsize=10_000)
def _is_mark(character: str) -> bool:
    """Say whether a character is a mark, or becomes one: some have no class of their own and are made of marks."""
    return bool(unicodedata.combining(unicodedata.normalize("NFKD", character)[0]))
