"""Cutting texts into parts of bounded numbers of tokens."""

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

# A word with the blanks before it; blanks at the end of the text are a piece of their own.
_PIECE = re.compile(r"\s*\S+|\s+")
# Words repeat: most of them are counted once.
_KNOWN_PIECES = 50_000
# A space at the beginning of a part may be a token of its own.
_BLANK = 1


class TokenCounter(Protocol):
    """What counts the tokens of texts: an embedder."""

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """Return how many tokens each text has."""
        ...


class TokenCounters(Protocol):
    """Finds counters by the names of embedders."""

    def names(self) -> list[str]: ...

    def get(self, name: str) -> TokenCounter: ...


class Chunker:
    """Cuts texts. Each part has at most ``tokens`` tokens and begins with at most ``overlap`` of the part before."""

    def __init__(self, counter: TokenCounter, tokens: int, overlap: int) -> None:
        self._counter, self._tokens, self._overlap = counter, tokens, overlap
        self._known: dict[str, int] = {}

    def split(self, text: str) -> Iterator[str]:
        """Yield the parts of a text, at least one. Without an overlap they are the text when joined."""
        pieces, counts = self._pieces(text)
        start = end = 0
        size = _BLANK
        while True:
            first = end
            while end < len(pieces) and (size + counts[end] <= self._tokens or end == first):
                size += counts[end]
                end += 1
            yield "".join(pieces[start:end])
            if end == len(pieces):
                return
            # The next part begins so far back that what is repeated and the next piece fit.
            start, repeated = end, 0
            room = min(self._overlap, self._tokens - counts[end] - _BLANK)
            # A piece without tokens, such as a dash, counts too: there may be any number of them.
            while start > 0 and repeated + max(1, counts[start - 1]) <= room:
                start -= 1
                repeated += max(1, counts[start])
            size = _BLANK + repeated

    def _pieces(self, text: str) -> tuple[list[str], list[int]]:
        """Return the pieces of a text and their tokens: none has more than the most, but a character that has them."""
        pieces = _PIECE.findall(text)
        counts = self._count(pieces)
        if max(counts, default=0) < self._tokens:
            return pieces, counts
        cut = [
            part
            for piece, count in zip(pieces, counts, strict=True)
            for part in ([piece] if count < self._tokens else self._cut(piece))
        ]
        return cut, self._count(cut)

    def _cut(self, piece: str) -> Iterator[str]:
        """Yield parts of one piece, about as long as the tokens allow."""
        start, length = 0, self._tokens
        while start < len(piece):
            # How many characters a part has is guessed by the part before it.
            while length > 1 and self._count([piece[start : start + length]])[0] >= self._tokens:
                length //= 2
            yield piece[start : start + length]
            start += length
            length += length // 2 + 1

    def _count(self, pieces: list[str]) -> list[int]:
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self._known]
        if new:
            if len(self._known) > _KNOWN_PIECES:
                self._known.clear()
            # One space before a word is part of its token in a text, and would be one of its own alone.
            texts = [piece[1:] if piece[0] == " " and len(piece) > 1 else piece for piece in new]
            self._known.update(zip(new, self._counter.count_tokens(texts), strict=True))
        known = self._known
        return [known[piece] for piece in pieces]
