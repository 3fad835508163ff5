"""An answer of a read: values, and among them JSON texts that Postgres has made, which nobody parses."""

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

# A NUL at the beginning of a text: Postgres stores none, so no value of a record can be taken for a place. In texts a
# quote and a backslash are escaped themselves.
_PLACE = re.compile(r'"\\u0000(\d+)"')


class Texts:
    """JSON texts that belong into an answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, text: str) -> str:
        """Return the value that stands for ``text`` until the answer is encoded."""
        self._texts.append(text)
        return f"\0{len(self._texts) - 1}"

    def encode(self, answer: Any) -> bytes:
        """Return ``answer`` as JSON, with the texts in their places."""
        encoded = to_json(answer)
        if not self._texts:
            return encoded
        return _PLACE.sub(lambda found: self._texts[int(found[1])], encoded.decode()).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """body: the answer, but for ``texts``."""

    body: dict[str, Any]
    texts: Texts = field(default_factory=Texts)

    def to_json(self) -> bytes:
        return self.texts.encode(self.body)
