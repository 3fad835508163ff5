"""What a sample leaves open: asked with the answers that there are, and one that is taken where nobody answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.records.infer.formats import Reading

AS_TEXT = "text"


@dataclass(frozen=True, slots=True)
class Option:
    """An answer. value: as it is given. meaning: what follows."""

    value: Any
    meaning: str


@dataclass(frozen=True, slots=True)
class Question:
    """Something to be decided. about: the name by which it is answered. proposed: the answer that the proposal has."""

    about: str
    text: str
    proposed: Any
    options: Sequence[Option]

    def as_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "question": self.text,
            "proposed": self.proposed,
            "options": [{"value": one.value, "meaning": one.meaning} for one in self.options],
        }


def bad_answer(reason: str, code: str = "unknown_value") -> Invalid:
    """Return the refusal of an answer, or of all of them."""
    return Invalid(reason, [Violation("/query/answers", code, reason, field="answers")])


def ask_format(about: str, name: str, formats: Sequence[Reading], values: pa.Array) -> Question:
    """Return the question in which order dates are written that fit several. Nothing is proposed but their texts."""
    shown = values[0].as_py()
    options = [Option(one.text, f"{shown} is {one.first}") for one in formats]
    options.append(Option(AS_TEXT, "the values stay the texts that they are"))
    return Question(about, f"In which order are the dates of {name} written, such as {shown}?", AS_TEXT, options)
