"""Normal forms of Unicode, in time that grows with the length of a text alone."""

import unicodedata
from typing import Literal

Form = Literal["NFC", "NFKC"]
# Marks behind one character are put in their order one by one.
MOST_MARKS = 1000


def normal_form(text: str, form: Form) -> str:
    """Return a text in a normal form of Unicode. Raises ValueError for more combining marks in a row than 1,000."""
    run = 0
    for character in text if len(text) > MOST_MARKS else "":
        run = run + 1 if unicodedata.combining(character) else 0
        if run > MOST_MARKS:
            raise ValueError(f"has more than {MOST_MARKS} combining marks in a row")
    return unicodedata.normalize(form, text)
